package handoff

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff/protocol"
	"github.com/ircferry/ircferry/internal/config"
)

// mortal is a process of the daemon as its Coordinator sees it, that can be killed at any call: from then on nothing that the Coordinator does has an
// effect. What it has written is there, its conversations end, and its sessions are there for the next one.
type mortal struct {
	r  *rig
	at int // the point at which it is killed: each call has one before it and one behind it

	mu      sync.Mutex
	points  int
	dead    bool
	died    chan struct{}
	journal string // directory of its journals
	dir     string // what it has left of them
	parties []Party
	where   string
}

// point is one at which the process may be killed; false: it was.
func (m *mortal) point(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return false
	}
	if m.points++; m.points != m.at {
		return true
	}
	m.dead, m.where = true, name
	m.r.t.Logf("killed %s", name)
	if err := os.CopyFS(m.dir, os.DirFS(m.journal)); err != nil {
		m.r.t.Error(err)
	}
	for _, p := range m.parties {
		p.Close()
	}
	close(m.died)
	return false
}

func (m *mortal) call(name string, f func()) {
	if m.point("before " + name) {
		f()
		m.point("behind " + name)
	}
}

func (m *mortal) killed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.dead
}

// Connect implements Driver.
func (m *mortal) Connect(ctx context.Context, b *backend.Backend) (Party, error) {
	if !m.point("connect " + b.Name()) {
		return nil, errLost
	}
	p, err := m.r.Connect(ctx, b)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		p.Close()
		return nil, errLost
	}
	m.parties = append(m.parties, p)
	return &mortalParty{p, m, b.Name()}, nil
}

type mortalParty struct {
	Party
	m    *mortal
	name string
}

func (p *mortalParty) ask(verb string, f func() error) error {
	err := error(errLost)
	p.m.call(p.name+" "+verb, func() { err = f() })
	if p.m.killed() {
		return errLost
	}
	return err
}

func (p *mortalParty) Export(ctx context.Context, r protocol.ExportRequest, emit func(protocol.Message) error) (end protocol.End, err error) {
	err = p.ask("EXPORT", func() (err error) { end, err = p.Party.Export(ctx, r, emit); return err })
	return end, err
}

func (p *mortalParty) Release(ctx context.Context, tx, quit string) error {
	return p.ask("RELEASE", func() error { return p.Party.Release(ctx, tx, quit) })
}

func (p *mortalParty) Resume(ctx context.Context, tx string) error {
	return p.ask("RESUME", func() error { return p.Party.Resume(ctx, tx) })
}

func (p *mortalParty) Import(ctx context.Context, tx, tok string, lease time.Duration, kick string, links bool) error {
	return p.ask("IMPORT", func() error { return p.Party.Import(ctx, tx, tok, lease, kick, links) })
}

func (p *mortalParty) Record(ctx context.Context, rec protocol.Message) error {
	if p.m.killed() {
		return errLost
	}
	return p.Party.Record(ctx, rec)
}

func (p *mortalParty) Prepare(ctx context.Context, tx string) (got protocol.Prepared, err error) {
	err = p.ask("PREPARE", func() (err error) { got, err = p.Party.Prepare(ctx, tx); return err })
	return got, err
}

func (p *mortalParty) Commit(ctx context.Context, tx string, quit, quiet bool) (got protocol.Committed, err error) {
	err = p.ask("COMMIT", func() (err error) { got, err = p.Party.Commit(ctx, tx, quit, quiet); return err })
	return got, err
}

func (p *mortalParty) Abort(ctx context.Context, tx string) error {
	return p.ask("ABORT", func() error { return p.Party.Abort(ctx, tx) })
}

func (p *mortalParty) Status(ctx context.Context, tx string) (got protocol.Status, err error) {
	err = p.ask("STATUS", func() (err error) { got, err = p.Party.Status(ctx, tx); return err })
	return got, err
}

// mortalSessions are the sessions of the rig, as long as the process lives.
type mortalSessions struct {
	*fakeSessions
	m *mortal
}

