package handoff

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/backend"
)

// modelSteps is how many events the model test gives in a second; IRCFERRY_MODEL_STEPS sets another number, make soak a million.
const modelSteps = 250_000

// model drives a machine by random events and knows by itself what may be.
type model struct {
	t    *testing.T
	rnd  *rand.Rand
	s    *machine
	us   []string
	was  picture
	path []string // of events, for the report

	failed  map[string]int // tries that failed for a user
	stopped bool           // a cancel was taken while the source had the users
	wished  bool           // a wish was taken and not heard yet
}

// picture is what of a machine a step may change.
type picture struct {
	owner  owner
	trying bool
	next   bool
	stop   bool
	users  map[string]member
}

func (m *model) picture() picture {
	p := picture{owner: m.s.owner, trying: m.s.trying, next: m.s.next != nil, stop: m.s.stop != nil, users: map[string]member{}}
	for u, x := range m.s.users {
		p.users[u] = *x
	}
	return p
}

func (p picture) equal(q picture) bool {
	return p.owner == q.owner && p.trying == q.trying && p.next == q.next && p.stop == q.stop && maps.Equal(p.users, q.users)
}

var (
	modelEvents = []happening{frozen, frozen, frozen, exported, exported, tryBegan, tryBegan, attached, takenOut, tryFailed, releaseOut, released, resumed,
		commitOut, commitOut, committed, notCommitted, wentLive, wentLive, wentBack, gaveBack, lost, cancelled, placed, stopped}
	ways = map[owner][]owner{ownerSource: {ownerAsked, ownerBack}, ownerAsked: {ownerJournal, ownerSource}, ownerJournal: {ownerOffered, ownerLost},
		ownerOffered: {ownerTaker, ownerJournal}}
)

// step gives one random event.
func (m *model) step() {
	e := event{what: modelEvents[m.rnd.IntN(len(modelEvents))], u: m.us[m.rnd.IntN(len(m.us))], nick: "n", at: "b", cause: backend.CauseGone,
		outcome: []string{"failed", "left", "left", ""}[m.rnd.IntN(4)], why: ErrCancelled, place: placing{to: "a"}}
	if e.what == tryFailed && m.rnd.IntN(2) == 0 || m.rnd.IntN(50) == 0 {
		e.u = "" // a stranger, or nobody's try
	}
	if rare := e.what == cancelled || e.what == stopped || e.what == gaveBack || e.what == lost; rare && m.rnd.IntN(4) > 0 {
		return
	}
	before := m.picture()
	err := m.s.on(e)
	m.was = before
	m.path = append(m.path, fmt.Sprintf("%s %s: %v", e.what, e.u, err))
	after := m.picture()
	if err != nil {
		if !before.equal(after) {
			m.fail("an event that was refused has changed the state")
		}
		return
	}
	m.ownership(e, before, after)
	m.fates(e, before, after)
	if m.rnd.IntN(8) == 0 {
		if _, told := m.s.wish(); told != m.wished {
			m.fail("a wish was lost, or heard twice")
		}
		m.wished = false
	}
}

// ownership: one owner at any moment, changed only along the ways, and what the operator was told holds.
func (m *model) ownership(e event, before, after picture) {
	if before.owner != after.owner && !slices.Contains(ways[before.owner], after.owner) {
		m.fail("the users went from " + string(before.owner) + " to " + string(after.owner))
	}
	switch {
	case (e.what == cancelled || e.what == stopped) && before.owner == ownerSource:
		m.stopped = true
	case e.what == cancelled && before.owner == ownerJournal, e.what == placed:
		if m.wished {
			m.fail("a wish was taken while one was open")
		}
		m.wished = true
	case e.what == cancelled:
		m.fail("a cancel was taken that cannot be obeyed")
	case e.what == releaseOut && m.stopped:
		m.fail("RELEASE went out behind a cancel that was taken")
	case e.what == commitOut && m.wished:
		m.fail("COMMIT went out behind a wish that was taken")
	case e.what == commitOut && !before.trying:
		m.fail("COMMIT went out without a try")
	}
	if e.what == stopped && before.owner == ownerAsked { // it comes back only if the source has resumed
		m.stopped = true
	}
}

