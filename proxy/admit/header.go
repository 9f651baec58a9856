package admit

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	proxyproto "github.com/pires/go-proxyproto"
)

// The PROXY protocol of HAProxy (doc/proxy-protocol.txt, versions 1 and 2) on the way in. This file finds out where a header ends and what of
// it is to be read, which the library could only do by reading from a connection, and hands it the bytes that say something.

const (
	maxHeaderV1   = 107 // the longest line of version 1 with its CR LF
	fixedHeaderV2 = 16  // signature, version and command, family and protocol, length of what follows
)

var (
	signatureV1 = []byte("PROXY ")
	signatureV2 = []byte("\r\n\r\n\x00\r\nQUIT\n")
)

// Verdict is what the first bytes of a connection are.
type Verdict uint8

const (
	HeaderMore     Verdict = iota // the beginning of a header, or nothing yet
	HeaderNone                    // not a header
	HeaderComplete                // a header, with its last byte
	HeaderBad                     // a header that is malformed, too long or of an unknown version or command
)

// Header is what a header says. Addresses that are not valid: those of the connection that it came on count.
type Header struct {
	Source, Destination netip.AddrPort
	Local               bool // it is not about a client (LOCAL, UNKNOWN): health checks of the balancer before us are so
}

// About reports whether the header is about the connection from peer itself, and not about a client's: it says so, or names the peer with its port,
// as HAProxy's checks do in version 1.
func (h Header) About(peer netip.AddrPort) bool { return h.Local || h.Source == peer }

// HeaderReader gathers the header at the start of a connection, however its bytes are split. It keeps at most 107 of them, though a header
// may have 64 KiB: of version 2 only the addresses of TCP connections say something here. The zero value is ready; one goroutine uses it.
type HeaderReader struct {
	head []byte // without what is skipped
	skip int    // bytes of the header that are still to come and say nothing
}

// Take takes the next bytes of the connection; once it has answered other than HeaderMore there are no more to take. rest is what is behind
// a complete header, and lies in p.
func (r *HeaderReader) Take(p []byte) (h Header, rest []byte, v Verdict) {
	for len(p) > 0 && v == HeaderMore {
		if r.skip > 0 {
			n := min(r.skip, len(p))
			p, r.skip = p[n:], r.skip-n
			if r.skip == 0 {
				v = HeaderComplete
			}
			continue
		}
		n := r.next(p)
		if r.head == nil {
			r.head = make([]byte, 0, maxHeaderV1)
		}
		r.head = append(r.head, p[:n]...)
		p, v = p[n:], r.look()
	}
	if v != HeaderComplete {
		return Header{}, nil, v
	}
	h, err := parseHead(r.head)
	if err != nil {
		return Header{}, nil, HeaderBad
	}
	return h, p, HeaderComplete
}

// next is how many of the next bytes, p, can be seen before there is something to say: to the end of the line of version 1, of the fixed part of
// version 2, or of its addresses.
func (r *HeaderReader) next(p []byte) int {
	if len(r.head) > 0 && r.head[0] == signatureV2[0] || len(r.head) == 0 && p[0] == signatureV2[0] {
		n := fixedHeaderV2
		if len(r.head) >= n {
			n += readV2(r.head)
		}
		return min(len(p), n-len(r.head))
	}
	p = p[:min(len(p), maxHeaderV1-len(r.head))]
	if i := bytes.IndexByte(p, '\n'); i >= 0 {
		return i + 1
	}
	return len(p)
}

// look says what head is.
func (r *HeaderReader) look() Verdict {
	switch p := r.head; {
	case startsLike(p, signatureV2):
		return r.lookV2()
	case !startsLike(p, signatureV1):
		return HeaderNone
	case p[len(p)-1] == '\n':
		return HeaderComplete
	case len(p) == maxHeaderV1:
		return HeaderBad
	}
	return HeaderMore
}

// startsLike reports whether p begins with sig or is a beginning of it.
func startsLike(p, sig []byte) bool {
	n := min(len(p), len(sig))
	return bytes.Equal(p[:n], sig[:n])
}

// The commands of version 2, with the version before them.
const (
	commandLocal = 0x20
	commandProxy = 0x21
)

// addressesV2 is how many bytes of addresses are read of a combination of family and protocol: those of TCP over IPv4 and IPv6. For the others
// that version 2 knows (UNSPEC, UDP, UNIX) a receiver that does not support them falls back to UNSPEC, so that the real addresses count. -1:
// unknown, and to be rejected (section 2.2).
func addressesV2(family byte) int {
	switch family {
	case 0x11:
		return 12
	case 0x21:
		return 36
	case 0x00, 0x12, 0x22, 0x31, 0x32:
		return 0
	}
	return -1
}

// readV2 is how many bytes behind the fixed part of p are addresses that are read. With LOCAL the family is ignored, whatever it is.
func readV2(p []byte) int {
	if p[12] == commandLocal {
		return 0
	}
	return addressesV2(p[13])
}

func (r *HeaderReader) lookV2() Verdict {
	p := r.head
	if len(p) > 12 && p[12] != commandLocal && p[12] != commandProxy {
		return HeaderBad
	}
	if len(p) < fixedHeaderV2 {
		return HeaderMore
	}
	length, read := int(binary.BigEndian.Uint16(p[14:])), readV2(p)
	switch {
	case read < 0, length < read:
		return HeaderBad
	case len(p) < fixedHeaderV2+read:
		return HeaderMore
	case length == read:
		return HeaderComplete
	}
	r.skip = length - read
	return HeaderMore
}

// parseHead reads a complete header without what was skipped.
func parseHead(p []byte) (Header, error) {
	if p[0] == signatureV2[0] {
		if readV2(p) == 0 {
			return Header{Local: p[12] == commandLocal}, nil
		}
		binary.BigEndian.PutUint16(p[14:], uint16(len(p)-fixedHeaderV2))
	}
	h, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(p), len(p)))
	if err != nil {
		return Header{}, fmt.Errorf("read PROXY header: %w", err)
	}
	if h.Command.IsLocal() {
		return Header{Local: true}, nil
	}
	src, dst, ok := h.TCPAddrs()
	if !ok {
		return Header{}, fmt.Errorf("PROXY header is not about a TCP connection (%#x)", byte(h.TransportProtocol))
	}
	out := Header{Source: addrPortOf(src), Destination: addrPortOf(dst)}
	if !out.Source.IsValid() || !out.Destination.IsValid() {
		return Header{}, fmt.Errorf("PROXY header without addresses")
	}
	return out, nil
}

func addrPortOf(a *net.TCPAddr) netip.AddrPort {
	p := a.AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}
