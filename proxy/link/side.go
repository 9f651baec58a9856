package link

import (
	"bytes"
	"io"
	"net"
	"sync"
	"syscall"

	"github.com/ircferry/ircferry/proxy/wire"
)

const (
	// maxLine is as long as a line may be: InspIRCd's own are a few kilobytes, services' burst lines likewise. Who says more speaks another protocol.
	maxLine = 64 << 10
	// maxWaiting is how much may wait to be written before the other side is read no more.
	maxWaiting = 256 << 10
)

// side is a stream, the TLS in it, and what of it has not been worked off: half a line, or what stands behind a line at which the loop has stopped.
type side struct {
	stream
	tls    *secured // nil: plaintext
	who    intro
	buf    []byte
	out    []byte // what this turn of the loop has for it
	last   bool   // TLS has come to its end: behind buf there is nothing
	ended  bool   // nothing more comes
	broken error  // why TLS cannot go on
}

// newSide owns c from here on. It stands until goOn.
func newSide(c net.Conn, running *sync.WaitGroup) *side {
	s := &side{}
	if t, ok := c.(*secured); ok {
		s.tls, c = t, t.Conn
	}
	s.stream = standing(c, running)
	return s
}

// take adds what has come, and reports whether more can.
func (s *side) take(b []byte) bool {
	if s.tls == nil {
		s.buf = append(s.buf, b...)
		return true
	}
	plain, answer, err := s.tls.open(b)
	s.buf = append(s.buf, plain...)
	if len(answer) > 0 {
		s.send(answer)
	}
	if err != nil && err != io.EOF {
		s.broken = err
	}
	return err == nil
}

// over notes that nothing more comes.
func (s *side) over() {
	if s.ended = true; s.tls != nil && s.broken == nil && s.stream.err() == nil && s.tls.truncated() {
		s.broken = wire.ErrTruncated
	}
}

// err says why nothing more comes; nil: the other end has ended its side.
func (s *side) err() error {
	if s.broken != nil {
		return s.broken
	}
	return s.stream.err()
}

// line takes the next whole line, with its end; it is valid until take. ok is false if there is none yet.
func (s *side) line() (l []byte, ok bool) {
	i := bytes.IndexByte(s.buf, '\n')
	if i < 0 {
		return nil, false
	}
	l, s.buf = s.buf[:i+1:i+1], s.buf[i+1:]
	if len(s.buf) == 0 {
		s.buf = nil
	}
	return l, true
}

// tooLong reports whether the next line is longer than any may be.
func (s *side) tooLong() bool {
	i := bytes.IndexByte(s.buf[:min(len(s.buf), maxLine+1)], '\n')
	return i < 0 && len(s.buf) > maxLine
}

// full reports whether it has enough to write for now.
func (s *side) full() bool { return s.waiting() > maxWaiting }

// pass puts a line behind what this turn has for it.
func (s *side) pass(line []byte) { s.out = append(s.out, line...) }

// flush sends what the turn has gathered.
func (s *side) flush() {
	if len(s.out) > 0 {
		s.sendAll(s.out)
		s.out = s.out[:0]
	}
	if cap(s.out) > maxWaiting {
		s.out = nil
	}
}

func (s *side) sendAll(b []byte) {
	if s.tls == nil {
		s.send(b)
		return
	}
	sealed, err := s.tls.seal(b)
	s.send(sealed)
	if err != nil && s.broken == nil {
		s.broken = err // it is closed, or we have said an alert: the end comes by received
	}
}

// finish ends our side behind what was passed; see stream.
func (s *side) finish() {
	if s.tls != nil {
		s.send(s.tls.bye())
		s.tls.forget()
	}
	s.stream.finish()
}

func (s *side) close() {
	if s.tls != nil {
		s.tls.forget()
	}
	s.stream.close()
}

func (s *side) leave() {
	if s.tls != nil {
		s.tls.forget()
	}
	s.stream.leave()
}

// goOn lets it go on as if nothing had been.
func (s *side) goOn() {
	if s.tls != nil {
		if err := s.tls.back(); err != nil {
			s.broken = err
		}
	}
	s.stream.goOn()
}

// described is what the loop knows of it.
func (s *side) described() sideState {
	st := sideState{Who: s.who.carried(), Half: s.buf, Ended: s.ended}
	if s.broken != nil {
		st.Broken = s.broken.Error()
	}
	return st
}

// carried is the side for another process, and its socket, which stays the side's.
func (s *side) carried() (st sideState, socket syscall.Conn, err error) {
	st = s.described()
	if s.tls != nil {
		if st.TLS, err = s.tls.carried(); err != nil {
			return st, nil, err
		}
	}
	st.Stream, socket, err = s.stream.carried()
	return st, socket, err
}
