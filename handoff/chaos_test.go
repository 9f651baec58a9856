package handoff

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff/protocol"
)

// chaosMoves is how many moves TestChaos makes; IRCFERRY_CHAOS sets another number.
const chaosMoves = 150

// Moves in which anything goes wrong, several things at once, by chance: nobody is live twice, nobody is forgotten, everybody is counted once
// and with a cause, and whoever can be moved or go back has.
func TestChaos(t *testing.T) {
	moves := chaosMoves
	if n, err := strconv.Atoi(os.Getenv("IRCFERRY_CHAOS")); err == nil {
		moves = n
	} else if testing.Short() {
		moves /= 10
	}
	seed := uint64(time.Now().UnixNano())
	if n, err := strconv.ParseUint(os.Getenv("IRCFERRY_CHAOS_SEED"), 10, 64); err == nil {
		seed, moves = n, 1
	}
	ends, links := map[State]int{}, map[LinkState]int{}
	for i := range moves {
		one := seed + uint64(i)
		if !t.Run(fmt.Sprintf("IRCFERRY_CHAOS_SEED=%d", one), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				report := chaos(t, rand.New(&locked{src: rand.NewPCG(one, 7)}))
				ends[report.State]++
				for _, row := range report.Links {
					links[row.State]++
				}
			})
		}) {
			break
		}
	}
	t.Log(ends, links)
}

// locked is a source for many goroutines.
type locked struct {
	mu  sync.Mutex
	src rand.Source
}

func (l *locked) Uint64() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.src.Uint64()
}

func chaos(t *testing.T, rnd *rand.Rand) Report {
	us := []string{"u1", "u2", "u3", "u4", "u5", "u6", "u7", "u8"}[:1+rnd.IntN(8)]
	r := newRig(t, us...)
	defer r.set.Close()
	r.c.opt.Limits = func() Limits {
		return Limits{Deadline: 60 * time.Second, MaxPause: 5 * time.Second, Park: 2 * time.Minute}
	}
	some := func() string { return us[rnd.IntN(len(us))] }
	for range rnd.IntN(3) {
		r.a.sea = append(r.a.sea, us[len(r.a.sea)%len(us)])
	}
	r.a.older, r.b.older = rnd.IntN(2) == 0, rnd.IntN(2) == 0
	if rnd.IntN(2) == 0 {
		r.a.older, r.b.older = false, rnd.IntN(4) == 0
		r.link([]string{"services.example", "leaf.example", "hub.example"}[:1+rnd.IntN(3)]...)
	}
	strangeUsers(r, rnd, some)
	chance := 2 + rnd.IntN(60)
	strange := func(i *fakeIrcd) func(string) fault {
		return func(verb string) fault {
			if rnd.IntN(chance) > 0 {
				return fault{}
			}
			switch rnd.IntN(7) {
			case 0:
				return fault{err: errLost}
			case 1:
				return fault{err: errLost, doIt: true}
			case 2:
				return fault{err: errLost, kill: true, revive: true, doIt: rnd.IntN(2) == 0}
			case 3:
				return fault{stall: true, doIt: rnd.IntN(2) == 0}
			case 4:
				return fault{slow: time.Duration(rnd.IntN(3000)) * time.Millisecond}
			case 5:
				i.hidden = true
				time.AfterFunc(time.Duration(rnd.IntN(30))*time.Second, func() { i.mu.Lock(); i.hidden = false; i.mu.Unlock() })
				return fault{err: errLost, doIt: rnd.IntN(2) == 0}
			}
			return fault{err: refusal([]protocol.Code{protocol.CodeInternal, protocol.CodeNotAttached, protocol.CodeBusy, protocol.CodeResumed}[rnd.IntN(4)], "", []string{"", some(), "z9"}[rnd.IntN(3)])}
		}
	}
	r.a.fault, r.b.fault = strange(r.a), strange(r.b)
	stuck := strangeLinks(r, rnd, chance)
	r.sessions.before = func(call string) {
		if rnd.IntN(4*chance) == 0 {
			time.Sleep(time.Duration(rnd.IntN(8000)) * time.Millisecond)
		}
		if rnd.IntN(2*chance) == 0 {
			u := some()
			r.sessions.mu.Lock()
			defer r.sessions.mu.Unlock()
			if r.sessions.at[u] != "ended" {
				r.sessions.end(u)
			}
		}
	}
	r.c.toDisk = func(f *os.File) error {
		if rnd.IntN(2*chance) == 0 {
			time.Sleep(time.Duration(rnd.IntN(20000)) * time.Millisecond)
		}
		return nil
	}
	report := chaoticMove(r, rnd)
	// What was slow or hidden goes on; then all must be well.
	time.Sleep(10 * time.Minute)
	synctest.Wait()
	balanced(t, report)
	for _, n := range report.Named {
		if n.Cause == "" {
			t.Errorf("%+v has no cause", n)
		}
	}
	if len(r.sessions.wrong) > 0 {
		t.Errorf("%v", r.sessions.wrong)
	}
	r.owners()
	r.linksAreWellBut(report, *stuck)
	if t.Failed() {
		t.Logf("%+v", report)
	}
	return report
}

