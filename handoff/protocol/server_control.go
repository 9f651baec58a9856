package protocol

import (
	"bufio"
	"errors"
	"net"
	"strconv"
	"time"
)

// maxSelect bounds the SELECT lines before an EXPORT: the largest ircd's users and room.
const maxSelect = 1_000_000

// controlConn is one control connection at the ircd. Its fields belong to the goroutine that serves it.
type controlConn struct {
	s       *Server
	conn    net.Conn
	in      *lineReader
	out     *bufio.Writer
	scratch []byte

	greeted     bool
	challenged  [2]string // the coordinator's nonce and ours since CHALLENGE
	coordinator string    // its HELLO name

	sel      []Selection // since the last EXPORT
	selSeen  map[string]struct{}
	links    []LinkSelection
	selFault *Error // the first wrong SELECT; EXPORT answers with it
}

// controlVerbs are the verbs of a coordinator after HELLO. A handler's error is answered with an ERROR line; errEnd ends the
// connection.
var controlVerbs = map[string]func(*controlConn, Message) error{
	"PING":    (*controlConn).ping,
	"FIND":    (*controlConn).find,
	"STATUS":  (*controlConn).status,
	"SELECT":  (*controlConn).selectUser,
	"EXPORT":  (*controlConn).export,
	"RELEASE": (*controlConn).release,
	"RESUME":  (*controlConn).resume,
	"IMPORT":  (*controlConn).importTx,
	"GREET":   (*controlConn).greet,
	"PREPARE": (*controlConn).prepare,
	"COMMIT":  (*controlConn).commit,
	"ABORT":   (*controlConn).abort,
}

var errEnd = errors.New("connection ends")

// ServeControl serves one control connection to its end, and owns it. A world that it froze resumes then.
func (s *Server) ServeControl(conn net.Conn) {
	c := &controlConn{s: s, conn: conn, in: newLineReader(conn), out: bufio.NewWriterSize(conn, MaxLine)}
	defer s.untrack(conn)
	defer conn.Close()
	defer s.src.leave(s, c)
	conn.SetReadDeadline(time.Now().Add(firstLineTime))
	for c.turn() == nil {
		if c.flush() != nil { // SELECTs and records have no answer: then there is nothing to flush
			return
		}
	}
	c.flush()
}

// turn reads one line and carries it out.
func (c *controlConn) turn() error {
	m, raw, err := c.in.next()
	if err != nil {
		var fault *Error
		if errors.As(err, &fault) {
			c.send(fault.Message()) // after a line that is none, nobody knows what the next one belongs to
		}
		return errEnd
	}
	pass, end := c.s.intercept(Received, &m)
	if end {
		return errEnd
	}
	if !pass {
		return nil
	}
	if c.greeted && IsRecord(m.Verb) {
		c.s.dst.record(c, m, raw)
		return nil
	}
	if err := c.carryOut(m); err != nil {
		if errors.Is(err, errEnd) {
			return err
		}
		fault := *asError(err)
		if fault.Tx == "" && ValidTx(m.Get("tx")) {
			fault.Tx = m.Get("tx")
		}
		return c.send(fault.Message())
	}
	return nil
}

func (c *controlConn) carryOut(m Message) error {
	switch {
	case m.Verb == "HELLO":
		return c.hello(m)
	case !c.greeted:
		c.send((&Error{Code: CodeHelloFirst, Text: "control begins with HELLO"}).Message())
		return errEnd
	case m.Verb == VerbOpen || m.Verb == VerbAttach:
		return &Error{Code: CodeWrongConnection, Text: m.Verb + " belongs on a stream"}
	}
	handle := controlVerbs[m.Verb]
	if handle == nil {
		return &Error{Code: CodeUnknownVerb, Text: m.Verb}
	}
	return handle(c, m)
}

func (c *controlConn) hello(m Message) error {
	h, err := HelloOf(m)
	switch {
	case err != nil:
	case h.Major() != Version:
		err = &Error{Code: CodeVersion, Text: "this ircd speaks HANDOFF/" + Version}
	case c.challenges(m):
		return c.challenge(m)
	case !c.knowsPass(m, h):
		err = &Error{Code: CodeDenied, Text: "wrong pass or proof"}
	case h.Role != "coordinator":
		err = &Error{Code: CodeBadValue, Text: "HELLO role: not coordinator"}
	case c.s.src.ownedBy(c):
		return &Error{Code: CodeBusy, Text: "an export of this connection is open"} // its counts would wait for the world
	}
	if err != nil {
		c.send(asError(err).Message())
		return errEnd
	}
	c.greeted, c.coordinator = true, h.Name
	c.conn.SetReadDeadline(time.Time{})
	return c.send(c.s.hello(c.coordinator).Message())
}

