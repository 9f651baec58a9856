package link

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/internal/config"
)

// patience bounds every wait of a test.
const patience = 10 * time.Second

// rig is a Set between fakes: ircds that speak as InspIRCd does, and peers as services do.
type rig struct {
	*testing.T
	set      *Set
	backends *backend.Set
	pool     config.Pool
	log      *logText
	ircds    map[string]net.Listener // the servers ports, by the backend's name
	of       *tls.Config             // of peers and ircds; nil: plaintext

	mu   sync.Mutex
	told []string // words of notices
}

// words are what was told of links.
func (r *rig) words() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.told, " ")
}

// logText is what was logged.
type logText struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// newRig has backends a and b that are up, and the link of services.example.
func newRig(t *testing.T, change ...func(*config.Pool)) *rig {
	t.Helper()
	r := &rig{T: t, log: &logText{}, ircds: map[string]net.Listener{}}
	clients := listen(t)
	go func() {
		for {
			c, err := clients.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	r.pool = config.Pool{Topology: config.Linked, Check: config.Check{Type: config.CheckTCP, Rise: 1, Fall: 1, Inter: config.Duration(time.Second), Timeout: config.Duration(time.Second)}}
	for _, name := range []string{"a", "b"} {
		l := listen(t)
		r.ircds[name] = l
		r.pool.Backends = append(r.pool.Backends, config.Backend{Name: name, Address: clients.Addr().String(), Weight: 1, Servers: &config.Servers{Address: l.Addr().String()}})
	}
	r.pool.Links = []config.Link{{Name: "services.example", Listen: "127.0.0.1:0", Hold: config.DefaultHold}}
	for _, c := range change {
		c(&r.pool)
	}
	var err error
	if r.backends, err = backend.NewSet(backend.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.backends.Close)
	pools := map[string]config.Pool{"main": r.pool}
	if err := r.backends.Apply(pools); err != nil {
		t.Fatal(err)
	}
	for _, b := range r.backends.Backends() {
		r.until("backend up", func() bool { return b.Oper() == backend.Up })
	}
	r.set = NewSet(Options{Backends: r.backends, Log: slog.New(slog.NewTextHandler(r.log, nil)), Tell: func(n Notice) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.told = append(r.told, n.Word)
	}})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := r.set.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	if err := r.set.Apply(pools); err != nil {
		t.Fatal(err)
	}
	return r
}

// until waits for something that happens elsewhere.
func (r *rig) until(what string, f func() bool) {
	r.Helper()
	for end := time.Now().Add(patience); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			r.Fatalf("not in time: %s", what)
		}
	}
}

// door is where a link listens.
func (r *rig) door(link string) string { return r.set.Addrs()["main/"+link].String() }

// end is one end of a conversation: a fake ircd's or peer's connection.
type end struct {
	net.Conn
	t    *testing.T
	name string
	r    *bufio.Reader
}

func newEnd(t *testing.T, name string, c net.Conn) *end {
	t.Cleanup(func() { c.Close() })
	return &end{Conn: c, t: t, name: name, r: bufio.NewReaderSize(c, 1<<20)}
}

// dial connects as the peer of a link.
func (r *rig) dial(link string) *end {
	r.Helper()
	c, err := net.Dial("tcp", r.door(link))
	if err != nil {
		r.Fatal(err)
	}
	return newEnd(r.T, link, c)
}

// accept takes the next link at an ircd.
func (r *rig) accept(ircd string) *end {
	r.Helper()
	r.ircds[ircd].(*net.TCPListener).SetDeadline(time.Now().Add(patience))
	c, err := r.ircds[ircd].Accept()
	if err != nil {
		r.Fatal(err)
	}
	return newEnd(r.T, "ircd "+ircd, c)
}

// say writes lines.
func (e *end) say(lines ...string) {
	e.t.Helper()
	e.SetWriteDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(e, strings.Join(lines, "\n")+"\n"); err != nil {
		e.t.Fatalf("%s: %v", e.name, err)
	}
}

// next reads a line.
func (e *end) next() string {
	e.t.Helper()
	e.SetReadDeadline(time.Now().Add(patience))
	l, err := e.r.ReadString('\n')
	if err != nil {
		e.t.Fatalf("%s: read: %v (%q)", e.name, err, l)
	}
	return strings.TrimRight(l, "\r\n")
}

// expect reads these lines and no other between.
func (e *end) expect(lines ...string) {
	e.t.Helper()
	for _, want := range lines {
		if got := e.next(); got != want {
			e.t.Fatalf("%s:\ngot  %q\nwant %q", e.name, got, want)
		}
	}
}

// silent fails if there is a byte to be read within d.
func (e *end) silent(d time.Duration) {
	e.t.Helper()
	e.SetReadDeadline(time.Now().Add(d))
	if l, err := e.r.ReadString('\n'); err == nil || len(l) > 0 {
		e.t.Fatalf("%s should hear nothing, and got %q", e.name, l)
	} else if nerr, ok := err.(net.Error); !ok || !nerr.Timeout() {
		e.t.Fatalf("%s should hear nothing, and got %v", e.name, err)
	}
}

