package handoff

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/internal/config"
)

// stillTime is how long an upgrade waits for moves to rest, in these tests.
const stillTime = 20 * time.Second

// upgrade puts another Coordinator in the place of the rig's, by way of text, as another process does. An error: the old one goes on.
func (r *rig) upgrade() error {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), stillTime)
	defer cancel()
	old := r.c
	s, err := old.StandStill(ctx)
	if err != nil {
		return err
	}
	next := r.successor(s)
	s.Leave()
	if err := old.Close(ctx); err != nil {
		r.t.Errorf("the process before: %v", err)
	}
	r.c = next
	next.Start()
	return nil
}

// successor is a Coordinator that has not begun.
func (r *rig) successor(s *Standstill) *Coordinator {
	r.t.Helper()
	text, err := json.Marshal(s.Past([]Interrupted{{ID: "old"}}))
	if err != nil {
		r.t.Fatal(err)
	}
	if strings.Contains(string(text), "secret-of-streams") {
		r.t.Error("a secret of the ircd goes along")
	}
	past := new(Past)
	if err := json.Unmarshal(text, past); err != nil {
		r.t.Fatal(err)
	}
	opt := r.opt
	opt.Past = past
	next, interrupted, err := New(opt)
	if err != nil || len(interrupted) != 1 {
		r.t.Fatal(interrupted, err)
	}
	return next
}

// abortive is an upgrade whose new process gets as far as it can and dies.
func (r *rig) abortive() error {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), stillTime)
	defer cancel()
	s, err := r.c.StandStill(ctx)
	if err != nil {
		return err
	}
	r.successor(s)
	s.GoOn()
	return nil
}

// plain is what of a report does not depend on clocks.
func plain(r Report) Report {
	r.ID, r.Started, r.Ended, r.Took, r.Pause, r.Note, r.Journal = "", time.Time{}, time.Time{}, nil, Pause{}, "", ""
	r.out = false
	return r
}

// parkings are moves whose users another process finds parked, or paused.
var parkings = map[string]struct {
	begin func(r *rig) (*Move, error)
	park  func(r *rig) // what happens until an upgrade can be
	end   func(r *rig) error
	state State
}{
	"hold and release": {hold(KindHold), nil, func(r *rig) error { _, err := r.c.Release("main", "a", "", "test"); return err }, StateDone},
	"to another":       {hold(KindHold), nil, func(r *rig) error { _, err := r.c.Release("main", "a", "b", "test"); return err }, StateDone},
	"cancelled":        {hold(KindHold), nil, func(r *rig) error { return r.c.Cancel(r.c.Moves()[0].ID) }, StateDone},
	"one has ended": {hold(KindHold), func(r *rig) { r.sessions.mu.Lock(); r.sessions.end("u2"); r.sessions.mu.Unlock() },
		func(r *rig) error { _, err := r.c.Release("main", "a", "b", "test"); return err }, StateDone},
	"one is not registered": {func(r *rig) (*Move, error) { r.sessions.unreg["u3"] = true; return hold(KindHold)(r) }, nil,
		func(r *rig) error { _, err := r.c.Release("main", "a", "b", "test"); return err }, StateDone},
	"one was refused": {hold(KindHold), func(r *rig) {
		r.b.mu.Lock()
		r.b.taken, r.b.fault = "u2", on("COMMIT", 1, fault{err: errLost, kill: true})
		r.b.mu.Unlock()
		r.c.Release("main", "a", "b", "test")
		time.Sleep(5 * time.Second)
	}, func(r *rig) error { r.b.mu.Lock(); r.b.start(); r.b.fault = nil; r.b.mu.Unlock(); return nil }, StateDone},
	"the ircd is away": {hold(KindRestart), func(r *rig) {
		r.a.mu.Lock()
		r.a.dead = true
		r.a.mu.Unlock()
		r.c.Release("main", "a", "", "test")
		time.Sleep(5 * time.Second)
	}, func(r *rig) error { r.a.mu.Lock(); r.a.start(); r.a.mu.Unlock(); return nil }, StateDone},
	"both are away": {func(r *rig) (*Move, error) {
		died := on("COMMIT", 1, fault{err: errLost, kill: true})
		r.b.fault = func(verb string) fault {
			if verb == "COMMIT" {
				r.a.mu.Lock()
				defer r.a.mu.Unlock()
				r.a.hidden = true
			}
			return died(verb)
		}
		from, _ := r.c.find("main", "a")
		to, _ := r.c.find("main", "b")
		return r.c.start(Request{Kind: KindDrain, Pool: "main", From: "a", To: "b", Actor: "test"}, from, to)
	}, func(*rig) { time.Sleep(5 * time.Second) }, func(r *rig) error { r.b.mu.Lock(); r.b.start(); r.b.mu.Unlock(); return nil }, StateDone},
	"pause and resume": {func(r *rig) (*Move, error) { return r.c.Pause(Request{Pool: "main", From: "a"}) }, nil,
		func(r *rig) error { _, err := r.c.Resume("main", "a"); return err }, StateDone},
	"pause to its end": {func(r *rig) (*Move, error) { return r.c.Pause(Request{Pool: "main", From: "a"}) }, nil,
		func(r *rig) error { return nil }, StateDone},
	"nobody releases": {hold(KindHold), nil, func(r *rig) error { return nil }, StateReverted},
	"nobody ever comes": {hold(KindHold), func(r *rig) { r.a.mu.Lock(); r.a.dead = true; r.a.mu.Unlock() },
		func(r *rig) error { return nil }, StateFailed},
}

