package admin

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff"
)

// fakeMoves is a coordinator whose moves go on when the test says so.
type fakeMoves struct {
	mu       sync.Mutex
	reports  []handoff.Report // newest first
	changed  map[string]chan struct{}
	requests []handoff.Request
	releases []string
	err      error // of the next command
	plan     handoff.Plan
}

func (f *fakeMoves) begin(r handoff.Request) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests = append(f.requests, r)
	if f.err != nil {
		return "", f.err
	}
	id := fmt.Sprintf("m%d", len(f.reports)+1)
	f.putLocked(handoff.Report{ID: id, Kind: r.Kind, Pool: r.Pool, From: r.From, To: r.To, Actor: r.Actor,
		State: handoff.StateRunning, Step: handoff.StepCheck, Started: time.Now()})
	return id, nil
}

func (f *fakeMoves) putLocked(r handoff.Report) {
	if f.changed == nil {
		f.changed = map[string]chan struct{}{}
	}
	i := slices.IndexFunc(f.reports, func(o handoff.Report) bool { return o.ID == r.ID })
	if i < 0 {
		f.reports = slices.Insert(f.reports, 0, r)
	} else {
		f.reports[i] = r
		close(f.changed[r.ID])
	}
	f.changed[r.ID] = make(chan struct{})
}

// change lets a move go on.
func (f *fakeMoves) change(id string, how func(*handoff.Report)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.reports {
		if r.ID == id {
			how(&r)
			f.putLocked(r)
			return
		}
	}
	panic("no move " + id)
}

func (f *fakeMoves) Drain(r handoff.Request) (string, error) { return f.begin(r) }
func (f *fakeMoves) Hold(r handoff.Request) (string, error)  { return f.begin(r) }

func (f *fakeMoves) Pause(r handoff.Request) (string, error) { return f.begin(r) }

func (f *fakeMoves) Resume(pool, name string) (string, error) {
	for _, r := range f.Moves() {
		if r.Pool == pool && r.From == name && r.Kind == handoff.KindPause && !r.State.Ended() {
			f.change(r.ID, func(r *handoff.Report) { r.State, r.Ended = handoff.StateDone, time.Now() })
			return r.ID, nil
		}
	}
	return "", &handoff.Refused{Reason: pool + "/" + name + " is not paused"}
}

func (f *fakeMoves) Release(pool, name, to, actor string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.releases = append(f.releases, pool+"/"+name+"->"+to)
	for _, r := range f.reports {
		if r.Pool == pool && r.From == name && r.State == handoff.StateParked {
			return r.ID, nil
		}
	}
	return "", &handoff.Refused{Reason: pool + "/" + name + " is not held"}
}

func (f *fakeMoves) Cancel(id string) error {
	f.change(id, func(r *handoff.Report) { r.State, r.Ended = handoff.StateReverted, time.Now() })
	return nil
}

func (f *fakeMoves) DryRun(context.Context, handoff.Request) (handoff.Plan, error) {
	return f.plan, f.err
}

func (f *fakeMoves) Moves() []handoff.Report {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.reports)
}

func (f *fakeMoves) Watch(id string) (handoff.Report, <-chan struct{}, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.reports {
		if r.ID == id {
			return r, f.changed[id], true
		}
	}
	return handoff.Report{}, nil, false
}

// fakePools is two pools: main with the native a and b and the relayed c, web with the relayed x alone.
type fakePools struct {
	mu    sync.Mutex
	pools []Pool
}

func newFakePools() *fakePools {
	b := func(pool, name, driver string) Backend {
		return Backend{Name: name, Pool: pool, Driver: driver, Admin: "ready", Oper: "up", Weight: 100, Address: "127.0.0.1:1"}
	}
	main := Pool{Name: "main", Topology: "standalone", Serving: "a", Backends: []Backend{b("main", "a", "native"), b("main", "b", "native"), b("main", "c", "none")}}
	main.Backends[0].Serving, main.Backends[0].Sessions = true, 3
	return &fakePools{pools: []Pool{main, {Name: "web", Topology: "standalone", Backends: []Backend{b("web", "x", "none")}}}}
}

func (f *fakePools) Pools() []Pool {
	f.mu.Lock()
	defer f.mu.Unlock()
	pools := slices.Clone(f.pools)
	for i := range pools {
		pools[i].Backends = slices.Clone(pools[i].Backends)
	}
	return pools
}

func (f *fakePools) SetAdmin(pool, name string, state backend.AdminState) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, p := range f.pools {
		for j, b := range p.Backends {
			if b.Pool == pool && b.Name == name {
				f.pools[i].Backends[j].Admin = string(state)
			}
		}
	}
	return nil
}

