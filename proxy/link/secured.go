package link

import (
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/ircferry/ircferry/proxy/wire"
)

// secured is a connection inside TLS, behind its handshake. All but Close is for one goroutine: the link's loop, when it has one.
type secured struct {
	net.Conn // what it is spoken over
	room     *records
	id       wire.TLSID // guarded by room's mutex, as what it names; 0: given back
	exported []byte     // the same; what was made of it for another process
}

// in lets f work with the connection's state.
func (s *secured) in(f func(shard *wire.Shard) error) error {
	return s.room.do(func(shard *wire.Shard) error {
		if s.id == 0 {
			return net.ErrClosed
		}
		return f(shard)
	})
}

// Read is for who looks at the beginning of what is said and forgets it: see speaks.
func (s *secured) Read(p []byte) (int, error) {
	b := make([]byte, readSize)
	for n := 0; ; {
		plain, _, err := s.open(b[:n])
		if len(plain) > 0 || err != nil {
			return copy(p, plain), err
		}
		if n, err = s.Conn.Read(b); err != nil {
			return 0, err
		}
	}
}

// open opens the records that are whole with what has come. answer is what is to be sent because of it. The error is io.EOF at the end that the other side has
// said; behind an error there is nothing more.
func (s *secured) open(b []byte) (plain, answer []byte, err error) {
	err = s.in(func(shard *wire.Shard) error {
		n := 0
		if len(b) > 0 {
			n = copy(shard.ReadRoom(s.id), b)
		}
		if n < len(b) {
			return wire.ErrFull
		}
		got, err := shard.Open(s.id, n, sinceStart())
		plain = append(plain, got.Plain...)
		answer = s.answer(shard, got, err)
		if err == nil && got.Closed {
			err = io.EOF
		}
		return err
	})
	return plain, answer, err
}

// answer is what TLS itself has to say.
func (s *secured) answer(shard *wire.Shard, got wire.Opened, err error) []byte {
	var broken *wire.TLSError
	var sealed []byte
	switch {
	case errors.As(err, &broken) && broken.Alert != 0:
		sealed, _ = shard.SealAlert(s.id, broken.Alert) // it may have ended before
	case got.Reply:
		sealed, _ = shard.SealReply(s.id)
	}
	return append([]byte(nil), sealed...)
}

// truncated reports whether the other side has ended within a record. TLS has its own word for the end, which some do not say, and that is in order behind a
// whole one.
func (s *secured) truncated() (within bool) {
	s.in(func(shard *wire.Shard) error { within = shard.InRecord(s.id); return nil }) //nolint:errcheck // then it is not
	return within
}

// sealSize is how much is sealed while others wait.
const sealSize = 16 << 10

// seal makes records.
func (s *secured) seal(p []byte) (all []byte, err error) {
	for len(p) > 0 && err == nil {
		n := min(len(p), sealSize)
		err = s.in(func(shard *wire.Shard) error {
			sealed, err := shard.Seal(s.id, p[:n])
			all = append(all, sealed...)
			return err
		})
		p = p[n:]
	}
	return all, err
}

// bye is close_notify.
func (s *secured) bye() (b []byte) {
	s.in(func(shard *wire.Shard) error { //nolint:errcheck // it was said before
		sealed, err := shard.SealAlert(s.id, wire.AlertCloseNotify)
		b = append(b, sealed...)
		return err
	})
	return b
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

// carried is its keys for another process (wire.ExportTLS). It leaves nothing here that could seal or open: see back.
func (s *secured) carried() (keys []byte, err error) {
	err = s.in(func(shard *wire.Shard) (err error) {
		if keys, err = shard.ExportTLS(s.id); err != nil {
			return err
		}
		s.exported = append([]byte(nil), keys...)
		shard.FreeTLS(s.id)
		s.id = 0
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("carry TLS: %w", err)
	}
	return keys, nil
}

// copied is its keys for a process that may come when this one is no more (wire.CopyTLS).
func (s *secured) copied() (keys []byte, err error) {
	err = s.in(func(shard *wire.Shard) (err error) {
		keys, err = shard.CopyTLS(s.id)
		return err
	})
	return keys, err
}

// back goes on with what was carried and nobody has taken.
func (s *secured) back() error {
	return s.room.do(func(shard *wire.Shard) (err error) {
		if s.exported != nil {
			s.id, err = shard.ImportTLS(s.exported) // which zeroes it
			s.exported = nil
		}
		return err
	})
}

// resume is a connection inside TLS that another process has carried.
func (r *records) resume(c net.Conn, keys []byte) (*secured, error) {
	s := &secured{Conn: c, room: r}
	err := r.do(func(shard *wire.Shard) (err error) {
		s.id, err = shard.ImportTLS(keys)
		return err
	})
	return s, err
}
