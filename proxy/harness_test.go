package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/internal/config"
	"github.com/ircferry/ircferry/proxy/wire"
)

// patience bounds every single wait of the tests; nothing takes a fraction of it unless it is broken, or the machine is very busy.
const patience = 30 * time.Second

func TestMain(m *testing.M) {
	if task := os.Getenv(crasherEnv); task != "" {
		crasher(task)
		return
	}
	wire.CheckOwner(true)
	overTLS = os.Getenv("IRCFERRY_TEST_TLS") != ""
	os.Exit(m.Run())
}

// rig is a proxy with one listener and the backends of one pool.
type rig struct {
	*Proxy
	t          testing.TB
	set        *backend.Set
	registry   *prometheus.Registry
	logs       *logBuffer
	behind     Keeper   // nil: none, see kept
	secure     bool     // the clients have TLS, see overTLS
	panics     uint64   // that the test has made
	violations uint64   // likewise of the books, in each loop
	passed     []int    // descriptors of the last successor
	resting    []string // backends whose moves rest at a cut
}

type rigOptions struct {
	backends []config.Backend
	listener config.Listener
	loops    int
	maxBytes int64
	inter    time.Duration // of checks
	fall     int           // of checks and connects
	secure   map[string]*tls.Config
	log      slog.Level // the least that is logged
	sessions int        // at most
	keeper   Keeper     // nil: none
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
	if o.inter == 0 {
		o.inter = 20 * time.Millisecond
	}
	if o.fall == 0 {
		o.fall = 1000
	}
	pool := config.Pool{Topology: config.Standalone, Backends: o.backends,
		Check: config.Check{Inter: config.Duration(o.inter), Rise: 1, Fall: o.fall, Timeout: config.Duration(time.Second)}}
	if err := set.Apply(map[string]config.Pool{"main": pool}); err != nil {
		t.Fatal(err)
	}
	if o.loops == 0 {
		o.loops = 2
	}
	if o.sessions == 0 {
		o.sessions = 4096
	}
	r := &rig{t: t, set: set, behind: someKeeper(t), registry: prometheus.NewRegistry(), logs: &logBuffer{}}
	log := slog.New(slog.NewTextHandler(r.logs, &slog.HandlerOptions{Level: o.log}))
	if o.keeper != nil {
		r.behind = o.keeper
	}
	r.Proxy, err = New(Options{Instance: "test", Loops: o.loops, MaxSessions: o.sessions, MaxBytes: o.maxBytes, Backends: set, Log: log, Registerer: r.registry,
		Keeper: r.behind})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.lag() // which checks the books
		for i, w := range r.workers {
			if n := w.counts.violations.Load(); n != r.violations {
				t.Errorf("the books of loop %d do not add up, %d times", i, n)
			}
		}
		if err := r.Proxy.Close(); err != nil {
			t.Error(err)
		}
		panics := uint64(0)
		for _, w := range r.workers {
			panics += w.loop.Panics()
		}
		if panics != r.panics {
			t.Errorf("the loops panicked %d times:\n%s", panics, r.logs.String())
		}
	})
	l := o.listener
	if overTLS && l.ProxyProtocol == nil && o.secure == nil {
		r.secure = true
		l.TLS, o.secure = &config.ListenerTLS{}, map[string]*tls.Config{"irc": serverTLS(t, 0)}
	}
	l.Name, l.Pool = "irc", "main"
	if l.Address == "" {
		l.Address = "127.0.0.1:0"
	}
	if err := r.SetListeners([]config.Listener{l}, o.secure); err != nil {
		t.Fatal(err)
	}
	return r
}

// relay is a rig with one relay-only backend.
func relay(t testing.TB, l config.Listener) (*rig, *ircd) {
	d := newIRCd(t)
	r := newRig(t, rigOptions{backends: []config.Backend{{Name: "a", Address: d.addr(), Identity: config.IdentityNone}}, listener: l})
	r.up("main/a")
	return r, d
}

func (r *rig) up(name string) {
	r.t.Helper()
	r.eventually("up "+name, func() bool {
		x, ok := r.set.Backend(name)
		return ok && x.Oper() == backend.Up
	})
}

func (r *rig) addr() string { return r.Addrs()["irc"][0].String() }

