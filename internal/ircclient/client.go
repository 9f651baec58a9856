// Package ircclient is an IRC client for tests, benchmarks and the demo. It reads on its own, so that nothing of what the
// server says is missed or waits; a dialogue is written as Send, Expect and Fence. Oracle checks numbered messages among many
// clients: every one once, in order, and no line that nobody asked for.
package ircclient

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// Patience is how long Expect, Await and Fence wait.
const Patience = 30 * time.Second

// Line is one line as it came, without its end.
type Line struct {
	At   time.Time
	Text string
}

// Options say what is special about a client. The zero value is an ordinary one.
type Options struct {
	Source  netip.Addr      // the address to come from; zero: the kernel's choice
	Before  string          // bytes before all else, e.g. a PROXY header
	Handler func(Line)      // gets every line but PING, in the reader's goroutine, from the first one on; nil: lines are queued
	Closed  func(err error) // is told, once, why no more lines come
	ReadBuf int             // the socket's receive buffer in bytes, for slow readers; 0: the kernel's choice
	TLS     *tls.Config     // nil: plaintext
}

// Client is one connection. All methods may be called from any goroutine.
type Client struct {
	Nick string // set by Register

	tcp  *net.TCPConn
	conn net.Conn // tcp, or TLS over it
	opts Options

	writing sync.Mutex

	gate   sync.Mutex
	change *sync.Cond // of paused and closed, under gate
	paused bool
	closed bool

	mu      sync.Mutex
	handler func(Line)
	lines   []Line
	err     error         // why reading ended
	news    chan struct{} // has one entry if lines or err changed
	fences  int
	waiting map[string]chan struct{} // fences of a client with a handler
	pings   int
	done    chan struct{} // closed when the reader has ended
}

// Dial connects to host:port and begins to read. Close ends it.
func Dial(ctx context.Context, addr string, opts Options) (*Client, error) {
	d := net.Dialer{}
	if opts.Source.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(opts.Source, 0))
	}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if opts.ReadBuf > 0 {
		conn.(*net.TCPConn).SetReadBuffer(opts.ReadBuf)
	}
	c := &Client{tcp: conn.(*net.TCPConn), conn: conn, opts: opts, handler: opts.Handler, news: make(chan struct{}, 1), done: make(chan struct{})}
	c.change = sync.NewCond(&c.gate)
	if opts.Before != "" {
		if _, err := conn.Write([]byte(opts.Before)); err != nil {
			conn.Close()
			return nil, err
		}
	}
	if opts.TLS != nil {
		secure := tls.Client(conn, opts.TLS)
		if err := secure.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, fmt.Errorf("TLS handshake with %s: %w", addr, err)
		}
		c.conn = secure
	}
	go c.read()
	return c, nil
}

// Close closes the connection and waits for the reader.
func (c *Client) Close() error {
	err := c.conn.Close()
	c.setGate(func() { c.closed = true })
	<-c.done
	return err
}

// CloseWrite sends close_notify, with TLS, and FIN; reading goes on.
func (c *Client) CloseWrite() error {
	if secure, ok := c.conn.(*tls.Conn); ok {
		if err := secure.CloseWrite(); err != nil {
			return err
		}
	}
	return c.tcp.CloseWrite()
}

// Reset closes with a reset (RST).
func (c *Client) Reset() error {
	c.tcp.SetLinger(0)
	err := c.tcp.Close()
	c.setGate(func() { c.closed = true })
	<-c.done
	return err
}

// LocalAddr is the client's end of the connection.
func (c *Client) LocalAddr() netip.AddrPort { return c.conn.LocalAddr().(*net.TCPAddr).AddrPort() }

// Pause stops reading after what is being read now, and answers how to go on.
func (c *Client) Pause() (resume func()) {
	c.setGate(func() { c.paused = true })
	return func() { c.setGate(func() { c.paused = false }) }
}

func (c *Client) setGate(f func()) {
	c.gate.Lock()
	defer c.gate.Unlock()
	f()
	c.change.Broadcast()
}

// read is the goroutine of a client.
func (c *Client) read() {
	defer close(c.done)
	r := bufio.NewReaderSize(gatedReader{c}, 2048)
	for {
		text, err := r.ReadString('\n')
		if err != nil {
			c.end(err)
			return
		}
		text = strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
		c.got(Line{time.Now(), text})
	}
}

// gatedReader reads while Pause is not in force.
type gatedReader struct{ c *Client }

func (g gatedReader) Read(b []byte) (int, error) {
	g.c.gate.Lock()
	for g.c.paused && !g.c.closed {
		g.c.change.Wait()
	}
	g.c.gate.Unlock()
	return g.c.conn.Read(b)
}

func (c *Client) got(l Line) {
	switch l.Command() {
	case "PING":
		c.mu.Lock()
		c.pings++
		c.mu.Unlock()
		c.Send("PONG :" + l.Param(0))
		return
	case "PONG":
		if c.passed(l) {
			return
		}
	}
	c.mu.Lock()
	handler := c.handler
	if handler == nil {
		c.lines = append(c.lines, l)
	}
	c.mu.Unlock()
	if handler != nil {
		handler(l)
		return
	}
	c.wake()
}

// passed ends the fence of a client with a handler.
func (c *Client) passed(l Line) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	token := l.Param(1)
	waits, ok := c.waiting[token]
	if ok {
		close(waits)
		delete(c.waiting, token)
	}
	return ok
}

func (c *Client) end(err error) {
	c.mu.Lock()
	c.err = err
	c.mu.Unlock()
	c.wake()
	if c.opts.Closed != nil {
		c.opts.Closed(err)
	}
}

func (c *Client) wake() {
	select {
	case c.news <- struct{}{}:
	default:
	}
}

// Handle gives all further lines, and those still queued, to f; nil queues them again. f runs in the reader's goroutine, except
// for the queued lines.
func (c *Client) Handle(f func(Line)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f != nil {
		for _, l := range c.lines {
			f(l)
		}
		c.lines = nil
	}
	c.handler = f
}

// Send writes one line.
func (c *Client) Send(line string) error { return c.Write([]byte(line + "\r\n")) }

// Sendf writes one formatted line.
func (c *Client) Sendf(format string, args ...any) error { return c.Send(fmt.Sprintf(format, args...)) }

// Write writes bytes as they are.
func (c *Client) Write(b []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	_, err := c.conn.Write(b)
	return err
}

// Pings answers how many PINGs of the server were answered.
func (c *Client) Pings() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pings
}

// Err answers why reading ended, or nil.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}
