package handoff

import (
	"slices"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff/protocol"
)

// ownedBy reports whether the users are at one of these.
func (s *machine) ownedBy(owners ...owner) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(owners, s.owner)
}

// outOf tells why a session was taken out, if it was.
func (s *machine) outOf(u string) (cause backend.Cause, isOut bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.users[u]
	if m == nil || m.fate != out {
		return "", false
	}
	return m.cause, true
}

// owned is who has the users.
func (s *machine) owned() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.owner)
}

// revertible: RELEASE has not left, so that all can be as before.
func (s *machine) revertible() bool { return s.ownedBy(ownerSource, ownerBack) }

// who lists the sessions of which f says so, in the order in which they came.
func (s *machine) who(f func(*member) bool) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var us []string
	for _, u := range s.order {
		if f(s.users[u]) {
			us = append(us, u)
		}
	}
	return us
}

// is reports whether f says so of a session, which is none of the move's if it is nil.
func (s *machine) is(u string, f func(*member) bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.users[u]
	return m != nil && f(m)
}

func (m *member) waits() bool  { return m.fate == held }
func (m *member) moving() bool { return m.fate == held && m.exported }
func (m *member) exportedOnce() bool {
	return m.exported
}
func (m *member) reopening() bool { return m.fate == held && !m.registered }

// rest takes out whoever no step answered for, so that attempted is always the sum of the outcomes.
func (s *machine) rest(cause backend.Cause) {
	for _, u := range s.who((*member).waits) {
		s.on(event{what: takenOut, u: u, outcome: "left", cause: cause})
	}
}

// write puts the outcomes into a report.
func (s *machine) write(r *Report) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.Attempted, r.Moved, r.Reverted, r.Failed, r.Left, r.Reopened, r.HeldLines, r.HeldBytes = len(s.users), 0, 0, 0, 0, 0, 0, 0
	r.Named = nil
	var pauses []time.Duration
	for _, u := range s.order {
		m := s.users[u]
		switch {
		case m.fate == out:
			r.Named = append(r.Named, Named{Session: u, Nick: m.nick, Outcome: m.outcome, Cause: string(m.cause), Text: m.text})
			if m.outcome == "failed" {
				r.Failed++
			} else {
				r.Left++
			}
		case m.fate == held:
		case m.fate == returned || s.backTo:
			r.Reverted++
			if m.cause != "" {
				r.Named = append(r.Named, Named{Session: u, Nick: m.nick, Outcome: "reverted", Cause: string(m.cause), Text: m.text})
			}
		default:
			r.Moved++
		}
		if m.fate == live && !m.exported {
			r.Reopened++
		}
		if m.moved.Pause > 0 || m.moved.HeldLines > 0 {
			pauses = append(pauses, m.moved.Pause)
		}
		r.HeldLines += m.moved.HeldLines
		r.HeldBytes += m.moved.HeldBytes
	}
	r.Pause = summarize(pauses)
}

// summarize takes p50, p99 and the maximum; pauses is sorted in place.
func summarize(pauses []time.Duration) Pause {
	if len(pauses) == 0 {
		return Pause{}
	}
	slices.Sort(pauses)
	at := func(share float64) float64 {
		i := int(share * float64(len(pauses)-1))
		return float64(pauses[i].Microseconds()) / 1000
	}
	return Pause{P50: at(0.5), P99: at(0.99), Max: at(1)}
}

// maxText bounds what is kept of an ircd's words about one session.
const maxText = 512

// tell notes what an ircd has said against a session.
func (s *machine) tell(u string, told protocol.Note) {
	text := string(told.Code)
	if told.C != "" {
		text += " " + told.C
	}
	if told.Text != "" {
		text += ": " + told.Text
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.users[u]; m != nil {
		m.text = text[:min(len(text), maxText)]
	}
}

// blame notes for whose sake a move was reverted.
func (s *machine) blame(u string, cause backend.Cause) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.users[u]; m != nil && m.fate == returned {
		m.cause = cause
	}
}

// putBack says that the taker is the ircd that the users of a drain came from.
func (s *machine) putBack() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.backTo = true
}
