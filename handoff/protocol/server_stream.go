package protocol

import (
	"bytes"
	"io"
	"net"
	"time"
)

// ServeStream answers a stream's first line and gives the stream to the ircd; it owns conn until then. It returns when the ircd's serve
// has, or for ATTACH at once.
func (s *Server) ServeStream(conn net.Conn) {
	conn.SetDeadline(time.Now().Add(firstLineTime))
	m, rest, err := readFirstLine(conn)
	if err == nil {
		pass, end := s.intercept(Received, &m)
		if end || !pass {
			s.drop(conn)
			return
		}
		err = s.first(m, conn, rest)
	}
	if err != nil {
		s.refuse(conn, err)
	}
}

func (s *Server) first(m Message, conn net.Conn, rest []byte) error {
	switch m.Verb {
	case VerbOpen:
		return s.open(m, conn, rest)
	case VerbAttach:
		return s.attach(m, conn, rest)
	}
	if m.Verb == "HELLO" || controlVerbs[m.Verb] != nil || IsRecord(m.Verb) {
		return &Error{Code: CodeWrongConnection, Text: m.Verb + " belongs on control"}
	}
	return &Error{Code: CodeUnknownVerb, Text: "a stream begins with OPEN or ATTACH"}
}

func (s *Server) open(m Message, conn net.Conn, rest []byte) error {
	// First: who knows no secret hears nothing of what else is wrong.
	if err := (Open{SKey: m.Get("k"), Nonce: m.Get("nonce"), Proof: m.Get("proof"), U: m.Get("u")}).proven(s.skey); err != nil {
		return err
	}
	o, err := OpenOf(m)
	if err != nil {
		return err
	}
	serve, err := s.ircd.Open(o)
	if err != nil {
		return err
	}
	s.answerStream(conn, withProof(NewMessage(VerbOpened, "u", o.U), o.Proof, s.skey, VerbOpened, o.Nonce, o.U)) // an error shows at the ircd's first read
	conn.SetDeadline(time.Time{})
	s.untrack(conn)
	serve(conn, rest)
	return nil
}

func (s *Server) attach(m Message, conn net.Conn, rest []byte) error {
	a, err := AttachOf(m)
	if a.Proof == "" {
		if denied := knows(m.Get("k"), s.skey, "k"); denied != nil {
			return denied
		}
	}
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return &Error{Code: CodeBadLine, U: a.U, Text: "bytes before LIVE"}
	}
	conn.SetDeadline(time.Time{}) // before others may see it: alive reads without one
	held, tok, err := s.dst.attach(s, a, conn)
	if err != nil {
		return err
	}
	if !s.answerStream(held, withProof(NewMessage(VerbAttached, "u", a.U), a.Proof, s.skey, VerbAttached, a.Nonce, a.U, a.Tx, tok)) {
		s.drop(held) // COMMIT finds it dead
	}
	return nil
}

// withProof adds our proof to an answer if the coordinator has proven itself.
func withProof(m Message, asked, key string, words ...string) Message {
	if asked != "" {
		m.Set("proof", proofOf(key, words...))
	}
	return m
}

// attach notes the stream and answers it as it is held until COMMIT, with the transaction's tok.
func (d *dest) attach(s *Server, a Attach, conn net.Conn) (held net.Conn, tok string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.openLocked(s, a.Tx); err != nil {
		return nil, "", err
	}
	if err := a.proven(s.skey, d.tok); err != nil {
		return nil, "", err
	}
	held, err = d.attachLocked(s, a, conn)
	return held, d.tok, err
}

func (d *dest) attachLocked(s *Server, a Attach, conn net.Conn) (net.Conn, error) {
	if old := d.streams[a.U]; old != nil {
		if alive(old) {
			return nil, &Error{Code: CodeAttached, Tx: a.Tx, U: a.U, Text: "a second ATTACH"}
		}
		s.drop(old) // lost on the way; the coordinator tries again
		delete(d.streams, a.U)
	}
	if len(d.streams) >= s.cfg.MaxUsers {
		return nil, &Error{Code: CodeLimit, Tx: a.Tx, U: a.U, Text: "over maxusers"}
	}
	if h, ok := s.ircd.(Holder); ok {
		held, err := h.Hold(conn)
		if err != nil {
			return nil, err
		}
		s.untrack(conn) // dst.stop closes what is held
		conn = held
	}
	d.streams[a.U] = conn
	return conn, nil
}

// answerStream writes the one line that a stream's first line is answered with; false if it could not.
func (s *Server) answerStream(conn net.Conn, m Message) bool {
	pass, end := s.intercept(Sending, &m)
	if end {
		conn.Close()
		return false
	}
	if !pass {
		return true
	}
	conn.SetWriteDeadline(time.Now().Add(firstLineTime))
	defer conn.SetWriteDeadline(time.Time{})
	_, err := conn.Write(m.Append(nil))
	return err == nil
}

// refuse answers with ERROR and closes; what is still to come of the input is read for a moment, because a close with unread bytes
// resets the connection and takes our line with it.
func (s *Server) refuse(conn net.Conn, err error) {
	defer s.drop(conn)
	if _, ok := err.(*Error); !ok {
		if isIO(err) {
			return // nobody spoke, or nobody is there
		}
	}
	if !s.answerStream(conn, asError(err).Message()) {
		return
	}
	if half, ok := conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		conn.SetReadDeadline(time.Now().Add(time.Second))
		io.CopyN(io.Discard, conn, MaxLine)
	}
}

// drop closes a stream that is nobody's.
func (s *Server) drop(conn net.Conn) {
	s.untrack(conn)
	conn.Close()
}

// readFirstLine reads up to the first LF, and returns what came behind it.
func readFirstLine(conn net.Conn) (m Message, rest []byte, err error) {
	buf := make([]byte, MaxFirstLine)
	for n := 0; ; {
		k, err := conn.Read(buf[n:])
		if i := bytes.IndexByte(buf[n:n+k], '\n'); i >= 0 {
			m, err := Parse(buf[:n+i])
			return m, buf[n+i+1 : n+k], err
		}
		if n += k; n == len(buf) {
			return Message{}, nil, errLineLong
		}
		if err != nil {
			return Message{}, nil, &connError{err}
		}
	}
}

// connError is a failure of the connection itself: there is nobody to tell it.
type connError struct{ error }

func isIO(err error) bool {
	_, ok := err.(*connError)
	return ok
}
