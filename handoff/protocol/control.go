package protocol

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"
)

// Control is the coordinator's end of a control connection. One goroutine at a time may ask; Close may be called from any.
//
// Each question ends at once when its context does. Then, and after every failure of the connection, the Control is broken:
// further questions fail with ErrBroken, and the ircd learns by Close. An ERROR line of the ircd (an *Error) breaks nothing.
type Control struct {
	conn    net.Conn
	in      *lineReader
	out     *bufio.Writer
	broken  atomic.Bool
	last    string // verb of the last answer
	proven  bool   // both ends have shown that they know the pass
	maxLine int    // what the ircd takes, from its HELLO
	bounds  bounds // what it may send
	sent    Tally  // records since Import
	scratch []byte
}

// Dialer opens control connections. The zero value dials unix sockets, and TCP in plaintext to loopback addresses only.
type Dialer struct {
	TLS *tls.Config // for tcp: with it the connection is TLS, and mutual if it has a certificate
}

// Dial opens a control connection with the zero Dialer. address is "unix:/path" or "tcp:host:port". HELLO is still to be said.
func Dial(ctx context.Context, address string) (*Control, error) {
	return Dialer{}.Dial(ctx, address)
}

// Dial opens a control connection; see the function Dial.
func (d Dialer) Dial(ctx context.Context, address string) (*Control, error) {
	network, addr, ok := strings.Cut(address, ":")
	if !ok || (network != "unix" && network != "tcp") || addr == "" {
		return nil, fmt.Errorf("dial handoff %q: want unix:/path or tcp:host:port", address)
	}
	var nd net.Dialer
	conn, err := nd.DialContext(ctx, network, addr)
	if err != nil {
		return nil, fmt.Errorf("dial handoff %s: %w", address, bare(err))
	}
	if network == "tcp" {
		if conn, err = d.secure(ctx, conn, addr); err != nil {
			return nil, fmt.Errorf("dial handoff %s: %w", address, err)
		}
	}
	return NewControl(conn), nil
}

// bare is an error of a dial without the address, which stands before it.
func bare(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return op.Err
	}
	return err
}

// secure puts TLS over a TCP connection, or lets plaintext pass on loopback. It owns conn if it fails.
func (d Dialer) secure(ctx context.Context, conn net.Conn, addr string) (net.Conn, error) {
	if d.TLS == nil {
		if a, ok := conn.RemoteAddr().(*net.TCPAddr); ok && a.IP.IsLoopback() {
			return conn, nil
		}
		conn.Close()
		return nil, errors.New("plaintext control is for loopback addresses only")
	}
	cfg := d.TLS.Clone()
	if cfg.ServerName == "" {
		cfg.ServerName, _, _ = net.SplitHostPort(addr)
	}
	tc := tls.Client(conn, cfg)
	if err := tc.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return tc, nil
}

// NewControl makes a Control of a connection, which it owns.
func NewControl(conn net.Conn) *Control {
	return &Control{conn: conn, in: newLineReader(conn), out: bufio.NewWriterSize(conn, MaxLine), maxLine: MaxLine,
		bounds: bounds{records: MaxRecords, notes: maxNotes}}
}

// Close ends the connection. A source that is frozen by it resumes.
func (c *Control) Close() error {
	c.broken.Store(true)
	return c.conn.Close()
}

// Broken reports whether the Control can only be closed.
func (c *Control) Broken() bool { return c.broken.Load() }

// Hello says who we are and returns what the ircd is. It may be asked again at any time but between Export and its end, for fresh
// counts. Another major version is an Error with CodeVersion.
func (c *Control) Hello(ctx context.Context, h Hello) (Hello, error) {
	h.V, h.Role = Version, "coordinator"
	if c.proven {
		h.Pass = ""
	}
	m, err := c.ask(ctx, h.Message(), "HELLO", "")
	if err != nil {
		return Hello{}, err
	}
	return c.heard(ctx, m)
}

// heard takes the ircd's HELLO.
func (c *Control) heard(ctx context.Context, m Message) (Hello, error) {
	if c.broken.Load() { // answered as the time was over: whoever goes on with this connection would fail at its next question
		return Hello{}, fmt.Errorf("HELLO: %w (%w)", context.Cause(ctx), ErrBroken)
	}
	peer, err := HelloOf(m)
	if err != nil {
		return Hello{}, c.breakWith(err)
	}
	if peer.Major() != Version {
		return Hello{}, c.breakWith(&Error{Code: CodeVersion, Text: "the ircd speaks another major version"})
	}
	if c.maxLine = MaxLine; peer.MaxLine > 0 && peer.MaxLine < MaxLine {
		c.maxLine = peer.MaxLine
	}
	return peer, nil
}