func (s mortalSessions) moved(name string, f func() []backend.Moved) (all []backend.Moved) {
	s.m.call("proxy "+name, func() { all = f() })
	if s.m.killed() {
		return nil
	}
	return all
}

func (s mortalSessions) Gate(p string) { s.m.call("proxy Gate", func() { s.fakeSessions.Gate(p) }) }
func (s mortalSessions) Ungate(p string) {
	s.m.call("proxy Ungate", func() { s.fakeSessions.Ungate(p) })
}
func (s mortalSessions) On(ctx context.Context, b string) ([]backend.SessionRef, error) {
	if s.m.killed() {
		return nil, errLost
	}
	return s.fakeSessions.On(ctx, b)
}
func (s mortalSessions) Attach(ctx context.Context, us []string, to backend.AttachTo) []backend.Moved {
	return s.moved("Attach", func() []backend.Moved { return s.fakeSessions.Attach(ctx, us, to) })
}
func (s mortalSessions) Detach(us []string) {
	s.m.call("proxy Detach", func() { s.fakeSessions.Detach(us) })
}
func (s mortalSessions) Freeze(ctx context.Context, b string) (all []backend.Frozen, err error) {
	err = errLost
	s.m.call("proxy Freeze", func() { all, err = s.fakeSessions.Freeze(ctx, b) })
	return all, err
}
func (s mortalSessions) ReadUp(ctx context.Context, cuts []backend.Cut) []backend.Moved {
	return s.moved("ReadUp", func() []backend.Moved { return s.fakeSessions.ReadUp(ctx, cuts) })
}
func (s mortalSessions) Park(us []string, n string) {
	s.m.call("proxy Park", func() { s.fakeSessions.Park(us, n) })
}
func (s mortalSessions) Await(us []string, n string) {
	s.m.call("proxy Await", func() { s.fakeSessions.Await(us, n) })
}

// Splice may be cut short in its midst.
func (s mortalSessions) Splice(ctx context.Context, to string, list []backend.Splice) []backend.Moved {
	return s.moved("Splice", func() (all []backend.Moved) {
		for i := range list {
			if i > 0 && !s.m.point("in proxy Splice") {
				return all
			}
			all = append(all, s.fakeSessions.Splice(ctx, to, list[i:i+1])...)
		}
		return all
	})
}
func (s mortalSessions) Thaw(us []string) []backend.Moved {
	return s.moved("Thaw", func() []backend.Moved { return s.fakeSessions.Thaw(us) })
}
func (s mortalSessions) Reopen(ctx context.Context, us []string, to string) []backend.Moved {
	return s.moved("Reopen", func() []backend.Moved { return s.fakeSessions.Reopen(ctx, us, to) })
}
func (s mortalSessions) End(us []string, c backend.Cause, text string) {
	s.m.call("proxy End", func() { s.fakeSessions.End(us, c, text) })
}
func (s mortalSessions) Streams(ctx context.Context, us []string, next bool) backend.Streams {
	if s.m.killed() {
		return backend.Streams{}
	}
	return s.fakeSessions.Streams(ctx, us, next)
}

// heldNow are the sessions that a process finds that comes after one that was killed.
func (s *fakeSessions) heldNow() (held []backend.Held) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gated = false // a gate ends with its process
	for u, at := range s.at {
		n := s.next[u]
		if s.frozen[u] {
			held = append(held, backend.Held{U: u, From: "main/a", Parked: at == "", Registered: !s.unreg[u], Attached: n != nil && n.ours})
		} else { // what is attached beside a session that relays is dropped
			n.close()
			delete(s.next, u)
		}
	}
	slices.SortFunc(held, func(a, b backend.Held) int { return strings.Compare(a.U, b.U) })
	return held
}

// mortally makes a process of opt that is killed at a point; 0: at none.
func (r *rig) mortally(at int, opt *Options) *mortal {
	m := &mortal{r: r, at: at, died: make(chan struct{}), journal: opt.Journals, dir: r.t.TempDir()}
	opt.Sessions, opt.Driver = mortalSessions{r.sessions, m}, m
	return m
}

