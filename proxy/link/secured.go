package link

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"

	"github.com/ircferry/ircferry/proxy/wire"
)

// secured is a connection inside TLS, behind its handshake. One goroutine reads and one writes, as a conn does; Close may come from any.
type secured struct {
	net.Conn // what it is spoken over
	room     *records
	id       wire.TLSID // guarded by room's mutex, as what it names; 0: given back

	plain []byte // opened, and not read yet; the reader's
	over  error  // what Read answers from now on; the reader's
	buf   []byte // the reader's

	unsent []byte // records that the kernel has not taken; the writer's
	reply  atomic.Bool
	alert  atomic.Uint32 // plus one: what the reader wants the other end to be told

	exported []byte // guarded by room's mutex; what was made of it for another process
}

// NetConn is what TLS is spoken over.
func (s *secured) NetConn() net.Conn { return s.Conn }

// in lets f work with the connection's state.
func (s *secured) in(f func(shard *wire.Shard) error) error {
	return s.room.do(func(shard *wire.Shard) error {
		if s.id == 0 {
			return net.ErrClosed
		}
		return f(shard)
	})
}

// Read answers what was said, or at last how it ended, never both at once.
func (s *secured) Read(p []byte) (int, error) {
	if s.buf == nil { // what came with the end of the handshake is whole perhaps
		s.buf = make([]byte, readSize)
		s.open(nil)
	}
	for len(s.plain) == 0 {
		if s.over != nil {
			return 0, s.over
		}
		n, err := s.Conn.Read(s.buf)
		switch {
		case n > 0:
			s.open(s.buf[:n])
		case errors.Is(err, io.EOF):
			s.over = s.atEnd()
		case err != nil:
			return 0, err // which may be a deadline: it can be read again
		}
	}
	n := copy(p, s.plain)
	s.plain = s.plain[n:]
	return n, nil
}

// open opens the records that are whole.
func (s *secured) open(b []byte) {
	err := s.in(func(shard *wire.Shard) error {
		n := 0
		if len(b) > 0 {
			n = copy(shard.ReadRoom(s.id), b)
		}
		if n < len(b) {
			return wire.ErrFull
		}
		got, err := shard.Open(s.id, n, sinceStart())
		s.plain = append(s.plain, got.Plain...)
		if got.Reply {
			s.reply.Store(true)
		}
		if err == nil && got.Closed {
			err = io.EOF
		}
		return err
	})
	var broken *wire.TLSError
	if errors.As(err, &broken) && broken.Alert != 0 {
		s.alert.Store(uint32(broken.Alert) + 1)
	}
	s.over = err
}

// atEnd is how the other end has ended: TLS has its own word for it, which some do not say, and that is in order behind a whole record.
func (s *secured) atEnd() error {
	within := false
	if err := s.in(func(shard *wire.Shard) error { within = shard.InRecord(s.id); return nil }); err != nil {
		return err
	}
	if within {
		return wire.ErrTruncated
	}
	return io.EOF
}

// owes reports whether TLS has something to say by itself. Reader and writer ask.
func (s *secured) owes() bool { return s.reply.Load() || s.alert.Load() > 0 }

// behind reports whether a Write of nothing has something to do. Only the writer asks.
func (s *secured) behind() bool { return len(s.unsent) > 0 || s.owes() }

// Write takes all of p, also when the kernel does not: then the error says so, and the next Write goes on.
func (s *secured) Write(p []byte) (int, error) {
	if err := s.seal(p); err != nil {
		return 0, err
	}
	for len(s.unsent) > 0 {
		n, err := s.Conn.Write(s.unsent)
		if s.unsent = s.unsent[n:]; err != nil {
			return len(p), err
		}
	}
	s.unsent = nil
	return len(p), nil
}

// sealSize is how much is sealed while others wait.
const sealSize = 16 << 10

// seal puts records behind those that the kernel has not taken.
func (s *secured) seal(p []byte) error {
	if a := s.alert.Swap(0); a > 0 {
		return s.say(uint8(a - 1))
	}
	due := s.reply.Swap(false)
	for due || len(p) > 0 {
		n := min(len(p), sealSize)
		if err := s.in(func(shard *wire.Shard) error {
			sealed, err := shard.Seal(s.id, p[:n])
			s.unsent = append(s.unsent, sealed...)
			return err
		}); err != nil {
			return err
		}
		p, due = p[n:], false
	}
	return nil
}

// say seals an alert.
func (s *secured) say(alert uint8) error {
	return s.in(func(shard *wire.Shard) error {
		sealed, err := shard.SealAlert(s.id, alert)
		s.unsent = append(s.unsent, sealed...)
		return err
	})
}

// CloseWrite ends our direction: close_notify, and a FIN behind it.
func (s *secured) CloseWrite() error {
	if err := s.say(wire.AlertCloseNotify); err != nil && !errors.Is(err, wire.ErrTLSEnded) {
		return err
	}
	if _, err := s.Write(nil); err != nil {
		return err
	}
	if c, ok := s.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}

// Close ends both directions.
func (s *secured) Close() error {
	s.forget()
	return s.Conn.Close()
}

// forget gives back what it has in the arena, and zeroes its keys.
func (s *secured) forget() {
	s.room.do(func(shard *wire.Shard) error { //nolint:errcheck // f has none
		if s.id != 0 {
			shard.FreeTLS(s.id)
		}
		s.id = 0
		clear(s.exported)
		s.exported = nil
		return nil
	})
}

// securedState is it for another process.
type securedState struct {
	Keys   []byte `json:"keys"` // see wire.ExportTLS
	Plain  []byte `json:"plain,omitempty"`
	Unsent []byte `json:"unsent,omitempty"`
	Reply  bool   `json:"reply,omitempty"`
	Alert  uint8  `json:"alert,omitempty"` // plus one
}

// carried makes it, and leaves nothing here that could seal or open: see back.
func (s *secured) carried() (*securedState, error) {
	st := &securedState{Plain: s.plain, Unsent: s.unsent, Reply: s.reply.Load(), Alert: uint8(s.alert.Load())}
	err := s.in(func(shard *wire.Shard) (err error) {
		if st.Keys, err = shard.ExportTLS(s.id); err != nil {
			return err
		}
		s.exported = append([]byte(nil), st.Keys...)
		shard.FreeTLS(s.id)
		s.id = 0
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("carry TLS: %w", err)
	}
	return st, nil
}

// back goes on with what was carried and nobody has taken.
func (s *secured) back() error {
	if s.exported == nil {
		return nil
	}
	return s.room.do(func(shard *wire.Shard) (err error) {
		s.id, err = shard.ImportTLS(s.exported) // which zeroes it
		s.exported = nil
		return err
	})
}

// resume is a connection inside TLS that another process has carried.
func (r *records) resume(c net.Conn, st securedState) (*secured, error) {
	s := &secured{Conn: c, room: r, plain: st.Plain, unsent: st.Unsent}
	s.reply.Store(st.Reply)
	s.alert.Store(uint32(st.Alert))
	if err := r.do(func(shard *wire.Shard) (err error) {
		s.id, err = shard.ImportTLS(st.Keys)
		return err
	}); err != nil {
		return nil, err
	}
	return s, nil
}
