package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ircferry/ircferry/admin"
	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff"
)

// TestMain lets a test run this binary as ferryctl itself, for what only a process has: signals and its exit code.
func TestMain(m *testing.M) {
	if os.Getenv("FERRYCTL_TEST_MAIN") == "1" {
		main()
	}
	time.Local = time.UTC
	code := m.Run()
	if realTests {
		if binary, err := ircferry(); err == nil {
			os.RemoveAll(filepath.Dir(binary))
		}
	}
	os.Exit(code)
}

// change is one step of a move's script.
type change func(*handoff.Report)

// scripted is a coordinator whose moves follow a script after each command, as fast as they are watched.
type scripted struct {
	mu      sync.Mutex
	reports []handoff.Report // newest first
	changed chan struct{}
	calls   []string
	refuse  error
	plan    handoff.Plan

	onDrain, onHold, onRelease, onCancel []change
	cancelErr                            error
}

func (s *scripted) begin(verb string, r handoff.Request, script *[]change) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, fmt.Sprintf("%s %s/%s", verb, r.Pool, r.From))
	if s.refuse != nil {
		return "", s.refuse
	}
	id := fmt.Sprintf("m%d", len(s.reports)+1)
	s.reports = slices.Insert(s.reports, 0, handoff.Report{ID: id, Kind: r.Kind, Pool: r.Pool, From: r.From, To: r.To, Actor: r.Actor,
		State: handoff.StateRunning, Step: handoff.StepCheck, Started: time.Now()})
	go s.play(id, *script)
	return id, nil
}

// play changes a move step by step.
func (s *scripted) play(id string, script []change) {
	for _, c := range script {
		s.mu.Lock()
		for i := range s.reports {
			if s.reports[i].ID == id {
				c(&s.reports[i])
			}
		}
		if s.changed != nil {
			close(s.changed)
			s.changed = nil
		}
		s.mu.Unlock()
	}
}

func (s *scripted) Drain(r handoff.Request) (string, error) { return s.begin("drain", r, &s.onDrain) }
func (s *scripted) Hold(r handoff.Request) (string, error) {
	return s.begin(string(r.Kind), r, &s.onHold)
}

func (s *scripted) Pause(r handoff.Request) (string, error) { return s.begin("pause", r, &s.onHold) }

func (s *scripted) Resume(pool, name string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, "resume "+pool+"/"+name)
	for _, r := range s.reports {
		if r.State == handoff.StateParked && r.Kind == handoff.KindPause {
			go s.play(r.ID, s.onRelease)
			return r.ID, nil
		}
	}
	return "", &handoff.Refused{Reason: pool + "/" + name + " is not paused", Hint: "ferryctl show moves tells what is"}
}

func (s *scripted) Release(pool, name, to, actor string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, strings.TrimSpace("release "+pool+"/"+name+" "+to))
	for _, r := range s.reports {
		if r.State == handoff.StateParked {
			go s.play(r.ID, s.onRelease)
			return r.ID, nil
		}
	}
	return "", &handoff.Refused{Reason: pool + "/" + name + " is not held", Hint: "ferryctl show moves tells what is"}
}

func (s *scripted) Cancel(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, "cancel "+id)
	if s.cancelErr != nil {
		return s.cancelErr
	}
	go s.play(id, s.onCancel)
	return nil
}

func (s *scripted) DryRun(context.Context, handoff.Request) (handoff.Plan, error) {
	return s.plan, s.refuse
}

func (s *scripted) Moves() []handoff.Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.reports)
}

func (s *scripted) Watch(id string) (handoff.Report, <-chan struct{}, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	for _, r := range s.reports {
		if r.ID == id {
			return r, s.changed, true
		}
	}
	return handoff.Report{}, nil, false
}

func (s *scripted) said() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.calls, ", ")
}

// Steps of scripts.

func at(step handoff.Step) change { return func(r *handoff.Report) { r.Step = step } }

func parked(r *handoff.Report) {
	r.State, r.Step, r.Attempted, r.Note = handoff.StateParked, handoff.StepPark, 5, "5 users of main/a are held; it may be stopped now"
}

func done(r *handoff.Report) {
	r.State, r.Step, r.Note, r.Ended, r.Attempted, r.Moved = handoff.StateDone, handoff.StepThaw, "", r.Started.Add(340*time.Millisecond), 5, 5
	r.Pause, r.HeldLines = handoff.Pause{P50: 12.3, P99: 40, Max: 41.5}, 17
}