// first is the first process.
func (r *rig) first(at int) *mortal {
	r.t.Helper()
	opt := r.opt
	m := r.mortally(at, &opt)
	c, _, err := New(opt)
	if err != nil {
		r.t.Fatal(err)
	}
	r.c = c
	return m
}

// restart is the next process, which is killed at a point, too, if that is not 0.
func (r *rig) restart(m *mortal, at int) (*mortal, []Interrupted) {
	r.t.Helper()
	old := r.c
	go old.Close(context.Background()) // what it still does has no effect
	set, err := backend.NewSet(backend.Options{State: r.state, Log: r.opt.Log, Instance: "test", Dial: r.dialCheck})
	if err != nil {
		r.t.Fatal(err)
	}
	pool, _ := r.set.Pool("main")
	if err := set.Apply(map[string]config.Pool{"main": pool.Config()}); err != nil {
		r.t.Fatal(err)
	}
	before := r.set
	r.t.Cleanup(func() { before.Close() })
	r.set = set
	opt := r.opt
	opt.Backends, opt.Journals, opt.Held = set, m.dir, r.sessions.heldNow()
	again := r.mortally(at, &opt)
	next, interrupted, err := New(opt)
	if err != nil {
		r.t.Fatal(err)
	}
	r.c, r.dir = next, m.dir
	next.Start()
	next.Forget(interrupted, time.Second) // as the daemon does
	return again, interrupted
}

// killedAt plays a move whose process is killed at a point, and the next one. False: there are fewer points.
func killedAt(t *testing.T, r *rig, begin func(*rig) (*Move, error), park func(*rig), end func(*rig) error, at int) bool {
	m := r.first(at)
	move, err := begin(r)
	if err == nil {
		parked := move.Parked()
		if move.request.Kind == KindDrain {
			parked = move.Done()
		}
		select {
		case <-parked:
		case <-m.died:
		case <-time.After(5 * time.Second):
		}
	} else if !m.killed() {
		t.Fatal(err)
	}
	if park != nil && !m.killed() {
		park(r)
	}
	ended := false
	if !m.killed() {
		ended = true
		if err := end(r); err != nil {
			t.Fatal(err)
		}
		select {
		case <-move.Done():
		case <-m.died:
		}
	}
	if !m.killed() {
		r.owners()
		return false
	}
	_, interrupted := r.restart(m, 0)
	time.Sleep(5 * time.Second)
	if park != nil && !ended {
		park(r)
	}
	for _, one := range r.c.Running() {
		if one.waits() || one.Kind == KindPause {
			end(r) // it may be on its way by itself
		}
	}
	if park != nil {
		end(r)
	}
	time.Sleep(11 * time.Minute)
	r.survived(m, interrupted)
	return true
}

// survived checks what must be when a process was killed and the next one has had its time.
func (r *rig) survived(m *mortal, interrupted []Interrupted) {
	r.t.Helper()
	if err := r.c.Close(r.t.Context()); err != nil { // what is owed to one that is away for ever is asked for no longer
		r.t.Error(err)
	}
	r.owners()
	for u, at := range r.sessions.at {
		if at == "ended" && u != "u2" { // u2 is the one who is in trouble in some of the moves
			r.t.Errorf("killed %s: session %s has ended", m.where, u)
		}
	}
	for _, report := range r.c.Moves() {
		balanced(r.t, report)
		if !report.State.Ended() || report.Failed > 1 {
			r.t.Errorf("killed %s: %+v", m.where, report)
		}
	}
	for _, i := range []*fakeIrcd{r.a, r.b} {
		i.mu.Lock()
		i.timersLocked()
		if i.imports != nil || i.export != nil {
			r.t.Errorf("killed %s: %s has an import open %v, an export %v", m.where, i.name, i.imports != nil, i.export != nil)
		}
		i.mu.Unlock()
	}
	for _, path := range journals(r.t, r.dir) {
		if !strings.HasSuffix(path, ".interrupted") || len(interrupted) == 0 {
			r.t.Errorf("killed %s: %s is left", m.where, path)
		}
	}
	if wrong := r.sessions.wrong; len(wrong) > 0 {
		r.t.Errorf("killed %s: %v", m.where, wrong)
	}
	if r.t.Failed() {
		for _, report := range r.c.Moves() {
			r.t.Logf("killed %s: %+v", m.where, report)
		}
	}
}

