package backend

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ircferry/ircferry/handoff/protocol"
	"github.com/ircferry/ircferry/internal/config"
)

// world is a network for a Set in a bubble: names of addresses with what answers there.
type world struct {
	mu    sync.Mutex
	dials map[string]int
	at    map[string]func() (net.Conn, error)
	seen  []Event
}

func newWorld() *world {
	return &world{dials: map[string]int{}, at: map[string]func() (net.Conn, error){}}
}

func (w *world) dial(ctx context.Context, network, address string) (net.Conn, error) {
	w.mu.Lock()
	w.dials[address]++
	answer := w.at[address]
	w.mu.Unlock()
	if answer == nil {
		return nil, refused()
	}
	conn, err := answer()
	if conn == nil && err == nil { // a black hole
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return conn, err
}

func (w *world) dialled(address string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dials[address]
}

// set puts an answer at an address; nil is nobody.
func (w *world) set(address string, answer func() (net.Conn, error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at[address] = answer
}

func (w *world) note(e Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = append(w.seen, e)
}

// events returns and forgets what was seen, as "kind backend".
func (w *world) events() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for _, e := range w.seen {
		out = append(out, string(e.Kind)+" "+e.Backend)
	}
	w.seen = nil
	return strings.Join(out, ", ")
}

// accepts answers like a port where somebody listens and says nothing.
func accepts() (net.Conn, error) {
	here, there := net.Pipe()
	go func() {
		buf := make([]byte, 1024)
		for {
			if _, err := there.Read(buf); err != nil {
				there.Close()
				return
			}
		}
	}()
	return here, nil
}

func hangs() (net.Conn, error) { return nil, nil }

// newSet starts a Set in w. state "" remembers nothing.
func (w *world) newSet(t *testing.T, state string, pools map[string]config.Pool) *Set {
	t.Helper()
	s, err := NewSet(Options{State: state, Dial: w.dial, Instance: "me"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	s.Subscribe(w.note)
	if err := s.Apply(pools); err != nil {
		t.Fatal(err)
	}
	return s
}

// relays makes a pool of relay backends "name" or "name:weight" or "name:backup", at 192.0.2.1 and up.
func relays(topology config.Topology, names ...string) config.Pool {
	p := config.Pool{Topology: topology, Balance: config.LeastConn, Check: config.Check{Type: config.CheckTCP, Inter: seconds(2), Rise: 2, Fall: 3, Timeout: seconds(1)}}
	for _, n := range names {
		b := config.Backend{Weight: 100}
		b.Name, _, _ = strings.Cut(n, ":")
		b.Address = where(b.Name)
		if _, opt, ok := strings.Cut(n, ":"); ok && opt == "backup" {
			b.Backup = true
		} else if ok {
			fmt.Sscan(opt, &b.Weight)
		}
		p.Backends = append(p.Backends, b)
	}
	return p
}

// where is the address of a relay backend of one letter.
func where(name string) string { return fmt.Sprintf("192.0.2.%d:6667", name[0]-'a'+1) }

func seconds(n int) config.Duration { return config.Duration(time.Duration(n) * time.Second) }

func one(p config.Pool) map[string]config.Pool { return map[string]config.Pool{"main": p} }

func get(t *testing.T, s *Set, name string) *Backend {
	t.Helper()
	b, ok := s.Backend("main/" + name)
	if !ok {
		t.Fatalf("there is no backend main/%s", name)
	}
	return b
}

func mainPool(t *testing.T, s *Set) *Pool {
	t.Helper()
	p, ok := s.Pool("main")
	if !ok {
		t.Fatal("there is no pool main")
	}
	return p
}

// chosen is the name of the backend that a client gets now, or "none".
func chosen(t *testing.T, p *Pool) string {
	t.Helper()
	b, err := p.Choose(netip.MustParseAddr("198.51.100.7"))
	if err != nil {
		if !errors.Is(err, ErrNone) {
			t.Fatalf("Choose: %v", err)
		}
		return "none"
	}
	return b.Name()
}

func expect(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func refused() error {
	return &net.OpError{Op: "dial", Net: "tcp", Err: errno(111)}
}

// ircd is a native one in a bubble: it answers HELLO and PING on control connections.
type ircd struct {
	mu    sync.Mutex
	hello protocol.Hello
	conns []net.Conn
	mute  bool         // answers nothing
	ended atomic.Int64 // conversations
}

func newIrcd(epoch string) *ircd {
	return &ircd{hello: protocol.Hello{V: protocol.Version, Software: "testd", Version: "1", SID: "irc.test", Epoch: epoch,
		Stream: "0.0.0.0:7001", SKey: "k-" + epoch, Feat: []string{"open", "export", "import"}}}
}

func (i *ircd) accept() (net.Conn, error) {
	here, there := net.Pipe()
	i.mu.Lock()
	i.conns = append(i.conns, there)
	i.mu.Unlock()
	go i.serve(there)
	return here, nil
}

func (i *ircd) serve(c net.Conn) {
	defer c.Close()
	defer i.ended.Add(1)
	buf := make([]byte, 0, 4096)
	in := make([]byte, 1024)
	for {
		n, err := c.Read(in)
		if err != nil {
			return
		}
		buf = append(buf, in[:n]...)
		for {
			line, rest, ok := strings.Cut(string(buf), "\n")
			if !ok {
				break
			}
			buf = []byte(rest)
			i.mu.Lock()
			mute, answer := i.mute, i.hello.Message().Append(nil)
			i.mu.Unlock()
			if mute || !strings.HasPrefix(line, "HELLO ") {
				continue
			}
			if _, err := c.Write(answer); err != nil {
				return
			}
		}
	}
}

// die closes every connection, as the end of the process does.
func (i *ircd) die() {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, c := range i.conns {
		c.Close()
	}
	i.conns = nil
}

func (i *ircd) setMute(m bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.mute = m
}

// natives makes a standalone pool of native backends with control sockets at /name.
func natives(names ...string) config.Pool {
	p := relays(config.Standalone, names...)
	p.Check.Type = config.CheckHandoff
	for i := range p.Backends {
		p.Backends[i].Address, p.Backends[i].Handoff = "", "unix:/"+p.Backends[i].Name
	}
	return p
}

// settle lets everything that can happen now happen.
func settle() { synctest.Wait() }

func after(d time.Duration) {
	time.Sleep(d) // virtual: only in bubbles
	synctest.Wait()
}
