package proxy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/internal/config"
	"github.com/ircferry/ircferry/proxy/wire"
)

// patience bounds every wait of the tests; nothing takes a fraction of it unless it is broken.
const patience = 10 * time.Second

func TestMain(m *testing.M) {
	wire.CheckOwner(true)
	os.Exit(m.Run())
}

// rig is a proxy with one listener and the backends of one pool.
type rig struct {
	*Proxy
	t        testing.TB
	set      *backend.Set
	registry *prometheus.Registry
	logs     *logBuffer
}

type rigOptions struct {
	backends []config.Backend
	listener config.Listener
	loops    int
	maxBytes int64
}

func newRig(t testing.TB, o rigOptions) *rig {
	t.Helper()
	set, err := backend.NewSet(backend.Options{Instance: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(set.Close)
	for i := range o.backends {
		o.backends[i].Weight = 100
	}
	pool := config.Pool{Topology: config.Standalone, Backends: o.backends,
		Check: config.Check{Inter: config.Duration(20 * time.Millisecond), Rise: 1, Fall: 1000, Timeout: config.Duration(time.Second)}}
	if err := set.Apply(map[string]config.Pool{"main": pool}); err != nil {
		t.Fatal(err)
	}
	if o.loops == 0 {
		o.loops = 2
	}
	r := &rig{t: t, set: set, registry: prometheus.NewRegistry(), logs: &logBuffer{}}
	log := slog.New(slog.NewTextHandler(r.logs, nil))
	r.Proxy, err = New(Options{Instance: "test", Loops: o.loops, MaxSessions: 4096, MaxBytes: o.maxBytes, Backends: set, Log: log, Registerer: r.registry})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Proxy.Close(); err != nil {
			t.Error(err)
		}
		for _, w := range r.workers {
			if n := w.loop.Panics(); n > 0 {
				t.Errorf("loop %d panicked %d times:\n%s", w.index, n, r.logs.String())
			}
		}
	})
	l := o.listener
	l.Name, l.Pool = "irc", "main"
	if l.Address == "" {
		l.Address = "127.0.0.1:0"
	}
	if err := r.SetListeners([]config.Listener{l}); err != nil {
		t.Fatal(err)
	}
	return r
}

// relay is a rig with one relay-only backend.
func relay(t testing.TB, l config.Listener) (*rig, *ircd) {
	d := newIRCd(t)
	return newRig(t, rigOptions{backends: []config.Backend{{Name: "a", Address: d.addr(), Identity: config.IdentityNone}}, listener: l}), d
}

func (r *rig) addr() string { return r.Addrs()["irc"][0].String() }

// ended waits for the log line of a session that has ended, and answers its reason.
func (r *rig) ended(reason string) {
	r.t.Helper()
	r.eventually("a session that ends with "+reason, func() bool { return strings.Contains(r.logs.String(), "reason="+reason) })
}

// eventually waits for something that has no event of its own.
func (r *rig) eventually(what string, ok func() bool) {
	r.t.Helper()
	for end := time.Now().Add(patience); !ok(); {
		if time.Now().After(end) {
			r.t.Fatalf("no %s; log:\n%s", what, r.logs.String())
		}
		time.Sleep(2 * time.Millisecond)
	}
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// ircd is a scripted backend: the test takes its connections and speaks.
type ircd struct {
	t        testing.TB
	l        net.Listener
	accepted chan *net.TCPConn
}

func newIRCd(t testing.TB) *ircd {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &ircd{t: t, l: l, accepted: make(chan *net.TCPConn, 10000)}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			d.accepted <- c.(*net.TCPConn)
		}
	}()
	return d
}

func (d *ircd) addr() string { return d.l.Addr().String() }

// next is the next connection that says something, so a health check is passed over.
func (d *ircd) next() *conn {
	d.t.Helper()
	for {
		select {
		case c := <-d.accepted:
			nc := newConn(d.t, c)
			if _, err := nc.r.Peek(1); err != nil {
				c.Close()
				continue
			}
			return nc
		case <-time.After(patience):
			d.t.Fatal("no connection at the backend")
		}
	}
}

// conn is one end of a connection, as a dialogue.
type conn struct {
	*net.TCPConn
	t testing.TB
	r *bufio.Reader
}

func newConn(t testing.TB, c *net.TCPConn) *conn {
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return &conn{TCPConn: c, t: t, r: bufio.NewReaderSize(c, 64<<10)}
}

func (r *rig) dial() *conn { return r.dialFrom("127.0.0.1") }

func (r *rig) dialFrom(ip string) *conn {
	r.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}, Timeout: patience}
	c, err := d.Dial("tcp", r.addr())
	if err != nil {
		r.t.Fatal(err)
	}
	return newConn(r.t, c.(*net.TCPConn))
}

func (c *conn) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatalf("send %.40q: %v", text, err)
	}
}

func (c *conn) expect(text string) {
	c.t.Helper()
	got := make([]byte, len(text))
	n, err := io.ReadFull(c.r, got)
	if string(got[:n]) != text {
		c.t.Fatalf("got  %.300q (%v)\nwant %.300q", got[:n], err, text)
	}
}

func (c *conn) expectLine(prefix string) string {
	c.t.Helper()
	line, err := c.r.ReadString('\n')
	if !strings.HasPrefix(line, prefix) {
		c.t.Fatalf("got %.300q (%v), want a line that begins with %q", line, err, prefix)
	}
	return line
}

// expectEnd waits for the peer's FIN and nothing else.
func (c *conn) expectEnd() {
	c.t.Helper()
	if rest, err := io.ReadAll(c.r); len(rest) > 0 || err != nil {
		c.t.Fatalf("got %.300q (%v), want the end", rest, err)
	}
}

// expectGone waits for the end, in order or not.
func (c *conn) expectGone() {
	c.t.Helper()
	_, err := io.Copy(io.Discard, c.r)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatal("the connection is still open")
	}
}

// expectSilence sends a fence the other way round: nothing came before it.
func (c *conn) expectNothingYet() {
	c.t.Helper()
	c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if b, err := c.r.Peek(1); err == nil {
		rest, _ := c.r.Peek(c.r.Buffered())
		c.t.Fatalf("got %.300q, want nothing (%v)", rest, b)
	}
	c.SetDeadline(time.Now().Add(patience))
}

func (c *conn) reset() {
	c.SetLinger(0)
	c.Close()
}

// joined is a client that is registered at a relay-only backend, and the backend's end of it.
func (r *rig) joined(d *ircd, nick string) (client, server *conn) {
	r.t.Helper()
	client = r.dial()
	client.send("NICK " + nick + "\r\n")
	server = d.next()
	server.expect("NICK " + nick + "\r\n")
	server.send(":irc 001 " + nick + " :hello\r\n")
	client.expect(":irc 001 " + nick + " :hello\r\n")
	return client, server
}

func numbered(n int, format string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

func ctxOf(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}