// challenges reports whether a HELLO asks us to prove that we know pass, before its sender does.
func (c *controlConn) challenges(m Message) bool {
	return c.s.cfg.Pass != "" && !c.greeted && m.Has("nonce") && !m.Has("pass") && !m.Has("proof")
}

func (c *controlConn) challenge(m Message) error {
	theirs, ours := m.Get("nonce"), NewSecret()
	if !ValidTx(theirs) {
		c.send((&Error{Code: CodeBadValue, Text: "HELLO nonce: not 32 lower-case hex digits"}).Message())
		return errEnd
	}
	c.challenged = [2]string{theirs, ours}
	return c.send(NewMessage("CHALLENGE", "nonce", ours, "proof", proofOf(c.s.cfg.Pass, "CHALLENGE", theirs, ours)))
}

// knowsPass checks what a HELLO says to show that its sender knows pass. It is asked for once on a connection.
func (c *controlConn) knowsPass(m Message, h Hello) bool {
	nonces := c.challenged
	c.challenged = [2]string{}
	switch {
	case c.s.cfg.Pass == "" || c.greeted && !m.Has("pass") && !m.Has("proof"):
		return true
	case m.Has("proof"):
		return nonces[0] != "" && m.Get("nonce") == nonces[0] && proves(m.Get("proof"), c.s.cfg.Pass, "HELLO", nonces[0], nonces[1], h.Name)
	}
	return EqualSecret(h.Pass, c.s.cfg.Pass)
}

func (c *controlConn) ping(m Message) error {
	return c.send(NewMessage("PONG", "t", m.Get("t")))
}

func (c *controlConn) find(m Message) error {
	u, nick, ok := c.s.ircd.Find(m.Get("nick"))
	if !ok || u == "" {
		return &Error{Code: CodeNotFound, Text: "nobody of a stream has the nick"}
	}
	return c.send(NewMessage("FOUND", "u", u, "nick", nick))
}

func (c *controlConn) status(m Message) error {
	tx, err := txOf(m)
	if err != nil {
		return err
	}
	e := c.s.table.get(tx)
	return c.send(NewMessage("STATUS", "tx", tx, "source", string(e.source), "dest", string(e.dest)))
}

func (c *controlConn) selectUser(m Message) error {
	if c.selFault != nil {
		return nil
	}
	if m.Has("link") {
		c.selectLink(m)
		return nil
	}
	u := m.Get("u")
	in, err := m.Uint("in")
	_, twice := c.selSeen[u]
	switch {
	case err != nil || !ValidU(u):
		c.selFault = &Error{Code: CodeBadValue, Text: "SELECT: u or in make no sense"}
	case twice:
		c.selFault = &Error{Code: CodeBadValue, U: u, Text: "SELECT: the same u twice"}
	case len(c.sel) == maxSelect:
		c.selFault = &Error{Code: CodeLimit, Text: "too many SELECT"}
	default:
		if c.selSeen == nil {
			c.selSeen = make(map[string]struct{})
		}
		c.selSeen[u] = struct{}{}
		c.sel = append(c.sel, Selection{U: u, In: in})
	}
	return nil
}

// takeSelection returns what was selected and begins anew.
func (c *controlConn) takeSelection() ([]Selection, *Error) {
	sel, fault := c.sel, c.selFault
	c.sel, c.selSeen, c.selFault = nil, nil, nil
	return sel, fault
}

// send buffers a line that is no record.
func (c *controlConn) send(m Message) error {
	if c.s.cfg.Intercept != nil {
		m = m.Clone()
		if pass, end := c.s.intercept(Sending, &m); end {
			c.conn.Close()
			return errEnd
		} else if !pass {
			return nil
		}
	}
	c.scratch = m.Append(c.scratch[:0])
	return c.write(c.scratch)
}

// write buffers bytes. What the buffer cannot take is written within writeTime, or within a deadline that an export has set.
func (c *controlConn) write(b []byte) error {
	if len(b) > c.out.Available() && c.s.src.conn() != c {
		c.conn.SetWriteDeadline(time.Now().Add(writeTime))
	}
	if _, err := c.out.Write(b); err != nil {
		return errEnd
	}
	return nil
}

func (c *controlConn) flush() error {
	if c.out.Buffered() > 0 {
		c.conn.SetWriteDeadline(time.Now().Add(writeTime))
	}
	if err := c.out.Flush(); err != nil {
		return errEnd
	}
	return nil
}

// txOf is the tx of a verb.
func txOf(m Message) (string, error) {
	tx := m.Get("tx")
	if !ValidTx(tx) {
		return "", &Error{Code: CodeBadValue, Text: m.Verb + " tx: not 32 lower-case hex digits"}
	}
	return tx, nil
}

func answer(verb, tx string, pairs ...string) Message {
	return NewMessage(verb, append([]string{"tx", tx}, pairs...)...)
}

func itoa(n int) string { return strconv.Itoa(n) }
