package handoff

import (
	"bufio"
	"bytes"
	"context"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff/protocol"
	"github.com/ircferry/ircferry/internal/config"
)

// rig is two ircds, the sessions of the first, and a coordinator.
type rig struct {
	t        *testing.T
	a, b     *fakeIrcd
	sessions *fakeSessions
	links    *fakeLinks
	c        *Coordinator
	set      *backend.Set
	dir      string
	state    string // directory of the backends' memory
	opt      Options
	checked  atomic.Bool // checks find the ircds
}

// dialCheck is the way of the checks, which find nobody unless they are to.
func (r *rig) dialCheck(ctx context.Context, _, address string) (net.Conn, error) {
	if !r.checked.Load() {
		return nil, syscall.ECONNREFUSED
	}
	i := r.b
	if strings.HasSuffix(address, "/a") {
		i = r.a
	}
	i.mu.Lock()
	h, dead := i.helloLocked(), i.dead
	i.mu.Unlock()
	if dead {
		return nil, syscall.ECONNREFUSED
	}
	h.V, h.SKey, h.Software, h.Version = protocol.Version, "k", "testd", "1"
	here, there := net.Pipe()
	go func() {
		defer there.Close()
		for in := bufio.NewScanner(there); in.Scan(); {
			if strings.HasPrefix(in.Text(), "HELLO ") {
				there.Write(h.Message().Append(nil))
				return // each check dials anew
			}
		}
	}()
	return here, nil
}

func (r *rig) Connect(ctx context.Context, b *backend.Backend) (Party, error) {
	if b.Name() == "a" {
		return r.a.Connect(ctx, b)
	}
	return r.b.Connect(ctx, b)
}

// complaints fails a test in whose log a move says that its own state does not allow what happened.
type complaints struct {
	mu sync.Mutex
	t  *testing.T
}

func (c *complaints) Write(line []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if bytes.Contains(line, []byte("the state of the move does not allow")) {
		c.t.Errorf("%s", line)
	}
	return len(line), nil
}

func newRig(t *testing.T, us ...string) *rig {
	t.Helper()
	r := &rig{t: t, a: newFakeIrcd("a", us...), b: newFakeIrcd("b"), sessions: newFakeSessions("main/a", us...), dir: t.TempDir(), state: t.TempDir()}
	r.sessions.ircd = func(name string) *fakeIrcd { return map[string]*fakeIrcd{"main/a": r.a, "main/b": r.b}[name] }
	r.links = &fakeLinks{ircd: r.sessions.ircd, turn: make(chan struct{}, 1)}
	for _, u := range us {
		r.sessions.streams[u] = r.a.open(u)
	}
	log := slog.New(slog.NewTextHandler(&complaints{t: t}, nil))
	set, err := backend.NewSet(backend.Options{State: r.state, Log: log, Instance: "test", Dial: r.dialCheck})
	if err != nil {
		t.Fatal(err)
	}
	pool := config.Default().Pools["main"]
	pool.Topology = config.Standalone
	pool.Check = config.Check{Type: config.CheckHandoff, Inter: config.Duration(time.Hour), Rise: 1, Fall: 1, Timeout: config.Duration(time.Second)}
	pool.Backends = []config.Backend{
		{Name: "a", Handoff: "unix:" + t.TempDir() + "/a", Weight: 100},
		{Name: "b", Handoff: "unix:" + t.TempDir() + "/b", Weight: 100},
	}
	if err := set.Apply(map[string]config.Pool{"main": pool}); err != nil {
		t.Fatal(err)
	}
	r.set = set
	r.opt = Options{Sessions: r.sessions, Links: r.links, Backends: set, Driver: r, Journals: r.dir, Log: log,
		Limits: func() Limits {
			return Limits{Deadline: 60 * time.Second, MaxPause: 5 * time.Second, Park: 10 * time.Minute}
		}}
	if r.c, _, err = New(r.opt); err != nil {
		t.Fatal(err)
	}
	return r
}

// drain moves a to b past the checks of health, which are the backend room's.
func (r *rig) drain(request Request) (Report, error) {
	r.t.Helper()
	request.Kind, request.Pool, request.From, request.To = KindDrain, "main", "a", "b"
	from, _ := r.c.find("main", "a")
	to, _ := r.c.find("main", "b")
	m, err := r.c.start(request, from, to)
	if err != nil {
		return Report{}, err
	}
	return r.await(m), nil
}

func (r *rig) await(m *Move) Report {
	r.t.Helper()
	select {
	case <-m.Done():
	case <-time.After(time.Hour): // in a bubble, or a hung move
		r.t.Fatalf("the move does not end: %+v", m.Report())
	}
	r.c.wg.Wait()
	report := m.Report()
	switch m.state.owner {
	case ownerBack, ownerTaker, ownerLost:
	case ownerOffered: // and nobody knows whether it was taken
		if report.State != StateFailed {
			r.t.Errorf("the move is %s, and nobody knows who has its users", report.State)
		}
	default:
		r.t.Errorf("the move is %s, and its users are at %s", report.State, m.state.owner)
	}
	r.leftOpen()
	return report
}

// leftOpen checks that a move has closed what it has opened, and has asked nothing of the proxy that the contract forbids.
func (r *rig) leftOpen() {
	r.t.Helper()
	for _, i := range []*fakeIrcd{r.a, r.b} {
		i.mu.Lock()
		if i.talks != 0 || i.holders != 0 {
			r.t.Errorf("%s: %d conversations are open, %d hold its process", i.name, i.talks, i.holders)
		}
		i.mu.Unlock()
	}
	if len(r.sessions.wrong) > 0 {
		r.t.Errorf("against the contract: %v", r.sessions.wrong)
	}
}

// settled waits until everybody waits: what they have done before may be read without locks. A sleep alone does not say that to the race detector.
func (r *rig) settled() { synctest.Wait() }

// owners checks that every session that lives has its user live in exactly the ircd it is spliced to, and that nobody is live twice.
func (r *rig) owners() {
	r.t.Helper()
	r.settled()
	r.sessions.mu.Lock()
	defer r.sessions.mu.Unlock()
	for u, at := range r.sessions.at {
		inA, inB := r.a.live[u] && !r.a.dead, r.b.live[u] && !r.b.dead
		if inA && inB {
			r.t.Errorf("user %s is live twice", u)
		}
		if r.sessions.unreg[u] {
			continue // nobody's user yet
		}
		ended := r.sessions.streams[u] != nil && r.sessions.streams[u].ended() // its session is about to end
		if !ended && (at == "main/a" && !inA && !r.a.dead || at == "main/b" && !inB && !r.b.dead) {
			r.t.Errorf("session %s is at %s, its user is not (a %v, b %v)", u, at, inA, inB)
		}
		if at == "" {
			r.t.Errorf("session %s is still parked", u)
		}
	}
	if len(r.sessions.frozen) > 0 || len(r.sessions.next) > 0 || r.sessions.gated {
		r.t.Errorf("left behind: frozen %v, attached %v, gate %v", r.sessions.frozen, r.sessions.next, r.sessions.gated)
	}
}

func balanced(t *testing.T, r Report) {
	t.Helper()
	if r.Attempted != r.Moved+r.Reverted+r.Failed+r.Left {
		t.Errorf("attempted %d is not moved %d + reverted %d + failed %d + left %d", r.Attempted, r.Moved, r.Reverted, r.Failed, r.Left)
	}
}