// ended waits for the log line of a session that has ended with a reason. The session may be counted for a moment longer.
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
	secured  chan *conn // with TLS, after the handshake
}

func newIRCd(t testing.TB) *ircd { return newIRCdOver(t, nil) }

// newIRCdOver is an ircd behind TLS; nil: plaintext.
func newIRCdOver(t testing.TB, cfg *tls.Config) *ircd {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &ircd{t: t, l: l, accepted: make(chan *net.TCPConn, 10000), secured: make(chan *conn, 100)}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				continue // out of descriptors, in the test of that
			}
			if cfg != nil {
				go d.shake(c.(*net.TCPConn), cfg)
				continue
			}
			d.accepted <- c.(*net.TCPConn)
		}
	}()
	return d
}

// endsToo has the ircd end each stream that we end, as ircds do, and say nothing.
func (d *ircd) endsToo() {
	go func() {
		for {
			select {
			case c := <-d.accepted:
				go func() {
					defer c.Close()
					io.Copy(io.Discard, c)
				}()
			case <-d.t.Context().Done():
				return
			}
		}
	}()
}

func (d *ircd) addr() string { return d.l.Addr().String() }

// next is the next connection that says something, so a health check is passed over.
func (d *ircd) next() *conn {
	d.t.Helper()
	end := time.After(patience)
	for {
		select {
		case c := <-d.accepted:
			nc := newConn(d.t, c)
			if _, err := nc.r.Peek(1); err != nil {
				c.Close()
				continue
			}
			return nc
		case nc := <-d.secured:
			if _, err := nc.r.Peek(1); err != nil {
				nc.Close()
				continue
			}
			return nc
		case <-end:
			d.t.Fatal("no connection at the backend")
		}
	}
}

// conn is one end of a connection, as a dialogue.
type conn struct {
	*net.TCPConn
	tls *tls.Conn // nil: plaintext
	t   testing.TB
	r   *bufio.Reader
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
	client := newConn(r.t, c.(*net.TCPConn))
	if r.secure {
		client.secure(&tls.Config{InsecureSkipVerify: true})
	}
	return client
}

func (c *conn) send(text string) {
	c.t.Helper()
	c.SetWriteDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatalf("send %.40q: %v", text, err)
	}
}

func (c *conn) expect(text string) {
	c.t.Helper()
	c.SetReadDeadline(time.Now().Add(patience))
	got := make([]byte, len(text))
	n, err := io.ReadFull(c.r, got)
	if string(got[:n]) != text {
		c.t.Fatalf("got  %d bytes %.300q (%v)\nwant %d bytes %.300q", n, got[:n], err, len(text), text)
	}
}

func (c *conn) expectLine(prefix string) string {
	c.t.Helper()
	c.SetReadDeadline(time.Now().Add(patience))
	line, err := c.r.ReadString('\n')
	if !strings.HasPrefix(line, prefix) {
		c.t.Fatalf("got %.300q (%v), want a line that begins with %q", line, err, prefix)
	}
	return line
}

// expectEnd waits for the peer's FIN and nothing else.
func (c *conn) expectEnd() {
	c.t.Helper()
	c.SetReadDeadline(time.Now().Add(patience))
	if rest, err := io.ReadAll(c.r); len(rest) > 0 || err != nil {
		c.t.Fatalf("got %.300q (%v), want the end", rest, err)
	}
}

// expectGone waits for the end, in order or not.
func (c *conn) expectGone() {
	c.t.Helper()
	c.SetReadDeadline(time.Now().Add(patience))
	_, err := io.Copy(io.Discard, c.r)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatal("the connection is still open")
	}
}

// fill writes the line again and again for 300 ms, which fills all buffers on the way if nobody reads, and answers how many bytes went.
func (c *conn) fill(line string) int {
	c.t.Helper()
	c.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
	defer c.SetWriteDeadline(time.Now().Add(patience))
	for sent := 0; ; {
		n, err := io.WriteString(c, line)
		sent += n
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return sent
		}
		if err != nil {
			c.t.Fatal(err)
		}
	}
}

// expectNothingYet fails if something comes within 50 ms. It can miss a fault on a busy machine, but never makes one up.
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
	c.TCPConn.Close()
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