func (f *fakePools) set(full string, how func(*Backend)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, p := range f.pools {
		for j, b := range p.Backends {
			if b.FullName() == full {
				how(&f.pools[i].Backends[j])
			}
		}
	}
}

type fakeSessions struct{ list []Session }

func (f fakeSessions) Listeners() []Listener {
	return []Listener{{Name: "irc", Address: ":6667", Pool: "main", Accepting: true, Connections: len(f.list), Limit: 20000, Accepted: 12}}
}

func (f fakeSessions) Counts() Counts {
	return Counts{Total: len(f.list), States: map[string]int{"relay": len(f.list), "waiting": 0}}
}

func (f fakeSessions) Sessions(_ context.Context, backendName string) ([]Session, error) {
	var list []Session
	for _, s := range f.list {
		if backendName == "" || s.Backend == backendName {
			list = append(list, s)
		}
	}
	return list, nil
}

func (f fakeSessions) Session(_ context.Context, id string) (Session, bool, error) {
	for _, s := range f.list {
		if s.ID == id {
			return s, true, nil
		}
	}
	return Session{}, false, nil
}

// fakeFinder knows nicks by session id.
type fakeFinder map[string]string

func (f fakeFinder) Find(_ context.Context, nick string) ([]Found, error) {
	if u, ok := f[nick]; ok {
		return []Found{{Backend: "main/a", U: u, Nick: nick}}, nil
	}
	return nil, nil
}

type fakeProcess struct{ reloadErr error }

func (f *fakeProcess) Info() Status {
	return Status{Version: Version{Version: "1.2.3", Go: "go1.26", API: "v1"}, Instance: "inst", PID: 42, State: "running",
		Started: time.Now().Add(-time.Hour), Config: ConfigInfo{Path: "/etc/ircferry.yaml", SHA256: "abcdef0123456789"}, Descriptors: Descriptors{Used: 30, Limit: 20000}}
}

func (f *fakeProcess) Reload(context.Context) (Reloaded, error) {
	if f.reloadErr != nil {
		return Reloaded{}, f.reloadErr
	}
	return Reloaded{SHA256: "abcdef0123456789", Changed: []string{"log.level"}}, nil
}

// rig is a server on a real unix socket with fakes behind it, and a client.
type rig struct {
	server   *Server
	client   *Client
	socket   string
	moves    *fakeMoves
	pools    *fakePools
	process  *fakeProcess
	events   *Events
	registry *prometheus.Registry
	log      *safeBuffer
}

func newRig(t *testing.T, change ...func(*Options)) *rig {
	t.Helper()
	r := &rig{moves: &fakeMoves{}, pools: newFakePools(), process: &fakeProcess{}, events: NewEvents(256), registry: prometheus.NewRegistry(), log: &safeBuffer{}}
	started := time.Now().Add(-time.Minute)
	sessions := fakeSessions{}
	for i := range 12 {
		s := Session{ID: fmt.Sprintf("inst-%d", i+1), Client: "192.0.2.1:5000", Listener: "irc", Backend: "main/a", State: "relay", Registered: true, Started: started}
		if i >= 10 {
			s.Backend, s.State = "", "waiting"
		}
		sessions.list = append(sessions.list, s)
	}
	opt := Options{Process: r.process, Pools: r.pools, Sessions: sessions, Moves: r.moves, Finder: fakeFinder{"alice": "inst-3", "ghost": "elsewhere"},
		Events: r.events, Metrics: NewMetrics(r.registry), Log: slog.New(slog.NewTextHandler(r.log, nil))}
	for _, c := range change {
		c(&opt)
	}
	r.server = New(opt)
	r.socket = filepath.Join(t.TempDir(), "admin.sock")
	l, err := Listen(r.socket, "")
	if err != nil {
		t.Fatal(err)
	}
	serve(t, r.server, l)
	r.client = NewClient(r.socket)
	t.Cleanup(r.client.Close)
	return r
}

// serve runs a server until the end of the test.
func serve(t *testing.T, s *Server, l net.Listener) {
	t.Helper()
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
}

// safeBuffer takes a log from many goroutines; a reader can wait for a line.
type safeBuffer struct {
	mu   sync.Mutex
	b    bytes.Buffer
	more chan struct{}
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.more != nil {
		close(s.more)
		s.more = nil
	}
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// await waits until the log has what enough wants.
func (s *safeBuffer) await(t *testing.T, what string, enough func(string) bool) string {
	t.Helper()
	timeout := time.After(10 * time.Second)
	for {
		s.mu.Lock()
		text := s.b.String()
		if s.more == nil {
			s.more = make(chan struct{})
		}
		more := s.more
		s.mu.Unlock()
		if enough(text) {
			return text
		}
		select {
		case <-more:
		case <-timeout:
			t.Fatalf("the log never had %s:\n%s", what, text)
		}
	}
}