func hold(kind Kind) func(r *rig) (*Move, error) {
	return func(r *rig) (*Move, error) {
		return r.c.Hold(Request{Kind: kind, Pool: "main", From: "a", Actor: "test"})
	}
}

// Parked and paused users go along through three upgrades, and through ones that fail; the move ends as if nothing had been, with one report.
func TestAnotherProcessGoesOn(t *testing.T) {
	for name, c := range parkings {
		play := func(t *testing.T, r *rig, between func() error) (Report, time.Duration) {
			r.a.hello.SKey = "secret-of-streams"
			began := time.Now()
			m, err := c.begin(r)
			if err != nil {
				t.Fatal(err)
			}
			if m.request.Kind != KindDrain {
				<-m.Parked()
			}
			if c.park != nil {
				c.park(r)
			}
			time.Sleep(7 * time.Second)
			if err := between(); err != nil {
				t.Fatal(err)
			}
			if err := c.end(r); err != nil {
				t.Fatal(err)
			}
			report := r.await(r.c.byID(m.ID()))
			balanced(t, report)
			if report.State != StateFailed {
				r.owners()
			}
			if got := r.c.Moves(); len(got) != 1 || got[0].ID != m.ID() {
				t.Errorf("the list of moves: %+v", got)
			}
			if left := journals(t, r.dir); len(left) > 0 != (report.State == StateFailed) {
				t.Errorf("journals left: %v", left)
			}
			if wrong := r.sessions.wrong; len(wrong) > 0 {
				t.Errorf("%v", wrong)
			}
			return report, time.Since(began)
		}
		var want Report
		var lasts time.Duration
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, r *rig) { want, lasts = play(t, r, func() error { return nil }) })
		})
		if want.State != c.state {
			t.Errorf("%s: %+v", name, want)
		}
		for how, again := range map[string]func(r *rig) error{"upgraded": (*rig).upgrade, "failed": (*rig).abortive} {
			t.Run(name+"/"+how, func(t *testing.T) {
				in(t, func(t *testing.T, r *rig) {
					got, took := play(t, r, func() error {
						for range 3 {
							if err := again(r); err != nil {
								return err
							}
						}
						return nil
					})
					if !reflect.DeepEqual(plain(got), plain(want)) {
						t.Errorf("the report\n%+v\nwithout an upgrade\n%+v", plain(got), plain(want))
					}
					if d := took - lasts; d < -time.Second || d > time.Second {
						t.Errorf("it took %v, without an upgrade %v", took, lasts)
					}
					for step, ms := range want.Took {
						if d := got.Took[step] - ms; d < -1000 || d > 1000 {
							t.Errorf("step %s took %v ms, without an upgrade %v", step, got.Took[step], ms)
						}
					}
				})
			})
		}
	}
}

