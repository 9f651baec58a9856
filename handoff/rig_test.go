package handoff

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff/protocol"
	"github.com/ircferry/ircferry/internal/config"
)

// fakeIrcd is an ircd as a coordinator sees it: who is live in it, what it knows of transactions, and how it misbehaves.
type fakeIrcd struct {
	mu     sync.Mutex
	name   string
	epoch  int
	dead   bool
	live   map[string]bool
	source map[string]protocol.SourceState
	dest   map[string]protocol.DestState
	staged map[string][]string
	users  map[string][]string // exported, by tx

	// fault is asked before each verb: an error is the answer; before and after say whether the verb was carried out.
	fault func(verb string) fault
	out   map[string]uint64 // lies about out= by user
	notes protocol.Prepared // given at PREPARE
	came  int               // unmovable users since HELLO, told at END
	extra string            // a user whom nobody selected, exported all the same
	deaf  bool              // does not notice the end of a conversation
	quit  string            // of the last RELEASE
	kicks []string          // of each IMPORT
	sea   []string          // exported as members of #sea
	taken string            // the user or channel that PREPARE tells a conflict of, if it came
	hello protocol.Hello
}

// fault is how one question goes wrong.
type fault struct {
	err    error // the answer, nil: the true one
	doIt   bool  // carry the verb out although err is answered: a lost answer
	kill   bool  // the process ends after it
	stall  bool  // no answer until the asker gives up
	revive bool  // after kill: a new process is there at once
}

var errLost = errors.New("connection reset") // stands for every broken connection

func newFakeIrcd(name string, users ...string) *fakeIrcd {
	i := &fakeIrcd{name: name}
	i.start()
	for _, u := range users {
		i.live[u] = true
	}
	return i
}

// start is a new process: nothing of the old one is left.
func (i *fakeIrcd) start() {
	i.epoch++
	i.dead = false
	i.live, i.out = map[string]bool{}, map[string]uint64{}
	i.source, i.dest = map[string]protocol.SourceState{}, map[string]protocol.DestState{}
	i.staged, i.users = map[string][]string{}, map[string][]string{}
}

func (i *fakeIrcd) Connect(ctx context.Context, b *backend.Backend) (Party, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.dead {
		return nil, fmt.Errorf("dial: %w", syscall.ECONNREFUSED)
	}
	h := i.hello
	h.Name, h.Epoch, h.Stream, h.Users = i.name, fmt.Sprint(i.name, i.epoch), "127.0.0.1:1", len(i.live)
	return &fakeParty{i: i, epoch: i.epoch, info: h}, nil
}

// fakeParty is one conversation; the end of it resumes what it froze.
type fakeParty struct {
	i      *fakeIrcd
	epoch  int
	info   protocol.Hello
	frozen string
	broken bool
	got    []string
	clash  []protocol.Note
}

func (p *fakeParty) Info() protocol.Hello { return p.info }

// do asks one question, with its fault.
func (p *fakeParty) do(ctx context.Context, verb string, f func() error) error {
	p.i.mu.Lock()
	if p.i.dead || p.epoch != p.i.epoch || p.broken {
		p.i.mu.Unlock()
		return errLost
	}
	var x fault
	if p.i.fault != nil {
		x = p.i.fault(verb)
	}
	var err error
	if (x.err == nil && !x.stall) || x.doIt {
		err = f()
	}
	if x.err != nil {
		err = x.err
	}
	if x.kill {
		p.i.dead = true
		if x.revive {
			p.i.start()
		}
	}
	if x.stall {
		p.broken = true
	}
	if errors.Is(err, errLost) {
		p.breakOffLocked()
	}
	p.i.mu.Unlock()
	if x.stall {
		<-ctx.Done()
		return fmt.Errorf("%w: %w", errLost, ctx.Err())
	}
	return err
}

func (p *fakeParty) breakOffLocked() {
	p.broken = true
	if p.frozen != "" && p.i.source[p.frozen] == protocol.SourceFrozen {
		p.i.source[p.frozen] = protocol.SourceResumed
	}
}

