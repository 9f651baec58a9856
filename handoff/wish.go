package handoff

import (
	"errors"
	"fmt"
)

// errElsewhere ends a try because the operator has said where else the users go.
var errElsewhere = errors.New("the operator has said where the users go")

// wishLocked hears the operator. What he wants is taken exactly if it will be done: what may have left for an ircd is not called back.
func (s *machine) wishLocked(e event) error {
	refuse := func(hint, format string, args ...any) error {
		return &Refused{Reason: fmt.Sprintf(format, args...), Hint: hint}
	}
	switch s.owner {
	case ownerSource:
		if e.what == placed {
			return refuse("ferryctl show moves tells what is", "its users are not held yet")
		}
		if s.stop == nil {
			s.stop = e.why
		}
		return nil
	case ownerJournal:
		if s.next != nil {
			return refuse("", "it was told already where its users go")
		}
		place := e.place
		s.next = &place
		select {
		case s.steered <- struct{}{}:
		default:
		}
		if s.interrupt != nil {
			s.interrupt()
		}
		return nil
	case ownerAsked:
		return refuse("it ends by itself when that ircd answers, or is seen to have ended",
			"RELEASE was sent, and the old ircd has not said yet whether it has let its users go")
	case ownerOffered:
		return refuse("it ends by itself; move the users back afterwards", "COMMIT was sent to %s, and it has not said yet whether it has the users", s.at)
	case ownerTaker:
		return refuse("it ends by itself; move the users back afterwards", "%s has the users already", s.at)
	}
	return refuse("", "it has ended")
}

// wish takes what the operator wants next; ok false: nothing.
func (s *machine) wish() (p placing, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next == nil {
		return placing{}, false
	}
	p, s.next = *s.next, nil
	select {
	case <-s.steered:
	default:
	}
	return p, true
}

// during notes how to end the try that is under way, for a wish that comes while it is. nil: none is.
func (s *machine) during(interrupt func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.interrupt = interrupt
	if interrupt != nil && s.next != nil {
		interrupt()
	}
}