// An upgrade that comes at any call of a move waits for its end or its next rest, and changes nothing of what becomes of it.
func TestAnotherProcessAtEveryCall(t *testing.T) {
	for name, c := range parkings {
		if strings.HasPrefix(name, "nobody") {
			continue
		}
		calls := 1
		for at := 1; at <= calls; at++ {
			t.Run(fmt.Sprint(name, "/", at), func(t *testing.T) {
				in(t, func(t *testing.T, r *rig) { calls = max(calls, upgradeAt(t, r, c.begin, c.park, c.end, c.state, at)) })
			})
		}
		if calls < 5 {
			t.Errorf("%s: %d calls", name, calls)
		}
	}
}

// upgradeAt plays a move with an upgrade that begins at its nth call of proxy or ircds, and answers how many there were.
func upgradeAt(t *testing.T, r *rig, begin func(*rig) (*Move, error), park func(*rig), end func(*rig) error, state State, at int) int {
	var mu sync.Mutex
	calls, upgraded := 0, make(chan error, 1)
	came := func() {
		mu.Lock()
		defer mu.Unlock()
		if calls++; calls == at {
			go func() { upgraded <- r.upgrade() }()
		}
	}
	r.sessions.before = func(string) { came() }
	hook := func(i *fakeIrcd) {
		i.mu.Lock()
		defer i.mu.Unlock()
		old := i.fault
		i.fault = func(verb string) fault {
			came()
			if old == nil {
				return fault{}
			}
			return old(verb)
		}
	}
	hook(r.a)
	m, err := begin(r)
	hook(r.b)
	if err != nil {
		if errors.Is(err, errUpgrade) {
			return 0 // it was kept out, as commands are
		}
		t.Fatal(err)
	}
	settle := func(d time.Duration) { // an upgrade that has begun ends first, as commands wait for it
		time.Sleep(d)
		mu.Lock()
		begun := calls >= at && upgraded != nil
		mu.Unlock()
		if !begun {
			return
		}
		if err := <-upgraded; err != nil {
			t.Errorf("upgrade: %v", err)
		}
		upgraded = nil
	}
	if m.request.Kind != KindDrain {
		<-m.Parked()
	}
	settle(time.Second)
	if park != nil {
		park(r)
	}
	settle(time.Second)
	if err := end(r); err != nil {
		t.Fatal(err)
	}
	settle(11 * time.Minute) // all has ended
	report := r.await(r.c.byID(m.ID()))
	if report.State != state {
		t.Errorf("%+v", report)
	}
	balanced(t, report)
	r.owners()
	mu.Lock()
	defer mu.Unlock()
	return calls
}

// What cannot rest is waited for, and then named; and nothing begins while moves stand still.
func TestStandStillIsRefused(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		inTheWay(r, call{"a EXPORT", 1}, hangs)
		m, err := r.c.Hold(Request{Pool: "main", From: "a"})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := r.c.StandStill(ctx); !isRefused(err) || !strings.Contains(err.Error(), m.ID()) || !strings.Contains(err.Error(), "at pull") {
			t.Errorf("a move that pulls: %v", err)
		}
		if rest, busy := r.c.Resting(); len(rest) != 0 || len(busy) != 1 {
			t.Errorf("rest %v, busy %v", rest, busy)
		}
		r.await(m)
		s, err := r.c.StandStill(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.c.Hold(Request{Pool: "main", From: "a"}); !errors.Is(err, errUpgrade) {
			t.Errorf("a move that begins in a standstill: %v", err)
		}
		if _, err := r.c.StandStill(t.Context()); !errors.Is(err, errUpgrade) {
			t.Errorf("a second standstill: %v", err)
		}
		s.GoOn()
		inTheWay(r, call{}, hangs)
		if report := r.holdAndRelease("a", func() {}); report.State != StateDone {
			t.Errorf("behind it: %+v", report)
		}
	})
}

// Held links end with their process, so their move does not go along, and says so. Links that were left alone are told by the successor, too.
func TestStandStillWithLinks(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		r.link("services.example")
		m, err := r.c.Hold(Request{Kind: KindHold, Pool: "main", From: "a"})
		if err != nil {
			t.Fatal(err)
		}
		<-m.Parked()
		if _, err := r.c.StandStill(t.Context()); !isRefused(err) || !strings.Contains(err.Error(), "services.example") || !strings.Contains(err.Error(), "ferryctl release main/a first") {
			t.Errorf("%v", err)
		}
		if _, err := r.c.Release("main", "a", "", "test"); err != nil {
			t.Fatal(err)
		}
		report := r.await(m)
		if report.State != StateDone || states(report) != "services.example live" {
			t.Errorf("%+v", report)
		}
		r.linksAreWell(report)
	})
}

