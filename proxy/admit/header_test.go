package admit

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	proxyproto "github.com/pires/go-proxyproto"
)

// headerV2 writes a version 2 header by hand: command and family bytes, then the payload.
func headerV2(verCmd, family byte, payload string) string {
	return string(signatureV2) + string([]byte{verCmd, family, byte(len(payload) >> 8), byte(len(payload))}) + payload
}

const (
	v4Payload = "\xc0\x00\x02\x01\xc0\x00\x02\x02\x30\x39\x1a\x0b"
	v6Payload = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" + "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02" + "\x30\x39\x1a\x0b"
)

// take gives a reader the bytes of in, cut at the splits, and answers how many bytes the header had.
func take(in string, splits ...int) (h Header, n int, v Verdict) {
	var r HeaderReader
	for _, end := range append(splits, len(in)) {
		if end = max(n, min(end, len(in))); v != HeaderMore || end == n {
			continue
		}
		var rest []byte
		h, rest, v = r.Take([]byte(in[n:end]))
		if n = end; v == HeaderComplete {
			n -= len(rest)
		}
	}
	if cap(r.head) > maxHeaderV1 {
		panic(fmt.Sprintf("%d bytes are kept of a header", cap(r.head)))
	}
	return h, n, v
}

func TestHeaders(t *testing.T) {
	from4, to4 := netip.MustParseAddrPort("192.0.2.1:12345"), netip.MustParseAddrPort("192.0.2.2:6667")
	tcp4 := Header{Source: from4, Destination: to4}
	tcp6 := Header{Source: netip.MustParseAddrPort("[2001:db8::1]:12345"), Destination: netip.MustParseAddrPort("[2001:db8::2]:6667")}
	local, itself := Header{Local: true}, Header{} // about no client; about one whose address is not known
	unix := strings.Repeat("x", 216)
	for _, c := range []struct {
		name    string
		in      string
		verdict Verdict
		want    Header
	}{
		{"v1 TCP4", "PROXY TCP4 192.0.2.1 192.0.2.2 12345 6667\r\n", HeaderComplete, tcp4},
		{"v1 TCP6", "PROXY TCP6 2001:db8::1 2001:db8::2 12345 6667\r\n", HeaderComplete, tcp6},
		{"v1 mapped", "PROXY TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.2 12345 6667\r\n", HeaderComplete, tcp4},
		{"v1 UNKNOWN", "PROXY UNKNOWN\r\n", HeaderComplete, local},
		{"v1 UNKNOWN with addresses", "PROXY UNKNOWN 192.0.2.1 192.0.2.2 12345 6667\r\n", HeaderComplete, local},
		{"v1 UNKNOWN, longest", "PROXY UNKNOWN " + strings.Repeat("f", 91) + "\r\n", HeaderComplete, local},
		{"v1 too long", "PROXY UNKNOWN " + strings.Repeat("f", 92) + "\r\n", HeaderBad, itself},
		{"v1 without an end", "PROXY UNKNOWN " + strings.Repeat("f", 80), HeaderMore, itself},
		{"v1 bare LF", "PROXY TCP4 192.0.2.1 192.0.2.2 12345 6667\n", HeaderBad, itself},
		{"v1 other protocol", "PROXY UDP4 192.0.2.1 192.0.2.2 12345 6667\r\n", HeaderBad, itself},
		{"v1 no address", "PROXY TCP4 x y 12345 6667\r\n", HeaderBad, itself},
		{"v1 bad port", "PROXY TCP4 192.0.2.1 192.0.2.2 123456 6667\r\n", HeaderBad, itself},
		{"v2 TCP4", headerV2(0x21, 0x11, v4Payload), HeaderComplete, tcp4},
		{"v2 TCP6", headerV2(0x21, 0x21, v6Payload), HeaderComplete, tcp6},
		{"v2 TLVs", headerV2(0x21, 0x11, v4Payload+"\x04\x00\x03abc"), HeaderComplete, tcp4},
		{"v2 CRC32C", headerV2(0x21, 0x11, v4Payload+"\x03\x00\x04\xde\xad\xbe\xef"), HeaderComplete, tcp4},
		{"v2 of 4 KiB", headerV2(0x21, 0x11, v4Payload+"\x04\x0f\xf1"+strings.Repeat("x", 4096-15)), HeaderComplete, tcp4},
		{"v2 over 4 KiB", headerV2(0x21, 0x11, v4Payload+"\x04\x0f\xf2"+strings.Repeat("x", 4097-15)), HeaderComplete, tcp4},
		{"v2 longest", headerV2(0x21, 0x21, v6Payload+"\x04\xff\xd8"+strings.Repeat("x", 65535-39)), HeaderComplete, tcp6},
		{"v2 LOCAL", headerV2(0x20, 0x00, ""), HeaderComplete, local},
		{"v2 LOCAL with TLVs", headerV2(0x20, 0x00, "\x04\x00\x03abc"), HeaderComplete, local},
		{"v2 LOCAL with addresses", headerV2(0x20, 0x11, v4Payload), HeaderComplete, local},
		{"v2 LOCAL of a family, without addresses", headerV2(0x20, 0x11, ""), HeaderComplete, local},
		{"v2 LOCAL of reserved families", headerV2(0x20, 0xff, "abc"), HeaderComplete, local},
		{"v2 LOCAL of a reserved protocol", headerV2(0x20, 0x13, v4Payload), HeaderComplete, local},
		{"v2 LOCAL, longest", headerV2(0x20, 0x00, strings.Repeat("x", 65535)), HeaderComplete, local},
		{"v2 UNSPEC", headerV2(0x21, 0x00, ""), HeaderComplete, itself},
		{"v2 UNSPEC with something behind", headerV2(0x21, 0x00, v4Payload), HeaderComplete, itself},
		{"v2 UDP4", headerV2(0x21, 0x12, v4Payload), HeaderComplete, itself},
		{"v2 UDP6", headerV2(0x21, 0x22, v6Payload), HeaderComplete, itself},
		{"v2 UNIX stream", headerV2(0x21, 0x31, unix), HeaderComplete, itself},
		{"v2 UNIX datagram", headerV2(0x21, 0x32, unix+"\x04\x00\x03abc"), HeaderComplete, itself},
		{"v2 reserved family", headerV2(0x21, 0x41, v4Payload), HeaderBad, itself},
		{"v2 reserved protocol", headerV2(0x21, 0x13, v4Payload), HeaderBad, itself},
		{"v2 short addresses", headerV2(0x21, 0x11, v4Payload[:11]), HeaderBad, itself},
		{"v2 short addresses of IPv6", headerV2(0x21, 0x21, v4Payload), HeaderBad, itself},
		{"v2 reserved command", headerV2(0x22, 0x11, v4Payload), HeaderBad, itself},
		{"version 3", headerV2(0x31, 0x11, v4Payload), HeaderBad, itself},
		{"IRC", "NICK a\r\nUSER a 0 * :a\r\n", HeaderNone, itself},
		{"IRC with a P", "PASS x\r\n", HeaderNone, itself},
		{"IRC with PROXY", "PROXYING\r\n", HeaderNone, itself},
		{"blank lines", "\r\n\r\nNICK a\r\n", HeaderNone, itself},
		{"TLS", "\x16\x03\x01", HeaderNone, itself},
		{"nothing", "", HeaderMore, itself},
	} {
		const lines = "NICK a\r\n"
		splits := []int{0, 1, 5, 6, 7, 12, 13, 14, 15, 16, 17, 27, 28, 40, 52, 53, len(c.in) - 1, len(c.in)}
		for _, at := range splits {
			h, n, v := take(c.in+lines, at)
			if c.verdict == HeaderMore {
				h, n, v = take(c.in, at)
			}
			if v != c.verdict || h != c.want || v == HeaderComplete && n != len(c.in) {
				t.Errorf("%s, cut at %d: verdict %d, %d bytes of %d, %+v, want %d, %+v", c.name, at, v, n, len(c.in), h, c.verdict, c.want)
			}
			if _, _, v := take(c.in[:max(0, min(at, len(c.in)-1))]); c.verdict == HeaderComplete && v != HeaderMore {
				t.Errorf("%s: verdict %d of the first %d bytes", c.name, v, at)
			}
		}
	}
}