func partly(r *handoff.Report) {
	done(r)
	r.Moved, r.Failed, r.Left = 3, 1, 1
	r.Named = []handoff.Named{{Session: "inst-4", Nick: "carol", Outcome: "failed", Cause: "conflict", Text: "nick-in-use: bob has it"}, {Session: "inst-9", Outcome: "left", Cause: "gone"}}
	r.Warnings = []handoff.Warning{{Session: "inst-2", Code: "no-mode", Key: "m.cloak", Text: "not \x1b[31mkept"}}
}

// split is a move of which one server link has gone along and one has not.
func split(r *handoff.Report) {
	done(r)
	r.Links = []handoff.LinkRow{{Link: "services.example", SID: "00S", State: handoff.LinkLive, Away: 812.4, Kept: 99},
		{Link: "leaf.example", SID: "00B", State: handoff.LinkGivenUp, Cause: "it is \x1b[31mgone"}}
}

func reverted(r *handoff.Report) {
	r.State, r.Ended, r.Attempted, r.Reverted, r.Error = handoff.StateReverted, r.Started.Add(time.Second), 5, 5, "push main/b: connection lost"
}

func timedOut(r *handoff.Report) {
	reverted(r)
	r.TimedOut, r.Error = true, "pull main/a: the deadline of the move is over (1s)"
}

func failed(r *handoff.Report) {
	r.State, r.Ended, r.Attempted, r.Failed, r.Journal = handoff.StateFailed, r.Started.Add(time.Minute), 5, 5, "/var/lib/ircferry/moves/m1"
	r.Error = "nobody released main/a within moves.park"
}

// still is a picture of a daemon that never changes.
type still struct {
	pools    []admin.Pool
	sessions []admin.Session
	certs    []admin.Certificate
	reload   error
}

func newStill() *still {
	hello := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	a := admin.Backend{Name: "a", Pool: "main", Driver: "native", Address: "unix:/run/irc-a/handoff.sock", Admin: "ready", Oper: "up", Serving: true, Weight: 100,
		Sessions: 5, Software: "InspIRCd", Version: "3.15", Users: 6, Unmovable: 1, Channels: 2, Links: 0, Epoch: "e1", Hello: &hello}
	b := admin.Backend{Name: "b", Pool: "main", Driver: "native", Address: "unix:/run/irc-b/handoff.sock", Admin: "drain", Oper: "down", Cause: "HELLO: connect: connection refused", Backup: true, Weight: 100}
	c := admin.Backend{Name: "c", Pool: "web", Driver: "none", Address: "127.0.0.1:6670", Admin: "ready", Oper: "up", Weight: 50, Sessions: 1234}
	s := &still{pools: []admin.Pool{{Name: "main", Topology: "standalone", Serving: "a", Backends: []admin.Backend{a, b}, Links: []admin.Link{
		{Name: "services.example", Listen: "127.0.0.1:7100", State: "cut", Backend: "main/a", SID: "00S", Proto: 1205, HeldSeconds: 2.5, KeptBytes: 512, HoldBytes: 64 << 20, GivenUp: 1},
		{Name: "leaf.example", Listen: "127.0.0.1:7101", State: "down", HoldBytes: 64 << 20, Refused: 3}}},
		{Name: "web", Topology: "linked", Backends: []admin.Backend{c}}}}
	for i := range 3 {
		s.sessions = append(s.sessions, admin.Session{ID: fmt.Sprintf("inst-%d", i+1), Client: fmt.Sprintf("192.0.2.%d:50000", i+1), Listener: "irc",
			Backend: "main/a", State: "relay", Registered: i != 2, Started: time.Now().Add(-90 * time.Second), BytesIn: 512 << (10 * i), BytesOut: 100, HeldBytes: i, TLS: "TLSv1.3/TLS_AES_128_GCM_SHA256", CertFP: strings.Repeat("9f", 32)})
	}
	return s
}

func (s *still) Pools() []admin.Pool {
	pools := slices.Clone(s.pools)
	for i := range pools {
		pools[i].Backends = slices.Clone(pools[i].Backends)
	}
	return pools
}

func (s *still) SetAdmin(pool, name string, state backend.AdminState) error {
	for i := range s.pools {
		for j, b := range s.pools[i].Backends {
			if b.Pool == pool && b.Name == name {
				s.pools[i].Backends[j].Admin = string(state)
			}
		}
	}
	return nil
}