// A journal that cannot be read, or has not all users, and a backend that is not there, keep the new process from beginning.
func TestSuccessorRefusesWhatItCannotGoOnWith(t *testing.T) {
	for name, spoil := range map[string]func(p *Past){
		"no journal":      func(p *Past) { p.Under[0].Journal = "none.journal" },
		"a user less":     func(p *Past) { p.Under[0].Dropped = []string{"u1"} },
		"another pool":    func(p *Past) { p.Under[0].Request.Pool = "other" },
		"another backend": func(p *Past) { p.Under[0].Request.From = "z" },
		"no report":       func(p *Past) { p.Moves = nil },
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, r *rig) {
				m, err := r.c.Hold(Request{Pool: "main", From: "a"})
				if err != nil {
					t.Fatal(err)
				}
				<-m.Parked()
				s, err := r.c.StandStill(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				opt, past := r.opt, s.Past(nil)
				spoil(&past)
				opt.Past = &past
				if _, _, err := New(opt); err == nil || !strings.Contains(err.Error(), m.ID()) {
					t.Errorf("%v", err)
				}
				s.GoOn()
				if _, err := r.c.Release("main", "a", "", "test"); err != nil {
					t.Fatal(err)
				}
				if report := r.await(m); report.State != StateDone || report.Moved != 3 {
					t.Errorf("%+v", report)
				}
				r.owners()
			})
		})
	}
}

// An ABORT that the old process still owes an ircd is asked by the new one.
func TestAnotherProcessPaysWhatIsOwed(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		r.b.fault = on("PREPARE", 1, fault{err: errLost, doIt: true})
		old := r.b.fault
		r.b.fault = func(verb string) fault {
			if verb == "ABORT" {
				return fault{err: errLost}
			}
			return old(verb)
		}
		report, err := r.drainAlone()
		if err != nil || report.State != StateReverted {
			t.Fatal(report, err)
		}
		if err := r.upgrade(); err != nil {
			t.Fatal(err)
		}
		r.b.mu.Lock()
		r.b.fault = nil
		r.b.mu.Unlock()
		time.Sleep(10 * time.Second)
		r.b.mu.Lock()
		defer r.b.mu.Unlock()
		if len(r.b.aborted) == 0 || r.b.imports != nil {
			t.Errorf("aborted %v, import open %v", r.b.aborted, r.b.imports != nil)
		}
		r.c.Close(t.Context())
	})
}

// drainAlone is drain without a wait for what goes on behind the move's end.
func (r *rig) drainAlone() (Report, error) {
	from, _ := r.c.find("main", "a")
	to, _ := r.c.find("main", "b")
	m, err := r.c.start(Request{Kind: KindDrain, Pool: "main", From: "a", To: "b"}, from, to)
	if err != nil {
		return Report{}, err
	}
	<-m.Done()
	return m.Report(), nil
}

// A pause of one of linked servers has a journal, for the admin state of before, which the successor sets back.
func TestAnotherProcessEndsThePauseOfALinkedServer(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		from, _ := r.c.find("main", "a")
		r.reconfigured(func(p *config.Pool) { p.Topology = config.Linked })
		m, err := r.c.Pause(Request{Pool: "main", From: "a"})
		if err != nil {
			t.Fatal(err)
		}
		<-m.Parked()
		if err := r.upgrade(); err != nil {
			t.Fatal(err)
		}
		if from.Admin() != backend.Drain || r.sessions.gated || !r.c.Moving("main/a") {
			t.Errorf("a is %s, gate %v", from.Admin(), r.sessions.gated)
		}
		if report := r.await(r.c.byID(m.ID())); report.State != StateDone || from.Admin() != backend.Ready || r.sessions.longest != DefaultPause {
			t.Errorf("a is %s, frozen for %v: %+v", from.Admin(), r.sessions.longest, report)
		}
		if left := journals(t, r.dir); len(left) > 0 {
			t.Errorf("journals left: %v", left)
		}
		r.owners()
	})
}
