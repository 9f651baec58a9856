package link

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"
)

// How a stream stands still for another process: between two bytes nothing of it is anywhere but here and in the kernel.

// streamState is a stream for another process. It holds what was said, and with TLS its keys: it belongs in no file and no log.
type streamState struct {
	Unread []byte        `json:"unread,omitempty"` // has come and nobody has received it
	Unsent []byte        `json:"unsent,omitempty"` // waits to be written
	Ended  bool          `json:"ended,omitempty"`  // nothing more comes
	Why    string        `json:"why,omitempty"`    // it has ended so; "": by the other end's FIN
	TLS    *securedState `json:"tls,omitempty"`
}

func (s *conn) stand() {
	close(s.halt)
	s.Conn.SetDeadline(time.Unix(1, 0)) // whoever waits for the kernel stops
	s.working.Wait()
}

func (s *conn) goOn() {
	if t, ok := s.Conn.(*secured); ok {
		if err := t.back(); err != nil {
			s.fail(err)
		}
	}
	s.Conn.SetDeadline(time.Time{})
	s.start()
	signal(s.wake)
}

func (s *conn) carried() (st streamState, socket syscall.Conn, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st = streamState{Unread: s.unread, Ended: s.ended, Unsent: append(append([]byte(nil), s.writing...), s.out...)}
	if s.why != nil {
		st.Why = s.why.Error()
	}
	c := s.Conn
	if t, ok := c.(*secured); ok {
		if st.TLS, err = t.carried(); err != nil {
			return st, nil, err
		}
		c = t.Conn
	}
	socket, ok := c.(syscall.Conn)
	if !ok {
		return st, nil, fmt.Errorf("a connection of %T has no socket", c)
	}
	return st, socket, nil
}

func (s *conn) leave() {
	s.mu.Lock()
	s.finished = true
	close(s.over)
	s.mu.Unlock()
	if t, ok := s.Conn.(*secured); ok {
		t.forget()
	}
	underlying(s.Conn).Close()
}

// resumed is a stream that another process has carried. It stands until goOn.
func resumed(c net.Conn, st streamState, r *records, running *sync.WaitGroup) (*conn, error) {
	if st.TLS != nil {
		t, err := r.resume(c, *st.TLS)
		if err != nil {
			return nil, err
		}
		c = t
	}
	s := standing(c, running)
	s.unread, s.out, s.ended = st.Unread, st.Unsent, st.Ended
	if st.Why != "" {
		s.why = errors.New(st.Why)
	}
	if s.ended {
		close(s.in)
	}
	return s, nil
}
