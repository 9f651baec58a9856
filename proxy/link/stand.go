package link

import (
	"errors"
	"fmt"
	"syscall"
	"time"
)

// How a stream stands still for another process: between two bytes nothing of it is anywhere but here and in the kernel.

// streamState is a stream for another process: bytes as they are on the wire.
type streamState struct {
	Unread []byte `json:"unread,omitempty"` // has come and nobody has received it
	Unsent []byte `json:"unsent,omitempty"` // waits to be written
	Ended  bool   `json:"ended,omitempty"`  // nothing more comes
	Why    string `json:"why,omitempty"`    // it has ended so; "": by the other end's FIN
}

func (s *conn) stand() {
	close(s.halt)
	s.Conn.SetDeadline(time.Unix(1, 0)) // whoever waits for the kernel stops
	s.working.Wait()
}

func (s *conn) goOn() {
	s.mu.Lock()
	finished := s.finished
	s.mu.Unlock()
	if !finished {
		s.Conn.SetDeadline(time.Time{})
	}
	s.start()
	signal(s.wake)
}

func (s *conn) carried() (st streamState, socket syscall.Conn, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st = streamState{Unread: append([]byte(nil), s.unread...), Ended: s.ended, Unsent: append(append([]byte(nil), s.writing...), s.out...)}
	if s.why != nil {
		st.Why = s.why.Error()
	}
	socket, ok := s.Conn.(syscall.Conn)
	if !ok {
		return st, nil, fmt.Errorf("a connection of %T has no socket", s.Conn)
	}
	return st, socket, nil
}

func (s *conn) leave() {
	s.mu.Lock()
	if !s.finished {
		s.finished = true
		close(s.over)
	}
	s.mu.Unlock()
	s.Conn.Close()
}

// resume makes a stream that stands what another process has carried.
func (s *conn) resume(st streamState) {
	s.unread = s.buf[:copy(s.buf, st.Unread)]
	s.out, s.ended = st.Unsent, st.Ended
	if st.Why != "" {
		s.why = errors.New(st.Why)
	}
	if s.ended {
		close(s.in)
	}
}

func (s *conn) stage(buf []byte) (unread int, socket syscall.Conn) {
	s.unread = buf[:copy(buf, s.unread)]
	s.buf = buf
	socket, _ = s.Conn.(syscall.Conn)
	return len(s.unread), socket
}

func (s *conn) wrote() uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gone
}

func (s *conn) unsent() (b []byte, wrote uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append(append([]byte(nil), s.writing...), s.out...), s.gone
}

func (s *conn) sentAlready(n uint32) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if uint64(n) > uint64(len(s.out)) {
		return false
	}
	s.out = s.out[n:]
	return true
}

func (s *conn) unreadAlready(b []byte) { s.unread = s.buf[:copy(s.buf, b)] }

func (s *conn) wait() { s.working.Wait() }
