package handoff

import (
	"errors"
	"fmt"
	"time"
)

// Kind is what the operator asked for.
type Kind string

const (
	KindDrain   Kind = "drain"   // replace: another standalone backend takes over all users at once
	KindHold    Kind = "hold"    // pull the users and park them; a release ends the same move
	KindPause   Kind = "pause"   // clients are held for a time, and nobody is pulled
	KindRestart Kind = "restart" // a hold of which ferryctl says that a restart follows: it waits for a new epoch
)

// Request is one changing command of the operator.
type Request struct {
	Kind         Kind
	Pool         string
	From         string        // backend name within Pool
	To           string        // "": chosen by the pool
	Strict       bool          // revert if the destination warns of anything
	AllowVisible bool          // go on although users who came in past us, or linked servers, will see it
	Timeout      time.Duration // end to end until the point of no return; 0: moves.deadline of the configuration. Of a pause: how long
	Actor        string        // who asked, for the audit log ("uid=0 pid=1234")
}

// State is where a move is.
//
//	running -> done                    all steps taken (also with failed or left sessions: see the counts)
//	running -> parked -> running       hold: users are in the journal, sessions wait for release or cancel; pause: clients wait
//	running -> reverted                a step before the point of no return failed; everybody is on the old backend
//	running|parked -> failed           after the point of no return nobody could take the users within the park time
type State string

const (
	StateRunning  State = "running"
	StateParked   State = "parked"
	StateDone     State = "done"
	StateReverted State = "reverted"
	StateFailed   State = "failed"
)

// Ended reports whether nothing more will happen to the move.
func (s State) Ended() bool { return s == StateDone || s == StateReverted || s == StateFailed }

// Step is the step of a move. The order here is that of a replace, which comes to StepPark only if it loses its destination. A
// restart goes from StepPull to StepRelease and StepPark, and from there by StepPush to StepThaw.
type Step string

const (
	StepCheck   Step = "check"   // guards: descriptors, limits, visible users
	StepPrepare Step = "prepare" // new clients wait, registrations finish, IMPORT, ATTACH
	StepFreeze  Step = "freeze"  // clients are no longer read
	StepPull    Step = "pull"    // SELECT, EXPORT; old streams are read to their end
	StepPush    Step = "push"    // records, PREPARE
	StepRelease Step = "release" // journal synced, RELEASE: the point of no return
	StepPark    Step = "park"    // users in the journal only
	StepCommit  Step = "commit"  // COMMIT
	StepSplice  Step = "splice"  // new streams in the place of the old
	StepThaw    Step = "thaw"    // held bytes go out
)

// Error is why a move did not go through; the step decides what happens next.
type Error struct {
	Step    Step
	Backend string
	Err     error
}

func (e *Error) Error() string { return fmt.Sprintf("%s %s: %v", e.Step, e.Backend, e.Err) }
func (e *Error) Unwrap() error { return e.Err }

// Refused is a guard's word: nothing was changed, and Hint says what to do instead. ferryctl exits with 5.
type Refused struct {
	Reason    string
	Hint      string
	Strangers int // users who did not come in here and are the reason
}

func (r *Refused) Error() string {
	if r.Hint == "" {
		return r.Reason
	}
	return r.Reason + "; " + r.Hint
}

// Pause is how long clients were not served, over all sessions that were frozen, in milliseconds.
type Pause struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// Named is one session that did not simply move, with its cause (a fixed word), for the operator.
type Named struct {
	Session string `json:"session"`
	Nick    string `json:"nick,omitempty"`
	Outcome string `json:"outcome"` // failed | left | reverted: the one for whose sake the move was reverted
	Cause   string `json:"cause"`
	Text    string `json:"text,omitempty"` // what the ircd has said of it: who has the nick
}

// Warning is what the destination says it cannot keep exactly.
type Warning struct {
	Session string `json:"session,omitempty"`
	Channel string `json:"channel,omitempty"`
	Link    string `json:"link,omitempty"`
	Code    string `json:"code"`
	Key     string `json:"key,omitempty"`
	Text    string `json:"text,omitempty"`
}

