package admin

import (
	"fmt"
	"strings"
	"time"
)

// Closings closes the sessions of backends without a driver, whose users cannot be moved.
type Closings interface {
	// Close begins to close the sessions of a backend, which is drained with it.
	Close(pool, name string, r CloseRequest) error
	// Admit lets the clients in whom a Close with Hold keeps waiting, pace of them a second, as soon as the ircd answers.
	Admit(pool, name string, pace int) error
	// Cancel ends it: those who are left stay, those who wait come in.
	Cancel(pool, name string)
	// Closing tells how far it is, nil if there is none.
	Closing(pool, name string) *Closing
}

// CloseRequest is how.
type CloseRequest struct {
	After  time.Duration // they are closed evenly over this time; 0: at once
	Notice string        // tells the users beforehand, and stands in the ERROR line; "": only the ERROR line tells
	Hold   bool          // a restart follows: new clients of the pool wait, until Admit or the time that users may be parked
}

// ClosingPhase is where a closing is.
type ClosingPhase string

const (
	Closes ClosingPhase = "closing"   // sessions are being closed
	Held   ClosingPhase = "held"      // nobody is left; new clients wait
	Admits ClosingPhase = "admitting" // they are let in, as soon as the ircd answers
)

// Closing is how far it is.
type Closing struct {
	Phase   ClosingPhase `json:"phase"`
	Total   int          `json:"total"` // sessions at its begin
	Left    int          `json:"left"`
	Started time.Time    `json:"started"`
	Until   time.Time    `json:"until"` // the last one is closed by then
	Held    bool         `json:"held"`  // new clients wait
}

// defaultPace is how many clients a second are let in after a restart: what an ircd with services and look-ups stands.
const defaultPace = 20

// longestNotice leaves room in a line of 512 bytes.
const longestNotice = 400

// closeSessions is drain and hold of a backend without a driver.
func (s *Server) closeSessions(b Backend, after Duration, notice string, hold bool) (Done, error) {
	if b.Driver == driverNative {
		return Done{}, fail(CodeRefused, "leave close_after (--close-after) out: its users are moved unseen",
			"backend %s has a driver, so none of its sessions has to be closed", b.FullName())
	}
	switch {
	case s.opt.Closings == nil:
		return Done{}, errUnsupported
	case len(notice) > longestNotice || strings.ContainsAny(notice, "\r\n\x00"):
		return Done{}, fail(CodeBadRequest, "", "the notice must be one line of at most %d bytes", longestNotice)
	case s.moveOf(b) != "":
		return Done{}, fail(CodeRefused, "wait for it, or ferryctl cancel "+s.moveOf(b), "a move of backend %s is under way", b.FullName())
	case b.Closing != nil:
		return Done{}, fail(CodeRefused, "wait for its end, or ferryctl ready "+b.FullName()+" ends it", "the sessions of backend %s are being closed already", b.FullName())
	case !hold && !s.otherUsable(b):
		return Done{}, fail(CodeRefused, "make another one ready (ferryctl ready), or ferryctl restart it",
			"backend %s is the last usable one of its pool: its users would have nowhere to go", b.FullName())
	}
	if err := s.opt.Closings.Close(b.Pool, b.Name, CloseRequest{After: time.Duration(after), Notice: notice, Hold: hold}); err != nil {
		return Done{}, fmt.Errorf("close the sessions of %s: %w", b.FullName(), err)
	}
	return s.stateSet(b, "")
}

// admit is release of a backend without a driver.
func (s *Server) admit(b Backend, pace int) (Done, error) {
	switch {
	case s.opt.Closings == nil:
		return Done{}, errUnsupported
	case b.Closing == nil || !b.Closing.Held:
		return Done{}, fail(CodeRefused, "ferryctl show backends tells what is", "no clients are held for backend %s", b.FullName())
	case pace < 0:
		return Done{}, fail(CodeBadRequest, "", "pace %d is negative", pace)
	case pace == 0:
		pace = defaultPace
	}
	if err := s.opt.Closings.Admit(b.Pool, b.Name, pace); err != nil {
		return Done{}, err
	}
	return s.stateSet(b, "")
}