func (p *fakeParty) Close() error {
	p.i.mu.Lock()
	defer p.i.mu.Unlock()
	if p.epoch == p.i.epoch && !p.i.deaf {
		p.breakOffLocked()
	}
	return nil
}

func (p *fakeParty) Export(ctx context.Context, r protocol.ExportRequest, emit func(protocol.Message) error) (end protocol.End, err error) {
	err = p.do(ctx, "EXPORT", func() error {
		if !r.Peek {
			p.i.source[r.Tx], p.frozen = protocol.SourceFrozen, r.Tx
		}
		end.Unmovable = p.i.came
		if p.i.extra != "" {
			r.Select = append(r.Select, protocol.Selection{U: p.i.extra})
		}
		for _, s := range r.Select {
			if !p.i.live[s.U] {
				continue
			}
			end.Users++
			p.i.users[r.Tx] = append(p.i.users[r.Tx], s.U)
			rec := protocol.NewMessage("USER", "u", s.U, "nick", "nick-"+s.U, "in", fmt.Sprint(s.In), "out", fmt.Sprint(p.i.out[s.U]), "rq", "PRIVMSG x :y\r\n", "sq", "sq")
			if err := emit(rec); err != nil {
				return err
			}
		}
		if len(p.i.sea) > 0 {
			if err := emit(protocol.NewChan("#sea", 1).Message); err != nil {
				return err
			}
		}
		for _, u := range p.i.sea {
			if err := emit(protocol.NewMemb(u, "#sea", "").Message); err != nil {
				return err
			}
		}
		return nil
	})
	return end, err
}

func (p *fakeParty) Release(ctx context.Context, tx, quit string) error {
	return p.do(ctx, "RELEASE", func() error {
		p.i.quit = quit
		switch p.i.source[tx] {
		case protocol.SourceFrozen, protocol.SourceReleased:
			p.i.source[tx] = protocol.SourceReleased
			for _, u := range p.i.users[tx] {
				delete(p.i.live, u)
			}
			return nil
		}
		return &protocol.Error{Code: protocol.CodeResumed, Tx: tx}
	})
}

func (p *fakeParty) Resume(ctx context.Context, tx string) error {
	return p.do(ctx, "RESUME", func() error { p.i.source[tx] = protocol.SourceResumed; return nil })
}

func (p *fakeParty) Import(ctx context.Context, tx, tok string, lease time.Duration, kick string) error {
	return p.do(ctx, "IMPORT", func() error {
		p.i.kicks = append(p.i.kicks, kick)
		if lease > protocol.MaxLease {
			return &protocol.Error{Code: protocol.CodeBadValue, Tx: tx}
		}
		for _, state := range p.i.dest {
			if state == protocol.DestStaging || state == protocol.DestPrepared {
				return &protocol.Error{Code: protocol.CodeBusy, Tx: tx}
			}
		}
		p.i.dest[tx] = protocol.DestStaging
		return nil
	})
}

func (p *fakeParty) Record(ctx context.Context, rec protocol.Message) error {
	for _, secret := range []string{"rq", "sq", "in", "out"} {
		if rec.Has(secret) {
			return fmt.Errorf("record for a destination has %s", secret)
		}
	}
	switch {
	case rec.Verb == protocol.VerbUser:
		p.got = append(p.got, rec.Get("u"))
		if rec.Get("u") == p.i.taken {
			p.clash = append(p.clash, protocol.Note{U: p.i.taken, Code: "nick-in-use"})
		}
	case rec.Verb == protocol.VerbChan && rec.Get("n") == p.i.taken:
		p.clash = append(p.clash, protocol.Note{C: p.i.taken, Code: "channel-exists"})
	}
	return nil
}