// Ping asks for a sign of life.
func (c *Control) Ping(ctx context.Context) error {
	t := fmt.Sprint(time.Now().UnixNano())
	m, err := c.ask(ctx, NewMessage("PING", "t", t), "PONG", "")
	if err == nil && m.Get("t") != t {
		return c.breakWith(errors.New("PONG of another PING"))
	}
	return err
}

// Find returns the stream id of the user who has the nick, in the ircd's casemapping; ErrNotFound if nobody has or the user did not
// come in by a stream.
func (c *Control) Find(ctx context.Context, nick string) (u string, err error) {
	m, err := c.ask(ctx, NewMessage("FIND", "nick", nick), "FOUND", "")
	if err != nil {
		return "", err
	}
	return m.Get("u"), nil
}

// Status asks where a transaction is.
func (c *Control) Status(ctx context.Context, tx string) (Status, error) {
	m, err := c.ask(ctx, NewMessage("STATUS", "tx", tx), "STATUS", tx)
	if err != nil {
		return Status{}, err
	}
	return Status{Source: SourceState(m.Get("source")), Dest: DestState(m.Get("dest"))}, nil
}

// ask sends one message and reads its one answer, which must have the verb want and, if tx is not empty, that tx.
func (c *Control) ask(ctx context.Context, m Message, want, tx string) (answer Message, err error) {
	err = c.during(ctx, m.Verb, func() error {
		if err := c.send(m); err != nil {
			return err
		}
		if err := c.out.Flush(); err != nil {
			return err
		}
		answer, err = c.read(want, tx)
		return err
	})
	return answer, err
}

// during runs f with the connection's deadline tied to ctx. Errors of the connection break the Control; an *Error that came as an
// ERROR line does not.
func (c *Control) during(ctx context.Context, verb string, f func() error) error {
	if c.broken.Load() {
		return fmt.Errorf("%s: %w", verb, ErrBroken)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", verb, err) // nothing was sent: nothing is broken
	}
	stop := context.AfterFunc(ctx, func() { c.conn.SetDeadline(time.Unix(1, 0)) })
	err := f()
	if !stop() {
		// The deadline was or will be set; it would also end the next question.
		c.broken.Store(true)
		if err != nil {
			return fmt.Errorf("%s: %w (%w)", verb, context.Cause(ctx), ErrBroken)
		}
	}
	var fault *Error
	if err == nil || errors.As(err, &fault) || errors.Is(err, ErrBroken) {
		return err
	}
	return fmt.Errorf("%s: %w", verb, c.breakWith(err))
}

// breakWith marks the Control broken and says so in the error.
func (c *Control) breakWith(err error) error {
	c.broken.Store(true)
	return fmt.Errorf("%w: %w", ErrBroken, err)
}

// send buffers one message that is no record.
func (c *Control) send(m Message) error {
	if err := m.Check(); err != nil {
		return err
	}
	c.scratch = m.Append(c.scratch[:0])
	if len(c.scratch) > c.maxLine {
		return errLineLong
	}
	_, err := c.out.Write(c.scratch)
	return err
}

// read reads the answer to a question that has exactly one.
func (c *Control) read(want, tx string) (Message, error) {
	m, _, err := c.in.next()
	if err != nil {
		return Message{}, c.readFailed(err)
	}
	return m, c.expect(m, want, tx)
}

// expect returns the error of an ERROR line, and refuses any other verb or transaction.
func (c *Control) expect(m Message, want, tx string) error {
	c.last = m.Verb
	switch {
	case m.Verb == "ERROR":
		return ErrorOf(m)
	case m.Verb != want:
		return c.breakWith(fmt.Errorf("answered with %s, not %s", m.Verb, want))
	case tx != "" && m.Get("tx") != tx:
		return c.breakWith(fmt.Errorf("%s of another transaction", want))
	}
	return nil
}

// readFailed breaks the Control: also after a line that is no line, nobody knows what the next one answers.
func (c *Control) readFailed(err error) error { return c.breakWith(err) }
