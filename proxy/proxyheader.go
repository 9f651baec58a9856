package proxy

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	proxyproto "github.com/pires/go-proxyproto"
)

// The PROXY protocol of HAProxy (doc/proxy-protocol.txt, versions 1 and 2) on the way in. This file finds out where a header ends,
// which the library could only do by reading from a connection, and then hands it the complete bytes. The loop of a session calls all of it.

const (
	maxHeaderV1 = 107        // the longest line of version 1 with its CR LF
	maxHeaderV2 = 16 + 4<<10 // fixed part, and addresses and TLVs: a client certificate fits
)

var (
	signatureV1 = []byte("PROXY ")
	signatureV2 = []byte("\r\n\r\n\x00\r\nQUIT\n")
)

// headerVerdict is what the first bytes of a connection are.
type headerVerdict uint8

const (
	headerMore     headerVerdict = iota // the beginning of a header, or nothing yet
	headerNone                          // not a header
	headerComplete                      // a header with its last byte
	headerBad                           // a header that is too long or of an unknown version
)

// findHeader says what p, all bytes that have come so far, begins with, and the header's length if it is complete. Bytes behind it
// are the client's.
func findHeader(p []byte) (int, headerVerdict) {
	switch {
	case startsLike(p, signatureV1):
		return findHeaderV1(p)
	case startsLike(p, signatureV2):
		return findHeaderV2(p)
	}
	return 0, headerNone
}

// startsLike reports whether p begins with sig or is a beginning of it.
func startsLike(p, sig []byte) bool {
	n := min(len(p), len(sig))
	return bytes.Equal(p[:n], sig[:n])
}

func findHeaderV1(p []byte) (int, headerVerdict) {
	if i := bytes.IndexByte(p[:min(len(p), maxHeaderV1)], '\n'); i >= 0 {
		return i + 1, headerComplete
	}
	if len(p) >= maxHeaderV1 {
		return 0, headerBad
	}
	return 0, headerMore
}

func findHeaderV2(p []byte) (int, headerVerdict) {
	if len(p) > 12 && p[12]>>4 != 2 {
		return 0, headerBad
	}
	if len(p) < 16 {
		return 0, headerMore
	}
	n := 16 + int(binary.BigEndian.Uint16(p[14:]))
	if n > maxHeaderV2 {
		return 0, headerBad
	}
	if len(p) < n {
		return 0, headerMore
	}
	return n, headerComplete
}

// proxyHeader is what a header says. Not valid addresses: the header is about the connection that it came on (LOCAL, UNKNOWN), as
// health checks of the proxy before us are.
type proxyHeader struct {
	source, destination netip.AddrPort
}

// parseHeader reads a header that findHeader called complete, and nothing else.
func parseHeader(p []byte) (proxyHeader, error) {
	r := bufio.NewReaderSize(bytes.NewReader(p), len(p))
	h, err := proxyproto.Read(r)
	if err != nil {
		return proxyHeader{}, fmt.Errorf("read PROXY header: %w", err)
	}
	if h.Command.IsLocal() {
		return proxyHeader{}, nil
	}
	src, dst, ok := h.TCPAddrs()
	if !ok {
		return proxyHeader{}, fmt.Errorf("PROXY header is not about a TCP connection (%#x)", byte(h.TransportProtocol))
	}
	out := proxyHeader{addrPortOf(src), addrPortOf(dst)}
	if !out.source.IsValid() || !out.destination.IsValid() {
		return proxyHeader{}, fmt.Errorf("PROXY header without addresses")
	}
	return out, nil
}

func addrPortOf(a *net.TCPAddr) netip.AddrPort {
	p := a.AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}

// headerSpotter finds a PROXY header at the start of a connection that must not send one, however its bytes are split, so that the
// close reason can say so. The zero value is ready; once see has answered other than headerMore it need not be called again.
type headerSpotter uint8

const spotV2 headerSpotter = 0x80 // the bytes so far are the beginning of signatureV2, else of signatureV1

// see takes the next bytes of the client. headerBad: a header begins here. headerNone: the connection does not begin with one.
func (s *headerSpotter) see(p []byte) headerVerdict {
	for _, c := range p {
		at := int(*s &^ spotV2)
		if at == 0 && c == signatureV2[0] {
			*s = spotV2
		}
		sig := signatureV1
		if *s&spotV2 != 0 {
			sig = signatureV2
		}
		if c != sig[at] {
			return headerNone
		}
		if *s++; at+1 == len(sig) {
			return headerBad
		}
	}
	return headerMore
}