// The daemon is killed before and behind every call of a move, and in the midst of the splices; its sessions survive. The next process goes back or on with the journal:
// nobody is lost, and nobody is live twice.
func TestKilledAtEveryCall(t *testing.T) {
	for name, c := range parkings {
		if c.state != StateDone || slices.Contains([]string{"hold and release", "cancelled", "pause to its end"}, name) {
			continue // they have the calls of others
		}
		points := 0
		for killed := true; killed; points++ {
			t.Run(fmt.Sprint(name, "/", points+1), func(t *testing.T) {
				in(t, func(t *testing.T, r *rig) { killed = killedAt(t, r, c.begin, c.park, c.end, points+1) })
			})
		}
		if points < 10 {
			t.Errorf("%s: %d points", name, points)
		}
	}
	t.Run("drain", func(t *testing.T) {
		begin := func(r *rig) (*Move, error) {
			from, _ := r.c.find("main", "a")
			to, _ := r.c.find("main", "b")
			return r.c.start(Request{Kind: KindDrain, Pool: "main", From: "a", To: "b"}, from, to)
		}
		points := 0
		for killed := true; killed; points++ {
			t.Run(fmt.Sprint(points+1), func(t *testing.T) {
				in(t, func(t *testing.T, r *rig) {
					killed = killedAt(t, r, begin, nil, func(*rig) error { return nil }, points+1)
				})
			})
		}
		if points < 30 {
			t.Errorf("%d points", points)
		}
	})
}

// Processes that are killed one after the other, at points by chance, each in the midst of what it does for the one before it.
func TestKilledAgainAndAgain(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	moves := 80
	if n, err := strconv.ParseUint(os.Getenv("IRCFERRY_KILL_SEED"), 10, 64); err == nil {
		seed, moves = n, 1
	} else if testing.Short() {
		moves /= 8
	}
	for i := range moves {
		one := seed + uint64(i)
		if !t.Run(fmt.Sprintf("IRCFERRY_KILL_SEED=%d", one), func(t *testing.T) {
			in(t, func(t *testing.T, r *rig) { killedByChance(t, r, rand.New(rand.NewPCG(one, 3))) })
		}) {
			return
		}
	}
}

func killedByChance(t *testing.T, r *rig, rnd *rand.Rand) {
	kind, to := []Kind{KindDrain, KindHold, KindRestart}[rnd.IntN(3)], []string{"a", "b"}[rnd.IntN(2)]
	m := r.first(1 + rnd.IntN(50))
	from, _ := r.c.find("main", "a")
	var dest *backend.Backend
	if kind == KindDrain {
		dest, _ = r.c.find("main", "b")
		to = "b"
	}
	request := Request{Kind: kind, Pool: "main", From: "a"}
	if dest != nil {
		request.To = "b"
	}
	_, err := r.c.start(request, from, dest)
	if err != nil && !m.killed() {
		t.Fatal(err)
	}
	var interrupted []Interrupted
	for kills := 0; ; {
		select {
		case <-m.died:
			next := 1 + rnd.IntN(50)
			if kills++; kills == 4 {
				next = 0
			}
			var found []Interrupted
			m, found = r.restart(m, next)
			interrupted = append(interrupted, found...)
			continue
		case <-time.After(3 * time.Second):
		}
		running := r.c.Running()
		if len(running) == 0 {
			break
		}
		if kind == KindRestart && rnd.IntN(2) == 0 {
			r.a.mu.Lock()
			if r.a.imports == nil && len(r.a.live) == 0 {
				r.a.start()
			}
			r.a.mu.Unlock()
		}
		if running[0].waits() {
			r.c.Release("main", "a", to, "test")
		}
	}
	time.Sleep(11 * time.Minute)
	if m.killed() {
		m, _ = r.restart(m, 0)
		time.Sleep(11 * time.Minute)
	}
	r.survived(m, interrupted)
}