func (p *fakeParty) Prepare(ctx context.Context, tx string) (answer protocol.Prepared, err error) {
	err = p.do(ctx, "PREPARE", func() error {
		answer = p.i.notes
		answer.Conflicts = append(slices.Clone(answer.Conflicts), p.clash...)
		answer.Users += len(p.got)
		p.i.staged[tx], p.i.dest[tx] = p.got, protocol.DestPrepared
		return nil
	})
	return answer, err
}

func (p *fakeParty) Commit(ctx context.Context, tx string) (int, error) {
	err := p.do(ctx, "COMMIT", func() error {
		switch p.i.dest[tx] {
		case protocol.DestPrepared, protocol.DestCommitted:
			p.i.dest[tx] = protocol.DestCommitted
			for _, u := range p.i.staged[tx] {
				p.i.live[u] = true
			}
			return nil
		}
		return &protocol.Error{Code: "not-prepared", Tx: tx}
	})
	return len(p.i.staged[tx]), err
}

func (p *fakeParty) Abort(ctx context.Context, tx string) error {
	return p.do(ctx, "ABORT", func() error { p.i.dest[tx] = protocol.DestAborted; return nil })
}

func (p *fakeParty) Status(ctx context.Context, tx string) (s protocol.Status, err error) {
	err = p.do(ctx, "STATUS", func() error {
		s = protocol.Status{Source: p.i.source[tx], Dest: p.i.dest[tx]}
		return nil
	})
	return s, err
}

// fakeSessions is the proxy as a coordinator sees it.
type fakeSessions struct {
	mu      sync.Mutex
	at      map[string]string // session: backend, "" parked, "ended"
	frozen  map[string]bool
	next    map[string]string // attached stream: backend
	unreg   map[string]bool
	gated   bool
	attach  map[string]backend.Cause
	readUp  map[string]backend.Cause
	splice  map[string]backend.Cause
	reopen  map[string]backend.Cause
	limit   int
	splices map[string]backend.Splice
	dead    func(backendName string) bool // nobody listens there: its streams have ended, new ones are refused
}

func newFakeSessions(at string, us ...string) *fakeSessions {
	s := &fakeSessions{at: map[string]string{}, frozen: map[string]bool{}, next: map[string]string{}, unreg: map[string]bool{}, limit: 20000, splices: map[string]backend.Splice{}}
	for _, u := range us {
		s.at[u] = at
	}
	return s
}

func (s *fakeSessions) Gate(string)   { s.mu.Lock(); s.gated = true; s.mu.Unlock() }
func (s *fakeSessions) Ungate(string) { s.mu.Lock(); s.gated = false; s.mu.Unlock() }

func (s *fakeSessions) On(_ context.Context, b string) (refs []backend.SessionRef, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for u, at := range s.at {
		if at == b {
			refs = append(refs, backend.SessionRef{U: u, Registered: !s.unreg[u]})
		}
	}
	slices.SortFunc(refs, func(a, b backend.SessionRef) int { return compare(a.U, b.U) })
	return refs, nil
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func (s *fakeSessions) AwaitRegistered(ctx context.Context, b string) int {
	s.mu.Lock()
	pending := len(s.unreg)
	s.mu.Unlock()
	if pending > 0 {
		<-ctx.Done()
	}
	return pending
}

// each runs a step for every session, with the causes it was told.
func (s *fakeSessions) each(us []string, causes map[string]backend.Cause, step func(u string)) (out []backend.Moved) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range us {
		cause := causes[u]
		if s.at[u] == "ended" {
			cause = backend.CauseGone
		}
		if cause == "" {
			step(u)
		}
		out = append(out, backend.Moved{U: u, Cause: cause, Pause: time.Millisecond})
	}
	return out
}

func (s *fakeSessions) Attach(ctx context.Context, us []string, to backend.AttachTo) []backend.Moved {
	if s.dead(to.Backend) {
		s.Detach(us)
		<-ctx.Done()
		late := map[string]backend.Cause{}
		for _, u := range us {
			late[u] = backend.CauseTimeout
		}
		return s.each(us, late, func(string) {})
	}
	return s.each(us, s.attach, func(u string) { s.next[u] = to.Backend })
}