func ctxOf(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// native is a scripted ircd that speaks enough of HANDOFF/1: HELLO on control, and what the test says on streams.
type native struct {
	*ircd
	name    string
	control string
}

const skey = "00112233445566778899aabbccddeeff"

func newNative(t testing.TB, name string) *native {
	t.Helper()
	n := &native{ircd: newIRCd(t), name: name, control: filepath.Join(t.TempDir(), name)}
	l, err := net.Listen("unix", n.control)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go n.serveControl(c)
		}
	}()
	return n
}

func (n *native) serveControl(c net.Conn) {
	defer c.Close()
	lines := bufio.NewScanner(c)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "HELLO") {
			fmt.Fprintf(c, "HELLO v=1 software=fake version=1 name=irc.%s sid=1 epoch=%s users=0 unmovable=0 channels=0 links=0 stream=%s skey=%s"+
				" caps= isupport= maxusers=0 maxline=65536 feat=open,export,import,peek,find\n", n.name, n.name, n.addr(), skey)
		}
	}
}

func (n *native) config() config.Backend {
	return config.Backend{Name: n.name, Handoff: "unix:" + n.control}
}

// moves is a rig with two native backends; the first serves.
func moves(t testing.TB, l config.Listener) (r *rig, a, b *native) {
	t.Helper()
	a, b = newNative(t, "a"), newNative(t, "b")
	r = newRig(t, rigOptions{backends: []config.Backend{a.config(), b.config()}, listener: l})
	r.up("main/a")
	r.up("main/b")
	return r, a, b
}

// opened is the next stream that begins with OPEN, answered.
func (n *native) opened() (c *conn, u string) {
	n.t.Helper()
	c = n.next()
	line := c.expectLine("OPEN k=" + skey + " u=test.")
	u = field(line, "u")
	c.send("OPENED u=" + u + "\n")
	return c, u
}

// attached is the next stream that begins with ATTACH, answered.
func (n *native) attached() (c *conn, u string) {
	n.t.Helper()
	c = n.next()
	line := c.expectLine("ATTACH k=" + skey + " tx=")
	u = field(line, "u")
	c.send("ATTACHED u=" + u + "\n")
	return c, u
}

func field(line, key string) string {
	for _, f := range strings.Fields(line) {
		if v, ok := strings.CutPrefix(f, key+"="); ok {
			return v
		}
	}
	return ""
}

// user is a registered session at a native backend.
type user struct {
	client, server *conn
	u              string
	in, out        uint64 // as the ircd has counted
}

func (r *rig) user(n *native, nick string) *user {
	r.t.Helper()
	x := &user{client: r.dial()}
	x.server, x.u = n.opened()
	x.toServer("NICK " + nick + "\r\n")
	x.toClient(":irc 001 " + nick + " :hello\r\n")
	return x
}

func (x *user) toServer(text string) {
	x.server.t.Helper()
	x.client.send(text)
	x.server.expect(text)
	x.in += uint64(len(text))
}

func (x *user) toClient(text string) {
	x.server.t.Helper()
	x.server.send(text)
	x.client.expect(text)
	x.out += uint64(len(text))
}

func (r *rig) to(n *native) backend.AttachTo {
	b, _ := r.set.Backend("main/" + n.name)
	h, _, _ := b.Hello()
	return backend.AttachTo{Backend: "main/" + n.name, Stream: netip.MustParseAddrPort(h.Stream), SKey: h.SKey, Tx: "tx1", Tok: "tok1"}
}

func one(t testing.TB, ms []backend.Moved, cause backend.Cause) backend.Moved {
	t.Helper()
	if len(ms) != 1 || ms[0].Cause != cause {
		t.Fatalf("outcome %+v, want one with cause %q", ms, cause)
	}
	return ms[0]
}

func ctxWithin(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// expectNothingNow fails if something has come, or the end has.
func (c *conn) expectNothingNow() {
	c.t.Helper()
	c.SetReadDeadline(time.Now().Add(time.Millisecond))
	b, err := c.r.Peek(1)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Errorf("got %q (%v), want nothing", b, err)
	}
	c.SetDeadline(time.Now().Add(patience))
}
