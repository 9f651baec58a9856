package handoff

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff/protocol"
)

// Every call of a move, at every step, hangs, is slow, fails, or comes too late.

// call is the nth call of a name: "a EXPORT" of an ircd, "disk", "proxy Freeze".
type call struct {
	name string
	n    int
}

func (c call) String() string { return fmt.Sprintf("%s %d", c.name, c.n) }

// trouble is what becomes of a call.
type trouble string

const (
	hangs  trouble = "hangs"  // for longer than the move may take to the point of no return, and then it is done all the same
	slow   trouble = "slow"   // a second
	fails  trouble = "fails"  // is refused
	breaks trouble = "breaks" // of an ircd: not done, and no answer
	late   trouble = "late"   // of an ircd: done, and no answer
	dies   trouble = "dies"   // of an ircd: not done, and its process ends
)

const hangTime = 2 * time.Minute

// troubles makes one call of a rig go wrong, and notes all that come.
type troubles struct {
	mu    sync.Mutex
	at    call
	what  trouble
	calls []call
	seen  map[string]int

	revive bool // who dies is started again
}

func inTheWay(r *rig, at call, what trouble) *troubles {
	x := &troubles{at: at, what: what, seen: map[string]int{}}
	r.a.fault = func(verb string) fault { return x.ircd("a " + verb) }
	r.b.fault = func(verb string) fault { return x.ircd("b " + verb) }
	r.c.toDisk = func(f *os.File) error {
		if x.comes("disk") {
			if what == fails {
				return errors.New("disk full")
			}
			x.sleep()
		}
		return f.Sync()
	}
	r.sessions.before = func(name string) {
		if x.comes("proxy "+name) && (what == hangs || what == slow) {
			x.sleep()
		}
	}
	r.links.before = func(name string) {
		if x.comes("links "+name) && (what == hangs || what == slow) {
			x.sleep()
		}
	}
	r.links.fails = func(name, _ string) error {
		if what == fails && x.now("links "+name) {
			return errors.New("it does not come")
		}
		return nil
	}
	r.sessions.fails = func(name string) error {
		if what == fails && x.now("proxy "+name) {
			return errors.New("a loop is stuck")
		}
		return nil
	}
	r.sessions.answer = func(name string, m backend.Moved) backend.Moved {
		if what == fails && m.Cause == "" && x.now("proxy "+name) {
			m.Cause = backend.CauseTimeout
		}
		return m
	}
	return x
}

// comes counts a call; true: it is the one.
func (x *troubles) comes(name string) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.seen[name]++
	c := call{name, x.seen[name]}
	x.calls = append(x.calls, c)
	return c == x.at
}

// now: the call of that name that came last is the one.
func (x *troubles) now(name string) bool { return x.at == call{name, x.count(name)} }

func (x *troubles) count(name string) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.seen[name]
}

func (x *troubles) sleep() {
	d := time.Second
	if x.what == hangs {
		d = hangTime
	}
	time.Sleep(d)
}

func (x *troubles) ircd(name string) fault {
	if !x.comes(name) {
		return fault{}
	}
	switch x.what {
	case hangs:
		return fault{stall: true}
	case slow:
		return fault{slow: time.Second}
	case fails:
		return fault{err: &protocol.Error{Code: protocol.CodeInternal}}
	case breaks:
		return fault{err: errLost}
	case late:
		return fault{err: errLost, doIt: true}
	}
	return fault{err: errLost, kill: true, revive: x.revive}
}

// moveOf carries out a drain, or a restart of a, and answers its report.
func (r *rig) moveOf(restart bool) (Report, error) {
	if !restart {
		return r.drain(Request{})
	}
	m, err := r.c.Hold(Request{Kind: KindRestart, Pool: "main", From: "a"})
	if err != nil {
		return Report{}, err
	}
	select {
	case <-m.Parked():
	case <-m.Done():
		return r.await(m), nil
	}
	r.a.mu.Lock()
	r.a.start()
	r.a.mu.Unlock()
	if _, err := r.c.Release("main", "a", "", "test"); err != nil {
		return Report{}, err
	}
	return r.await(m), nil
}

// callsOf lists the calls of a move in which nothing goes wrong.
func callsOf(t *testing.T, restart bool) (calls []call) {
	in(t, func(t *testing.T, r *rig) {
		r.link("services.example", "leaf.example")
		x := inTheWay(r, call{}, "")
		if report, err := r.moveOf(restart); err != nil || report.State != StateDone {
			t.Fatalf("%+v, %v", report, err)
		}
		calls = x.calls
	})
	return calls
}

