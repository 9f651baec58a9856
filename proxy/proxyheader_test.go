package proxy

import (
	"bytes"
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

func TestHeaders(t *testing.T) {
	ap := netip.MustParseAddrPort
	for _, c := range []struct {
		name     string
		in       string
		verdict  headerVerdict
		src, dst netip.AddrPort // both invalid: about the connection itself
		refused  bool           // by the library or by us
	}{
		{name: "v1 TCP4", in: "PROXY TCP4 192.0.2.1 192.0.2.2 12345 6667\r\n", verdict: headerComplete, src: ap("192.0.2.1:12345"), dst: ap("192.0.2.2:6667")},
		{name: "v1 TCP6", in: "PROXY TCP6 2001:db8::1 2001:db8::2 12345 6667\r\n", verdict: headerComplete, src: ap("[2001:db8::1]:12345"), dst: ap("[2001:db8::2]:6667")},
		{name: "v1 mapped", in: "PROXY TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.2 12345 6667\r\n", verdict: headerComplete, src: ap("192.0.2.1:12345"), dst: ap("192.0.2.2:6667")},
		{name: "v1 UNKNOWN", in: "PROXY UNKNOWN\r\n", verdict: headerComplete},
		{name: "v1 UNKNOWN, longest", in: "PROXY UNKNOWN " + strings.Repeat("f", 91) + "\r\n", verdict: headerComplete},
		{name: "v1 too long", in: "PROXY UNKNOWN " + strings.Repeat("f", 92) + "\r\n", verdict: headerBad},
		{name: "v1 without an end", in: "PROXY UNKNOWN " + strings.Repeat("f", 80), verdict: headerMore},
		{name: "v1 bare LF", in: "PROXY TCP4 192.0.2.1 192.0.2.2 12345 6667\n", verdict: headerComplete, refused: true},
		{name: "v1 other protocol", in: "PROXY UDP4 192.0.2.1 192.0.2.2 12345 6667\r\n", verdict: headerComplete, refused: true},
		{name: "v1 no address", in: "PROXY TCP4 x y 12345 6667\r\n", verdict: headerComplete, refused: true},
		{name: "v1 bad port", in: "PROXY TCP4 192.0.2.1 192.0.2.2 123456 6667\r\n", verdict: headerComplete, refused: true},
		{name: "v2 TCP4", in: headerV2(0x21, 0x11, v4Payload), verdict: headerComplete, src: ap("192.0.2.1:12345"), dst: ap("192.0.2.2:6667")},
		{name: "v2 TCP6", in: headerV2(0x21, 0x21, v6Payload), verdict: headerComplete, src: ap("[2001:db8::1]:12345"), dst: ap("[2001:db8::2]:6667")},
		{name: "v2 TLVs", in: headerV2(0x21, 0x11, v4Payload+"\x04\x00\x03abc"), verdict: headerComplete, src: ap("192.0.2.1:12345"), dst: ap("192.0.2.2:6667")},
		{name: "v2 longest", in: headerV2(0x21, 0x11, v4Payload+"\x04\x0f\xf1"+strings.Repeat("x", 4096-15)), verdict: headerComplete, src: ap("192.0.2.1:12345"), dst: ap("192.0.2.2:6667")},
		{name: "v2 too long", in: headerV2(0x21, 0x11, strings.Repeat("x", 4097)), verdict: headerBad},
		{name: "v2 LOCAL", in: headerV2(0x20, 0x00, ""), verdict: headerComplete},
		{name: "v2 LOCAL with addresses", in: headerV2(0x20, 0x11, v4Payload), verdict: headerComplete},
		{name: "v2 UDP", in: headerV2(0x21, 0x12, v4Payload), verdict: headerComplete, refused: true},
		{name: "v2 unix", in: headerV2(0x21, 0x31, strings.Repeat("x", 216)), verdict: headerComplete, refused: true},
		{name: "v2 UNSPEC", in: headerV2(0x21, 0x00, ""), verdict: headerComplete, refused: true},
		{name: "v2 short payload", in: headerV2(0x21, 0x11, v4Payload[:4]), verdict: headerComplete, refused: true},
		{name: "version 3", in: headerV2(0x31, 0x11, v4Payload), verdict: headerBad},
		{name: "IRC", in: "NICK a\r\nUSER a 0 * :a\r\n", verdict: headerNone},
		{name: "IRC with a P", in: "PASS x\r\n", verdict: headerNone},
		{name: "blank lines", in: "\r\n\r\nNICK a\r\n", verdict: headerNone},
		{name: "TLS", in: "\x16\x03\x01", verdict: headerNone},
		{name: "nothing", in: "", verdict: headerMore},
	} {
		n, v := findHeader([]byte(c.in))
		if v != c.verdict || v == headerComplete && n != len(c.in) {
			t.Errorf("%s: verdict %d length %d, want %d and %d", c.name, v, n, c.verdict, len(c.in))
		}
		if v != headerComplete {
			continue
		}
		if n, v := findHeader([]byte(c.in + "NICK a\r\n")); n != len(c.in) || v != headerComplete {
			t.Errorf("%s: with lines behind it verdict %d length %d", c.name, v, n)
		}
		for i := range len(c.in) {
			if _, v := findHeader([]byte(c.in[:i])); v != headerMore {
				t.Errorf("%s: verdict %d of the first %d bytes", c.name, v, i)
			}
		}
		h, err := parseHeader([]byte(c.in))
		if (err != nil) != c.refused || h.source != c.src || h.destination != c.dst {
			t.Errorf("%s: %+v, %v", c.name, h, err)
		}
	}
}

func TestHeaderSpotted(t *testing.T) {
	for _, c := range []struct {
		in   string
		want headerVerdict
	}{
		{"PROXY TCP4 192.0.2.1 192.0.2.2 12345 6667\r\n", headerBad},
		{headerV2(0x21, 0x11, v4Payload), headerBad},
		{"PROXYING\r\n", headerNone},
		{"PASS x\r\n", headerNone},
		{"\r\n\r\nNICK a\r\n", headerNone},
		{"PROX", headerMore},
		{"", headerMore},
	} {
		for step := 1; step <= 13; step++ {
			var s headerSpotter
			got := headerMore
			for p := []byte(c.in); len(p) > 0 && got == headerMore; p = p[min(step, len(p)):] {
				got = s.see(p[:min(step, len(p))])
			}
			if got != c.want {
				t.Errorf("%q in pieces of %d: %d, want %d", c.in, step, got, c.want)
			}
		}
	}
}

// FuzzHeader: no bytes make the door panic, a verdict does not depend on what follows, and what it calls complete is what the
// library reads, to the byte.
func FuzzHeader(f *testing.F) {
	f.Add([]byte("PROXY TCP4 192.0.2.1 192.0.2.2 12345 6667\r\nNICK a\r\n"), 5)
	f.Add([]byte(headerV2(0x21, 0x21, v6Payload)+"NICK a\r\n"), 13)
	f.Add([]byte(headerV2(0x20, 0x00, "")), 1)
	f.Add([]byte("\r\n\r\nNICK a\r\n"), 3)
	f.Fuzz(func(t *testing.T, in []byte, split int) {
		n, v := findHeader(in)
		if early, ev := findHeader(in[:max(0, min(split, len(in)))]); ev != headerMore && (ev != v || early != n) {
			t.Fatalf("verdict %d length %d, of all bytes %d and %d", ev, early, v, n)
		}
		if v != headerComplete {
			if n != 0 {
				t.Fatalf("length %d of no header", n)
			}
			return
		}
		h, err := parseHeader(in[:n])
		if err == nil && h.source.IsValid() != h.destination.IsValid() {
			t.Fatalf("half an answer: %+v", h)
		}
		var s headerSpotter
		if s.see(in) != headerBad {
			t.Fatal("a header, but not spotted")
		}
		if err != nil || !h.source.IsValid() {
			return
		}
		again := proxyproto.HeaderProxyFromAddrs(2, net.TCPAddrFromAddrPort(h.source), net.TCPAddrFromAddrPort(h.destination))
		b, err := again.Format()
		if err != nil {
			t.Fatal(err)
		}
		if n, v := findHeader(b); v != headerComplete || n != len(b) {
			t.Fatalf("verdict %d length %d of a header of %d", v, n, len(b))
		}
		h2, err := parseHeader(b)
		if err != nil || h2 != h {
			t.Fatalf("%+v came back as %+v: %v", h, h2, err)
		}
		if !bytes.Equal(b[:12], signatureV2) {
			t.Fatal("signature")
		}
	})
}
