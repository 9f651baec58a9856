package handoff

import (
	"cmp"
	"fmt"
	"sync"

	"github.com/ircferry/ircferry/backend"
)

// owner is who has the users of a move. It is one at any moment:
//
//	source -RELEASE may be out-> asked -released, died-> journal -COMMIT may be out-> offered -committed-> taker
//	  ^  \                         |                        ^  \                          |
//	  |   \--returned-> back       |                        |   \--lost-> lost            |
//	  +--------resumed-------------+                        +--------not committed--------+
type owner string

const (
	ownerSource  owner = "source"  // the old ircd; everything can be undone
	ownerAsked   owner = "asked"   // RELEASE may have left us: only the old ircd's word or evidence of its end tells
	ownerJournal owner = "journal" // the old ircd has forgotten them
	ownerOffered owner = "offered" // COMMIT may have left us: only that ircd's word or evidence of its end tells
	ownerTaker   owner = "taker"   // an ircd has committed them
	ownerBack    owner = "back"    // the end of a move that was reverted
	ownerLost    owner = "lost"    // the end of one that nobody took
)

// fate is what has become of one session of a move.
type fate uint8

const (
	held     fate = iota // frozen or parked here
	out                  // taken out of the move with a cause; no try is made for it any more
	live                 // in the ircd that has taken it
	returned             // thawed on the old backend
)

// member is one session of a move.
type member struct {
	nick       string // once the records tell it
	registered bool
	exported   bool
	stream     bool // attached, in the present try
	fate       fate
	outcome    string // of out: failed or left
	cause      backend.Cause
	text       string        // what an ircd has said against him
	moved      backend.Moved // pause and what was held
}

// machine is the state of a move as data. Only on changes it, by events that the outside gives; it asks nobody and waits for nothing. Its
// methods may be called from any goroutine.
type machine struct {
	mu      sync.Mutex
	owner   owner
	at      string // backend name of the present try, and of the taker
	trying  bool
	backTo  bool // the taker is the old backend of a drain: who is live there has not moved
	stop    error
	next    *placing
	steered chan struct{} // has one when next was set
	users   map[string]*member
	order   []string

	interrupt func() // ends the try under way
}

func newMachine() *machine {
	return &machine{owner: ownerSource, users: make(map[string]*member), steered: make(chan struct{}, 1)}
}

// event is what the outside tells the machine.
type event struct {
	what    happening
	u       string
	nick    string
	at      string // backend name
	outcome string // failed or left
	cause   backend.Cause
	moved   backend.Moved
	place   placing
	why     error
}

type happening string

const (
	frozen       happening = "frozen"        // u was stopped (or is counted as if); nick "": not registered, see frozenUser
	exported     happening = "exported"      // u is in the records
	tryBegan     happening = "try began"     // at
	attached     happening = "attached"      // u has a stream in this try
	takenOut     happening = "taken out"     // u, outcome, cause
	tryFailed    happening = "try failed"    // perhaps for u, who is taken out then
	releaseOut   happening = "RELEASE out"   // said before it can leave
	released     happening = "released"      // or the old ircd has ended
	resumed      happening = "resumed"       //
	commitOut    happening = "COMMIT out"    // said before it can leave
	committed    happening = "committed"     //
	notCommitted happening = "not committed" // certainly
	wentLive     happening = "went live"     // u, moved
	wentBack     happening = "went back"     // u, moved
	gaveBack     happening = "gave back"     // the end of a move that was reverted
	lost         happening = "lost"          // the end of one that nobody took
	cancelled    happening = "cancelled"     // why, place
	stopped      happening = "stopped"       // why: the daemon ends; RELEASE does not leave any more
	placed       happening = "placed"        // place
)

// broken is an event that cannot be in this state: a mistake of ours. The state stays as it was.
func (s *machine) broken(e event, why string) error {
	return fmt.Errorf("move: %s u=%q with the users at %s: %s", e.what, e.u, s.owner, why)
}

// on is the one place that changes the state.
func (s *machine) on(e event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch e.what {
	case cancelled, placed:
		return s.wishLocked(e)
	case stopped:
		s.stop = cmp.Or(s.stop, e.why)
		return nil
	case frozen, exported, attached, takenOut, wentLive, wentBack:
		return s.memberLocked(e)
	case tryBegan, tryFailed:
		return s.tryLocked(e)
	}
	return s.ownerLocked(e)
}

// ownerLocked changes who has the users. What is sent to an ircd is sent only after its event was taken.
func (s *machine) ownerLocked(e event) error {
	type step struct{ from, to owner }
	steps := map[happening]step{
		releaseOut: {ownerSource, ownerAsked}, released: {ownerAsked, ownerJournal}, resumed: {ownerAsked, ownerSource},
		commitOut: {ownerJournal, ownerOffered}, committed: {ownerOffered, ownerTaker}, notCommitted: {ownerOffered, ownerJournal},
		gaveBack: {ownerSource, ownerBack}, lost: {ownerJournal, ownerLost},
	}
	next, known := steps[e.what]
	switch {
	case !known || s.owner != next.from:
		return s.broken(e, "cannot be now")
	case e.what == releaseOut && s.stop != nil:
		return s.stop
	case e.what == commitOut && s.next != nil:
		return errElsewhere
	case e.what == commitOut && !s.trying:
		return s.broken(e, "no try is under way")
	}
	s.owner = next.to
	if e.what == notCommitted || e.what == committed {
		s.trying = false
	}
	return nil
}

// tryLocked begins and ends a try to put the users into an ircd. One that fails for a user takes him out: he fails no other.
func (s *machine) tryLocked(e event) error {
	if s.owner != ownerSource && s.owner != ownerJournal {
		return s.broken(e, "nobody can be tried")
	}
	if began := e.what == tryBegan; began == s.trying {
		return s.broken(e, "tries do not overlap")
	}
	if e.what == tryFailed && e.u != "" {
		if err := s.takeOutLocked(e); err != nil {
			return err
		}
	}
	s.trying = e.what == tryBegan
	if s.trying {
		s.at = e.at
	}
	for _, m := range s.users {
		m.stream = false
	}
	return nil
}

func (s *machine) memberLocked(e event) error {
	m := s.users[e.u]
	switch {
	case e.what == frozen && s.owner == ownerSource:
		if m == nil {
			m = &member{}
			s.users[e.u] = m
			s.order = append(s.order, e.u)
		}
		m.registered = e.nick != ""
		if m.fate == returned {
			*m = member{registered: m.registered, text: m.text}
		}
		return nil
	case m == nil:
		return s.broken(e, "not of this move")
	case e.what == exported && s.owner == ownerSource:
		m.nick, m.exported = e.nick, true
	case e.what == takenOut:
		return s.takeOutLocked(e)
	case m.fate != held:
		return s.broken(e, "has an outcome already")
	case e.what == attached && s.trying:
		m.stream = true
	case e.what == wentLive && s.owner == ownerTaker:
		m.fate, m.moved = live, e.moved
	case e.what == wentBack && s.owner == ownerSource:
		m.fate, m.moved = returned, e.moved
	default:
		return s.broken(e, "cannot be now")
	}
	return nil
}

func (s *machine) takeOutLocked(e event) error {
	m := s.users[e.u]
	switch {
	case m == nil:
		return s.broken(e, "not of this move")
	case m.fate != held:
		return s.broken(e, "has an outcome already")
	case e.outcome != "failed" && e.outcome != "left" || e.cause == "":
		return s.broken(e, "no outcome, or no cause")
	}
	m.fate, m.outcome, m.cause, m.stream = out, e.outcome, e.cause, false
	return nil
}