// fates: an outcome is for ever (a thaw is none if the move begins anew), and nobody makes two tries fail.
func (m *model) fates(e event, before, after picture) {
	for u, x := range after.users {
		was, there := before.users[u]
		switch {
		case !there && e.what != frozen:
			m.fail(u + " came from nowhere")
		case there && was.fate != held && x.fate != was.fate && !(was.fate == returned && e.what == frozen):
			m.fail(u + " got a second outcome")
		case x.fate == live && after.owner != ownerTaker:
			m.fail(u + " is live where nobody has committed him")
		case x.fate == out && (x.cause == "" || x.outcome == ""):
			m.fail(u + " is out without a cause")
		}
	}
	for u := range before.users {
		if _, there := after.users[u]; !there {
			m.fail(u + " was forgotten")
		}
	}
	if e.what == tryFailed && e.u != "" {
		if m.failed[e.u]++; m.failed[e.u] > 1 {
			m.fail(e.u + " made two tries fail")
		}
	}
	if e.what == attached && before.users[e.u].fate != held {
		m.fail(e.u + " was attached, who is out")
	}
}

// end counts: attempted is the sum of the outcomes.
func (m *model) end() {
	m.s.rest(backend.CauseGone)
	var r Report
	m.s.write(&r)
	if r.Attempted != r.Moved+r.Reverted+r.Failed+r.Left || r.Attempted != len(m.s.users) {
		m.fail(fmt.Sprintf("attempted %d, moved %d, reverted %d, failed %d, left %d", r.Attempted, r.Moved, r.Reverted, r.Failed, r.Left))
	}
	if named := r.Failed + r.Left; len(r.Named) < named {
		m.fail(fmt.Sprintf("%d named of %d", len(r.Named), named))
	}
	for _, n := range r.Named {
		if n.Cause == "" {
			m.fail(n.Session + " has no cause")
		}
	}
}

func (m *model) fail(why string) {
	m.t.Helper()
	m.t.Fatalf("%s\nbefore %+v\nsteps %q", why, m.was, m.path[max(0, len(m.path)-30):])
}

// The machine of a move, given whatever may happen in whatever order, keeps its rules.
func TestMachineKeepsItsRules(t *testing.T) {
	steps := modelSteps
	if n, err := strconv.Atoi(os.Getenv("IRCFERRY_MODEL_STEPS")); err == nil {
		steps = n
	} else if testing.Short() {
		steps /= 10
	}
	seed := uint64(time.Now().UnixNano())
	if n, err := strconv.ParseUint(os.Getenv("IRCFERRY_MODEL_SEED"), 10, 64); err == nil {
		seed = n
	}
	t.Logf("IRCFERRY_MODEL_SEED=%d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	reached := map[owner]int{}
	for done := 0; done < steps; {
		m := &model{t: t, rnd: rnd, s: newMachine(), us: []string{"u1", "u2", "u3", "u4"}[:1+rnd.IntN(4)], failed: map[string]int{}}
		for n := 20 + rnd.IntN(150); n > 0; n-- {
			m.step()
			done++
		}
		reached[m.s.owner]++
		m.end()
	}
	for o := range ways {
		if reached[o] == 0 {
			t.Errorf("no move was ever at %s: %v", o, reached)
		}
	}
	if reached[ownerTaker] == 0 || reached[ownerLost] == 0 || reached[ownerBack] == 0 {
		t.Errorf("not all ends were reached: %v", reached)
	}
	t.Log(reached)
}

// What is refused is refused for a reason that a person can read.
func TestWishesThatCannotBe(t *testing.T) {
	for o, want := range map[owner]string{ownerAsked: "RELEASE was sent", ownerOffered: "COMMIT was sent", ownerTaker: "has the users already", ownerBack: "has ended"} {
		s := newMachine()
		s.owner, s.at = o, "b"
		err := s.on(event{what: cancelled, why: ErrCancelled})
		var refused *Refused
		if !errors.As(err, &refused) || !strings.Contains(refused.Reason, want) {
			t.Errorf("%s: %v", o, err)
		}
	}
}