// Report is an immutable picture of a move, for ferryctl, the audit log and the metrics.
// Attempted = Moved + Reverted + Failed + Left once the move has ended.
type Report struct {
	ID        string    `json:"id"`
	Kind      Kind      `json:"kind"`
	Pool      string    `json:"pool"`
	From      string    `json:"from"`
	To        string    `json:"to,omitempty"`
	Actor     string    `json:"actor,omitempty"`
	State     State     `json:"state"`
	Step      Step      `json:"step"`
	Note      string    `json:"note,omitempty"`     // what it waits for, for a person
	Released  bool      `json:"released,omitempty"` // of a hold or restart: it was said where its users go; false: cancelled, or not yet
	Started   time.Time `json:"started"`
	Ended     time.Time `json:"ended,omitzero"`
	Attempted int       `json:"attempted"`
	Moved     int       `json:"moved"`
	Reverted  int       `json:"reverted"`
	Failed    int       `json:"failed"`
	Left      int       `json:"left"`
	Reopened  int       `json:"reopened"` // of Moved: not yet registered, opened anew on the new backend
	Progress  int       `json:"progress"` // sessions through the present step
	Pause     Pause     `json:"pause_ms"`
	// Took is how long each step lasted, in milliseconds; a step that was taken again counts all its times.
	Took      map[Step]float64 `json:"step_ms,omitempty"`
	HeldLines int              `json:"held_lines"`
	HeldBytes int              `json:"held_bytes"`
	Named     []Named          `json:"named"`    // failed and left sessions
	Warnings  []Warning        `json:"warnings"` // of the destination
	Links     []LinkRow        `json:"links,omitempty"`
	Error     string           `json:"error,omitempty"`
	TimedOut  bool             `json:"timed_out,omitempty"` // Error is that the deadline or the longest pause was over
	Journal   string           `json:"journal,omitempty"`   // kept only if the move failed

	out bool // RELEASE may have left: not revertible
}

// Undone reports whether a hold or restart that has ended was cancelled while its users were parked: they went back to From, whatever
// process answered there.
func (r Report) Undone() bool {
	return r.State == StateDone && (r.Kind == KindHold || r.Kind == KindRestart) && !r.Released
}

// waits reports whether the users are in the journal and the operator can say where they go: parked, or waiting for an ircd
// that does not answer yet.
func (r Report) waits() bool {
	return (r.State == StateParked || r.State == StateRunning && r.Step == StepPark) && r.Kind != KindPause
}

// ending reports whether the users are being put into an ircd after the point of no return, or are in.
func (r Report) ending() bool { return r.State == StateRunning && r.out && !r.waits() }

// Plan is what a dry run found: nothing was changed.
type Plan struct {
	Pool         string    `json:"pool"`
	From         string    `json:"from"`
	To           string    `json:"to,omitempty"`
	Users        int       `json:"users"`
	Channels     int       `json:"channels"`
	Unmovable    int       `json:"unmovable"` // users of the ircd who came in past us
	Links        int       `json:"links"`
	Held         []string  `json:"links_held"`   // of them those that would be held, unseen
	Unheld       []string  `json:"links_unheld"` // and those whose users would see it
	Unregistered int       `json:"unregistered"`
	Warnings     []Warning `json:"warnings"`
	Conflicts    []Warning `json:"conflicts"`
	CapsLost     []string  `json:"caps_lost"`     // the source offers them, the destination does not
	ISupport     []string  `json:"isupport_diff"` // "TOKEN=source|destination"
	Refusals     []string  `json:"refusals"`      // guards that would refuse the move
}

// Why a move's time was over before the point of no return.
var (
	ErrDeadline = errors.New("the deadline of the move is over")
	ErrPause    = errors.New("the freeze lasted longer than moves.max_pause")
)