func (s *fakeSessions) Detach(us []string) { s.each(us, nil, func(u string) { delete(s.next, u) }) }

func (s *fakeSessions) Freeze(ctx context.Context, b string) (out []backend.Frozen, err error) {
	refs, _ := s.On(ctx, b)
	for _, r := range refs {
		s.frozen[r.U] = true
		out = append(out, backend.Frozen{U: r.U, Registered: r.Registered})
	}
	return out, nil
}

func (s *fakeSessions) ReadUp(_ context.Context, cuts []backend.Cut) []backend.Moved {
	var us []string
	for _, c := range cuts {
		us = append(us, c.U)
	}
	return s.each(us, s.readUp, func(string) {})
}

func (s *fakeSessions) Park(us []string, _ string) {
	s.each(us, nil, func(u string) { s.at[u] = "" })
}

func (s *fakeSessions) Splice(_ context.Context, to string, list []backend.Splice) []backend.Moved {
	var us []string
	for _, x := range list {
		us = append(us, x.U)
		s.splices[x.U] = x
	}
	return s.each(us, s.splice, func(u string) {
		if s.next[u] != to {
			panic("splice of a session that is not attached: " + u)
		}
		s.at[u] = to
		delete(s.next, u)
		delete(s.frozen, u)
	})
}

func (s *fakeSessions) Thaw(us []string) []backend.Moved {
	return s.each(us, nil, func(u string) { delete(s.frozen, u); delete(s.next, u) })
}

func (s *fakeSessions) Reopen(_ context.Context, us []string, to string) []backend.Moved {
	return s.each(us, s.reopen, func(u string) { s.at[u] = to; delete(s.frozen, u) })
}

func (s *fakeSessions) End(us []string, _ backend.Cause, _ string) {
	s.each(us, nil, func(u string) { s.at[u] = "ended"; delete(s.frozen, u); delete(s.next, u) })
}

func (s *fakeSessions) Descriptors() (used, limit int) { return 2 * len(s.at), s.limit }

// rig is two ircds, the sessions of the first, and a coordinator.
type rig struct {
	t        *testing.T
	a, b     *fakeIrcd
	sessions *fakeSessions
	c        *Coordinator
	set      *backend.Set
	dir      string
}

func (r *rig) Connect(ctx context.Context, b *backend.Backend) (Party, error) {
	if b.Name() == "a" {
		return r.a.Connect(ctx, b)
	}
	return r.b.Connect(ctx, b)
}

func newRig(t *testing.T, us ...string) *rig {
	t.Helper()
	r := &rig{t: t, a: newFakeIrcd("a", us...), b: newFakeIrcd("b"), sessions: newFakeSessions("main/a", us...), dir: t.TempDir()}
	r.sessions.dead = func(name string) bool {
		i := map[string]*fakeIrcd{"main/a": r.a, "main/b": r.b}[name]
		i.mu.Lock()
		defer i.mu.Unlock()
		return i.dead
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	set, err := backend.NewSet(backend.Options{State: t.TempDir(), Log: log, Instance: "test"})
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
	r.c, _, err = New(Options{Sessions: r.sessions, Backends: set, Driver: r, Journals: r.dir, Log: log,
		Limits: func() Limits {
			return Limits{Deadline: 60 * time.Second, MaxPause: 5 * time.Second, Park: 10 * time.Minute}
		}})
	if err != nil {
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
	return m.Report()
}

// owners checks that every session that lives has its user live in exactly the ircd it is spliced to, and that nobody is live twice.
func (r *rig) owners() {
	r.t.Helper()
	for u, at := range r.sessions.at {
		inA, inB := r.a.live[u] && !r.a.dead, r.b.live[u] && !r.b.dead
		if inA && inB {
			r.t.Errorf("user %s is live twice", u)
		}
		if at == "main/a" && !inA && !r.a.dead || at == "main/b" && !inB && !r.b.dead {
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