func TestEveryCallInTrouble(t *testing.T) {
	for _, restart := range []bool{false, true} {
		for _, at := range callsOf(t, restart) {
			ours := strings.HasPrefix(at.name, "proxy") || strings.HasPrefix(at.name, "links") || at.name == "disk"
			for _, what := range []trouble{hangs, slow, fails, breaks, late, dies} {
				if ours && what != hangs && what != slow && what != fails {
					continue
				}
				t.Run(fmt.Sprintf("restart=%v/%s/%s", restart, at, what), func(t *testing.T) {
					in(t, func(t *testing.T, r *rig) { inTrouble(t, r, restart, at, what) })
				})
			}
		}
	}
}

func inTrouble(t *testing.T, r *rig, restart bool, at call, what trouble) {
	r.link("services.example", "leaf.example")
	x := inTheWay(r, at, what)
	x.revive = restart // a service manager does that
	report, err := r.moveOf(restart)
	time.Sleep(2 * hangTime) // what hangs goes on, and does what it was asked for
	synctest.Wait()
	if err != nil { // the guards' look: nothing was begun
		if at.name != "a CONNECT" && at.name != "b CONNECT" && at.name != "proxy On" || r.sessions.gated {
			t.Fatalf("refused: %v", err)
		}
		return
	}
	balanced(t, report)
	released := x.count("a RELEASE") > 0
	ofProxy := func(names ...string) bool { return slices.Contains(names, strings.TrimPrefix(at.name, "proxy ")) }
	// A loop that hangs can thaw nobody: the move does not wait for it, names its sessions, and all is well when it goes on.
	stuck := what == hangs && strings.HasPrefix(at.name, "proxy")
	took := report.Ended.Sub(report.Started)
	if report.State == StateFailed || report.Failed+report.Left > 0 && !ofProxy("Splice", "Thaw") && !stuck {
		t.Errorf("%+v", report)
	}
	if !released && report.State != StateReverted {
		t.Errorf("RELEASE was not sent: %+v", report)
	}
	if what == slow && report.State != StateDone {
		t.Errorf("nothing but slow: %+v", report)
	}
	if !released && !stuck && r.sessions.longest > 5500*time.Millisecond {
		t.Errorf("frozen for %v, max_pause is 5s", r.sessions.longest)
	}
	if over := r.sessions.ungated.Sub(report.Started); !released && !stuck && over > 60500*time.Millisecond {
		t.Errorf("over after %v, the deadline is 60s", over)
	}
	if !released && took > 90*time.Second {
		t.Errorf("the move has ended after %v", took)
	}
	if len(r.sessions.wrong) > 0 {
		t.Errorf("%v", r.sessions.wrong)
	}
	r.owners()
	r.linksAreWellBut(report, what == hangs && strings.HasPrefix(at.name, "links"))
}

// A cancel at every call: obeyed, or refused with what is true; never both, and never neither.
func TestCancelAtEveryCall(t *testing.T) {
	for _, at := range callsOf(t, false) {
		t.Run(at.String(), func(t *testing.T) {
			in(t, func(t *testing.T, r *rig) {
				x := inTheWay(r, at, slow)
				defer time.Sleep(hangTime)
				from, _ := r.c.find("main", "a")
				to, _ := r.c.find("main", "b")
				begun := make(chan *Move, 1)
				go func() {
					m, err := r.c.start(Request{Kind: KindDrain, Pool: "main", From: "a", To: "b"}, from, to)
					if err != nil {
						t.Error(err)
					}
					begun <- m
				}()
				time.Sleep(500 * time.Millisecond)
				synctest.Wait()
				m := r.c.of("main")
				if m == nil { // it is over
					<-begun
					return
				}
				released := x.count("a RELEASE") > 0
				err := r.c.Cancel(m.ID())
				<-begun
				report := r.await(m)
				switch {
				case err == nil && report.State != StateReverted:
					t.Errorf("a cancel was taken: %+v", report)
				case err != nil && strings.HasPrefix(err.Error(), "no move"): // the guards look: it is not known yet
				case err != nil && (!isRefused(err) || !released || report.State != StateDone):
					t.Errorf("cancel: %v; released %v: %+v", err, released, report)
				}
				balanced(t, report)
				r.owners()
			})
		})
	}
}
