package handshake

import "encoding/binary"

const (
	// helloLen is the beginning of a hello message: type, length, version, random.
	helloLen = 4 + 2 + 32

	// mostIn bounds what is kept of the peer's records behind its ChangeCipherSpec, and mostOut what of ours. A Finished is 40 bytes; of
	// ours the largest part is the certificates.
	mostIn  = 1 << 10
	mostOut = 256 << 10
)

// capture is what the take-over needs to know of the records that went through the gate. Only the handshake's goroutine uses it.
type capture struct {
	client   bool
	inHello  hello
	outHello hello

	finalDot    bool // of the name that a client asks for
	inSwitched  bool // a ChangeCipherSpec came: all behind it is sealed (TLS 1.2)
	inSealed    [][]byte
	inBytes     int
	outSwitched bool
	outSealed   [][]byte
	outBytes    int
	alert       uint8 // the last alert that we sent in the clear
	broken      bool  // not whole records, or too many: nothing is taken over
}

// in takes a whole record of the peer. p is copied if it is kept.
func (c *capture) in(p []byte) {
	switch {
	case c.inSwitched:
		c.inBytes += len(p)
		if c.inBytes <= mostIn {
			c.inSealed = append(c.inSealed, append([]byte(nil), p...))
		}
	case p[0] == typeCCS:
		c.inSwitched = true
	case p[0] == typeHandshake:
		if !c.client && c.inHello.n == 0 {
			c.finalDot = finalDot(p[headerLen:])
		}
		c.inHello.add(p[headerLen:])
	}
}

// out takes whole records of ours. p stays as it is.
func (c *capture) out(p []byte) {
	for len(p) > 0 {
		if len(p) < headerLen {
			c.broken = true
			return
		}
		n := headerLen + int(binary.BigEndian.Uint16(p[3:]))
		if len(p) < n {
			c.broken = true
			return
		}
		c.outRecord(p[:n:n])
		p = p[n:]
	}
}

func (c *capture) outRecord(p []byte) {
	switch {
	case p[0] == typeData || c.outSwitched && p[0] != typeCCS:
		// In TLS 1.3 all that is sealed says that it is data, and a ServerHello may come behind a ChangeCipherSpec
		// that stands for nothing: see sealed13.
		c.outBytes += len(p)
		if c.outBytes > mostOut {
			c.broken = true
			return
		}
		c.outSealed = append(c.outSealed, p)
	case p[0] == typeCCS:
		c.outSwitched = true
	case p[0] == typeHandshake:
		c.outHello.add(p[headerLen:])
	case p[0] == typeAlert && len(p) == headerLen+2:
		c.alert = p[headerLen+1]
	}
}

// clientRandom and serverRandom answer nil if the hello did not come whole.
func (c *capture) clientRandom() []byte {
	if c.client {
		return c.outHello.random(1)
	}
	return c.inHello.random(1)
}

func (c *capture) serverRandom() []byte {
	if c.client {
		return c.inHello.random(2)
	}
	return c.outHello.random(2)
}

// hello is the beginning of the first handshake message of one side.
type hello struct {
	b [helloLen]byte
	n int
}

func (h *hello) add(p []byte) { h.n += copy(h.b[h.n:], p) }

func (h *hello) random(kind byte) []byte {
	if h.n < helloLen || h.b[0] != kind {
		return nil
	}
	return h.b[helloLen-32:]
}
