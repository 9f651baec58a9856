package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// A connection over TLS, or a whole session, can leave the arena as bytes and go on in another one: in another process, on another
// host. The bytes are the connection: they hold its keys, and who imports them goes on with its nonces. So there is one of
// them at any time. Export leaves behind what can neither seal nor open any more, and Import wipes the bytes that it has taken. Who cannot
// get rid of what it has exported imports it again itself.
//
// All numbers are big-endian.
//
//	1 kind: 'T' one TLS connection, 'S' a slot
//	1 format: stateFormat
//	  what annex or slot says
//
// The same state always makes the same bytes, and Import takes no others: nothing may follow, and what a connection cannot come to
// is refused. A successor that changes the meaning of anything raises stateFormat.

const (
	kindTLS  = 'T'
	kindSlot = 'S'

	stateFormat = 1
)

var (
	errStateShort  = errors.New("state ends too early")
	errStateBehind = errors.New("bytes behind the state")
)

// errState says what makes no sense.
type errState string

func (e errState) Error() string { return "state makes no sense: " + string(e) }

// stateCodec goes through a state once, for both directions: each of its methods writes what it is given behind b, or reads it from the
// beginning of b. The first error stays, and makes all further reads zeros.
type stateCodec struct {
	s       *Shard
	b       []byte
	reading bool
	err     error
}

func (c *stateCodec) fail(err error) {
	if c.err == nil {
		c.err = err
	}
	c.b = nil
}

// begin is the first two bytes.
func (c *stateCodec) begin(kind uint8) {
	k, f := kind, uint8(stateFormat)
	c.u8(&k)
	c.u8(&f)
	switch {
	case c.err != nil || !c.reading:
	case k != kind:
		c.fail(fmt.Errorf("state of kind %q, want %q", k, kind))
	case f != stateFormat:
		c.fail(fmt.Errorf("state of format %d, want %d", f, stateFormat))
	}
}

// end is behind the last byte.
func (c *stateCodec) end() {
	if c.err == nil && len(c.b) > 0 {
		c.fail(errStateBehind)
	}
}

func (c *stateCodec) bytes(p []byte) {
	switch {
	case !c.reading:
		c.b = append(c.b, p...)
	case len(c.b) < len(p):
		c.fail(errStateShort)
		clear(p)
	default:
		copy(p, c.b)
		c.b = c.b[len(p):]
	}
}

func (c *stateCodec) u8(v *uint8) {
	p := [1]byte{*v}
	c.bytes(p[:])
	*v = p[0]
}

func (c *stateCodec) u16(v *uint16) {
	var p [2]byte
	binary.BigEndian.PutUint16(p[:], *v)
	c.bytes(p[:])
	*v = binary.BigEndian.Uint16(p[:])
}

func (c *stateCodec) u32(v *uint32) {
	var p [4]byte
	binary.BigEndian.PutUint32(p[:], *v)
	c.bytes(p[:])
	*v = binary.BigEndian.Uint32(p[:])
}

func (c *stateCodec) u64(v *uint64) {
	var p [8]byte
	binary.BigEndian.PutUint64(p[:], *v)
	c.bytes(p[:])
	*v = binary.BigEndian.Uint64(p[:])
}

// queue is the bytes of a queue behind their number. One that is read into must be empty.
func (c *stateCodec) queue(q *Queue) {
	n := q.Bytes
	c.u32(&n)
	if !c.reading {
		for _, p := range c.s.Pieces(q, q.Len(), nil) {
			c.b = append(c.b, p...)
		}
		return
	}
	if uint64(n) > uint64(len(c.b)) {
		c.fail(errStateShort)
		return
	}
	if err := c.s.Append(q, c.b[:n]); err != nil {
		c.fail(err)
		return
	}
	c.b = c.b[n:]
}