// A balancer's check may say so, or name its own connection; its clients have other addresses, or other ports on its own host.
func TestHeaderAboutTheConnectionItself(t *testing.T) {
	peer := netip.MustParseAddrPort("192.0.2.1:12345")
	for in, want := range map[string]bool{
		"PROXY UNKNOWN\r\n":                                           true,
		headerV2(0x20, 0x11, v4Payload):                               true,
		"PROXY TCP4 192.0.2.1 192.0.2.2 12345 6667\r\n":               true,
		"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.2 12345 6667\r\n": true,
		headerV2(0x21, 0x11, v4Payload):                               true,
		"PROXY TCP4 192.0.2.1 192.0.2.2 12346 6667\r\n":               false,
		"PROXY TCP4 192.0.2.3 192.0.2.2 12345 6667\r\n":               false,
		headerV2(0x21, 0x00, ""):                                      false,
	} {
		if h, _, v := take(in); v != HeaderComplete || h.About(peer) != want {
			t.Errorf("%.40q: verdict %d, %v, want %v", in, v, h.About(peer), want)
		}
	}
}

// What cannot become a header any more is refused when that can be known, not when 64 KiB have come or the time is over.
func TestBadHeadersAreRefusedEarly(t *testing.T) {
	for name, in := range map[string]string{
		"command":   headerV2(0x22, 0x11, v4Payload)[:13],
		"version":   headerV2(0x31, 0x11, v4Payload)[:13],
		"family":    headerV2(0x21, 0x41, v4Payload)[:16],
		"addresses": headerV2(0x21, 0x21, v4Payload)[:16],
	} {
		if _, _, v := take(in); v != HeaderBad {
			t.Errorf("%s: verdict %d of the first %d bytes", name, v, len(in))
		}
	}
}