// strangeLinks lets the links be trouble of their own; the answer is whether a call of theirs was slow.
func strangeLinks(r *rig, rnd *rand.Rand, chance int) (stuck *bool) {
	stuck = new(bool)
	r.links.before = func(string) {
		if rnd.IntN(4*chance) == 0 {
			*stuck = true
			time.Sleep(time.Duration(rnd.IntN(15000)) * time.Millisecond)
		}
	}
	r.links.fails = func(call, link string) error {
		if rnd.IntN(chance) == 0 {
			return errors.New("it does not come")
		}
		return nil
	}
	for _, i := range []*fakeIrcd{r.a, r.b} {
		if len(i.blocks) == 0 {
			continue
		}
		switch rnd.IntN(8) {
		case 0:
			i.blocks = i.blocks[:1]
		case 1:
			i.caps = "other"
		}
	}
	return stuck
}

// strangeUsers lets some users be trouble of their own.
func strangeUsers(r *rig, rnd *rand.Rand, some func() string) {
	causes := map[string]backend.Cause{}
	for range rnd.IntN(3) {
		switch u := some(); rnd.IntN(6) {
		case 0:
			r.b.banned[u] = true
		case 1:
			r.b.taken = u
		case 2:
			causes[u] = backend.CauseTimeout
		case 3:
			r.sessions.splice = map[string]backend.Cause{u: backend.CauseNoLive}
		case 4:
			r.sessions.unreg[u] = true
			delete(r.a.live, u)
		case 5: // the ircd has run his QUIT
			delete(r.a.live, u)
			r.sessions.streams[u].theirs = false
		}
	}
	r.sessions.attach = causes
}

// chaoticMove is a drain, or a hold or restart with its release, with a cancel now and then.
func chaoticMove(r *rig, rnd *rand.Rand) Report {
	later := func(f func()) { time.AfterFunc(time.Duration(rnd.IntN(20000))*time.Millisecond, f) }
	var m *Move
	var err error
	kind := []Kind{KindDrain, KindHold, KindRestart}[rnd.IntN(3)]
	if kind == KindDrain {
		from, _ := r.c.find("main", "a")
		to, _ := r.c.find("main", "b")
		m, err = r.c.start(Request{Kind: kind, Pool: "main", From: "a", To: "b", Strict: rnd.IntN(4) == 0, AllowVisible: rnd.IntN(4) == 0}, from, to)
	} else {
		m, err = r.c.Hold(Request{Kind: kind, Pool: "main", From: "a", AllowVisible: rnd.IntN(4) == 0})
	}
	if err != nil {
		return Report{State: StateReverted, Attempted: 0}
	}
	if rnd.IntN(4) == 0 {
		later(func() { r.c.Cancel(m.ID()) })
	}
	if kind != KindDrain {
		go func() {
			select {
			case <-m.Parked():
			case <-m.Done():
				return
			}
			if rnd.IntN(2) == 0 {
				r.a.mu.Lock()
				r.a.start()
				r.a.mu.Unlock()
			}
			r.c.Release("main", "a", []string{"", "b"}[rnd.IntN(2)], "test")
		}()
	}
	return r.await(m)
}