// ended reads up to the end, which must be a FIN with nothing before it.
func (e *end) ended() {
	e.t.Helper()
	e.SetReadDeadline(time.Now().Add(patience))
	if rest, err := io.ReadAll(e.r); err != nil || len(rest) > 0 {
		e.t.Fatalf("%s should be at its end: %q, %v", e.name, rest, err)
	}
}

// dialectCase is how a peer speaks.
type dialectCase struct {
	proto  int
	prefix string // Anope's
}

func (d dialectCase) hello() []string {
	sid := map[bool]string{true: "00S", false: "0 00S"}[d.proto >= 1206]
	return []string{fmt.Sprintf("%sCAPAB START %d", d.prefix, d.proto), d.prefix + "CAPAB CAPABILITIES :CASEMAPPING=ascii", d.prefix + "CAPAB END",
		d.prefix + "SERVER services.example secretpass " + sid + " :Services"}
}

var burst = []string{":00S BURST 1700000000", ":00S SINFO version :Services 1.0", ":00S UID 00SAAAAAB 1700000000 ChanServ services.example services.example ChanServ 127.0.0.1 1700000000 +ikr :Channel Services",
	":00S METADATA * saslmechlist :PLAIN", ":00S ENDBURST"}

var anope = dialectCase{proto: 1205, prefix: ":00S "}

// handshake lets both ends introduce themselves through the set, and returns when the link is raw. It leaves nothing unread.
func (r *rig) handshake(peer, ircd *end, d dialectCase) {
	r.Helper()
	peer.say(d.hello()...)
	ircd.expect(d.hello()...)
	hello := []string{"CAPAB START 1205", "CAPAB END", "SERVER irc.example otherpass 0 00A :An ircd", ":00A BURST 1700000000", ":00A SINFO version :InspIRCd-3 one",
		":00A SINFO rawversion :InspIRCd-3", ":00A UID 00AAAAAAA 1 nick h h i 1 1 + :x", ":00A ENDBURST"}
	ircd.say(hello...)
	peer.expect(hello...)
	peer.say(burst...)
	ircd.expect(burst...)
	r.until("link is raw", func() bool { return r.state("services.example") == Raw })
}

// state is that of a link; Down if there is none.
func (r *rig) state(name string) State {
	for _, l := range r.set.all() {
		if i := l.picture(); i.Name == name {
			return i.State
		}
	}
	return Down
}

// linked has services.example linked to backend a.
func (r *rig) linked(d dialectCase) (peer, ircd *end) {
	r.Helper()
	peer = r.dial("services.example")
	ircd = r.accept("a")
	r.handshake(peer, ircd, d)
	return peer, ircd
}

func nets(list ...string) (all []netip.Prefix) {
	for _, n := range list {
		all = append(all, netip.MustParsePrefix(n))
	}
	return all
}

var leafLink = config.Link{Name: "leaf.example", Listen: "127.0.0.1:0", Hold: config.DefaultHold}

// leaf has leaf.example linked to backend a.
func (r *rig) leaf() (peer, ircd *end) {
	r.Helper()
	peer = r.dial("leaf.example")
	ircd = r.accept("a")
	hello := []string{"CAPAB START 1205", "CAPAB END", "SERVER leaf.example leafpass 0 00L :Leaf", ":00L BURST 1700000000", ":00L ENDBURST"}
	peer.say(hello...)
	ircd.expect(hello...)
	hello = []string{"CAPAB START 1205", "CAPAB END", "SERVER irc.example otherpass 0 00A :An ircd", ":00A BURST 1700000000", ":00A SINFO version :InspIRCd-3 one", ":00A ENDBURST"}
	ircd.say(hello...)
	peer.expect(hello...)
	r.until("leaf is raw", func() bool { return r.state("leaf.example") == Raw })
	return peer, ircd
}

// holdBoth is Set.Hold for two links.
func (r *rig) holdBoth(services, leaf *end) *Held {
	r.Helper()
	var h *Held
	done := background(func() (err error) { h, err = r.set.Hold(r.ctx(), "main/a"); return err })
	services.fence(anope)
	leaf.answer(leaf.next())
	r.must("hold", done)
	return h
}

// answer answers a fence of any peer.
func (e *end) answer(line string) {
	e.t.Helper()
	w := strings.Fields(line)
	if len(w) != 4 || w[1] != "PING" {
		e.t.Fatalf("%s: %q is no fence", e.name, line)
	}
	e.say(":00A PONG " + w[0][1:] + " " + w[3])
}

// answerAll answers fences until done.
func (e *end) answerAll(must func(string, <-chan error), done <-chan error) {
	e.t.Helper()
	over := make(chan error, 1)
	go func() {
		err := <-done
		e.SetReadDeadline(time.Now())
		over <- err
	}()
	for {
		l, err := e.r.ReadString('\n')
		if err != nil {
			break
		}
		if strings.Contains(l, " PING ") {
			e.answer(strings.TrimSpace(l))
		}
		e.SetReadDeadline(time.Now().Add(patience))
	}
	must("replay", over)
}

// withLeaf adds the link of leaf.example.
func withLeaf(p *config.Pool) { p.Links = append(p.Links, leafLink) }