// FuzzHeader: no bytes make the door panic, what it says does not depend on how they are split, and what the library takes for a header is one
// here too, to the byte and with the same addresses.
func FuzzHeader(f *testing.F) {
	f.Add([]byte("PROXY TCP4 192.0.2.1 192.0.2.2 12345 6667\r\nNICK a\r\n"), 5, 30)
	f.Add([]byte("PROXY UNKNOWN\r\n"), 7, 13)
	f.Add([]byte(headerV2(0x21, 0x21, v6Payload)+"NICK a\r\n"), 13, 20)
	f.Add([]byte(headerV2(0x20, 0x00, "")), 1, 15)
	f.Add([]byte(headerV2(0x21, 0x31, strings.Repeat("x", 216))), 16, 17)
	f.Add([]byte("\r\n\r\nNICK a\r\n"), 3, 4)
	f.Fuzz(func(t *testing.T, in []byte, split, split2 int) {
		h, n, v := take(string(in))
		if h2, n2, v2 := take(string(in), split, max(split, split2)); h2 != h || v2 != v || v == HeaderComplete && n2 != n {
			t.Fatalf("in pieces: verdict %d, %d bytes, %+v; whole: %d, %d, %+v", v2, n2, h2, v, n, h)
		}
		if h.Source.IsValid() != h.Destination.IsValid() || h.Local && h.Source.IsValid() || v != HeaderComplete && h != (Header{}) {
			t.Fatalf("half an answer: %+v", h)
		}
		var s Spotter
		if v == HeaderComplete && s.See(in) != HeaderBad {
			t.Fatal("a header, but not spotted")
		}
		if lib, ok := byLibrary(in); ok && (v != HeaderComplete || lib != h) {
			t.Fatalf("verdict %d, %+v; the library says %+v", v, h, lib)
		}
		if !h.Source.IsValid() {
			return
		}
		again := proxyproto.HeaderProxyFromAddrs(2, net.TCPAddrFromAddrPort(h.Source), net.TCPAddrFromAddrPort(h.Destination))
		b, err := again.Format()
		if err != nil {
			t.Fatal(err)
		}
		if h2, n, v := take(string(b)); v != HeaderComplete || n != len(b) || h2 != h {
			t.Fatalf("%+v came back as %+v: verdict %d, %d bytes of %d", h, h2, v, n, len(b))
		}
	})
}

// byLibrary is what the library says of a header, in our words.
func byLibrary(in []byte) (Header, bool) {
	h, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(in), 1<<17))
	if err != nil {
		return Header{}, false
	}
	if h.Command.IsLocal() {
		return Header{Local: true}, true
	}
	src, dst, ok := h.TCPAddrs()
	if !ok {
		return Header{}, true
	}
	return Header{Source: addrPortOf(src), Destination: addrPortOf(dst)}, true
}