func (s *still) Listeners() []admin.Listener {
	return []admin.Listener{
		{Name: "irc", Address: ":6667", Pool: "main", Accepting: true, Connections: 1239, Limit: 20000, Accepted: 99123, Rejected: map[string]uint64{"limit_per_ip": 7, "header_bad": 1}},
		{Name: "spare", Address: "[::1]:6668", Pool: "web", Note: "out of descriptors"}}
}

func (s *still) Certificates() []admin.Certificate { return s.certs }

func (s *still) Counts() admin.Counts {
	return admin.Counts{Total: 1239, States: map[string]int{"relay": 1237, "waiting": 2, "parked": 0}}
}

func (s *still) Sessions(context.Context, string) ([]admin.Session, error) {
	return slices.Clone(s.sessions), nil
}

func (s *still) Session(_ context.Context, id string) (admin.Session, bool, error) {
	for _, x := range s.sessions {
		if x.ID == id {
			return x, true, nil
		}
	}
	return admin.Session{}, false, nil
}

func (s *still) Find(_ context.Context, nick string) ([]admin.Found, error) {
	if nick == "al[i]ce" {
		return []admin.Found{{Backend: "main/a", U: "inst-2", Nick: nick}}, nil
	}
	return nil, nil
}

func (s *still) Info() admin.Status {
	return admin.Status{Version: admin.Version{Version: "0.1.0", Go: "go1.26", API: "v1"}, Instance: "inst", PID: 4711, State: "running",
		Started: time.Now().Add(-26*time.Hour - time.Minute), Descriptors: admin.Descriptors{Used: 2500, Limit: 20000}}
}

func (s *still) Reload(context.Context) (admin.Reloaded, error) {
	if s.reload != nil {
		return admin.Reloaded{}, s.reload
	}
	return admin.Reloaded{SHA256: "0123456789abcdef", Changed: []string{"listener spare: limits"}, NeedsRestart: []string{"loops"}, Warnings: []string{"state: chmod 0700"}}, nil
}

// daemon is an admin API on a real socket, with a script behind it.
type daemon struct {
	stop func() // ends it
	*scripted
	*still
	socket string
	events *admin.Events

	upgrades atomic.Int32 // so many commands are kept out by an upgrade
}

func newDaemon(t *testing.T) *daemon {
	t.Helper()
	d := &daemon{scripted: &scripted{}, still: newStill(), socket: filepath.Join(t.TempDir(), "s"), events: admin.NewEvents(64)}
	server := admin.New(admin.Options{Process: d.still, Pools: d.still, Sessions: d.still, Moves: d.scripted, Finder: d.still, Certs: d.still, Events: d.events, Enter: d.enter})
	l, err := admin.Listen(d.socket, "")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	d.stop = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		<-served
	})
	t.Cleanup(d.stop)
	return d
}

func (d *daemon) enter(string) (func(), error) {
	if d.upgrades.Add(-1) >= 0 {
		return nil, &admin.Error{Code: admin.CodeRefused, Message: "an upgrade is under way", Retry: true}
	}
	return func() {}, nil
}

// answer is what a call of ferryctl left behind.
type answer struct {
	code     int
	out, err string
}

// call runs ferryctl against the daemon.
func (d *daemon) call(t *testing.T, args ...string) answer {
	t.Helper()
	return call(t, nil, append([]string{"--socket", d.socket}, args...)...)
}

func call(t *testing.T, interrupts <-chan os.Signal, args ...string) answer {
	t.Helper()
	var out, errs locked
	code := run(t.Context(), args, streams{in: strings.NewReader(""), out: &out, err: &errs, getenv: func(string) string { return "" }, interrupts: interrupts})
	return answer{code, out.String(), errs.String()}
}

// locked is a stream that a command's own goroutines may write to.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (a answer) String() string {
	return fmt.Sprintf("exit code %d\n--- stdout\n%s--- stderr\n%s", a.code, a.out, a.err)
}

// want checks the code and that each text is on its stream.
func (a answer) want(t *testing.T, code int, out, errs []string) {
	t.Helper()
	if a.code != code {
		t.Errorf("want exit code %d, got %v", code, a)
	}
	for _, w := range out {
		if !strings.Contains(a.out, w) {
			t.Errorf("stdout lacks %q: %v", w, a)
		}
	}
	for _, w := range errs {
		if !strings.Contains(a.err, w) {
			t.Errorf("stderr lacks %q: %v", w, a)
		}
	}
}

// deadSocket is the socket file of a daemon that is gone.
func deadSocket(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "dead")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	return path
}
