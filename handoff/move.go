package handoff

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/ircferry/ircferry/backend"
)

// ErrCancelled is the cause of a move that the operator cancelled.
var ErrCancelled = errors.New("cancelled by the operator")

// Move is one command under way or ended. All methods may be called from any goroutine.
type Move struct {
	request  Request
	onChange func(Report)
	done     chan struct{}
	parked   chan struct{}
	placing  chan placing // how a parked move goes on
	cancel   context.CancelCauseFunc

	mu      sync.Mutex
	report  Report
	since   time.Time     // when the present step began
	changed chan struct{} // closed and replaced at each change of the report
}

// placing says where the users of a parked move go.
type placing struct {
	to       string // backend name in the pool
	newEpoch bool   // wait until the ircd is another process than at the pull
	released bool   // by a release, not by a cancel
}

func newMove(id string, r Request, cancel context.CancelCauseFunc, onChange func(Report)) *Move {
	return &Move{
		request:  r,
		onChange: onChange,
		done:     make(chan struct{}),
		parked:   make(chan struct{}),
		placing:  make(chan placing, 1),
		cancel:   cancel,
		changed:  make(chan struct{}),
		since:    time.Now(),
		report: Report{ID: id, Kind: r.Kind, Pool: r.Pool, From: r.From, To: r.To, Actor: r.Actor,
			State: StateRunning, Step: StepCheck, Started: time.Now()},
	}
}

// ID names the move for ferryctl.
func (m *Move) ID() string { return m.Report().ID }

// Done is closed when the move has ended.
func (m *Move) Done() <-chan struct{} { return m.done }

// Parked is closed when the users of a hold are in the journal and their old ircd may be stopped.
func (m *Move) Parked() <-chan struct{} { return m.parked }

// Report is a picture of the move now.
func (m *Move) Report() Report {
	report, _ := m.Watch()
	return report
}

// Watch is Report with a channel that is closed at the next change.
func (m *Move) Watch() (Report, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	report := m.report
	report.Named = slices.Clone(report.Named)
	report.Warnings = slices.Clone(report.Warnings)
	report.Took = maps.Clone(report.Took)
	return report, m.changed
}

// update changes the report and tells whoever watches.
func (m *Move) update(change func(*Report)) {
	m.mu.Lock()
	before := m.report.Step
	change(&m.report)
	if m.report.Step != before || m.report.State.Ended() {
		m.tookLocked(before)
	}
	close(m.changed)
	m.changed = make(chan struct{})
	m.mu.Unlock()
	if m.onChange != nil {
		m.onChange(m.Report())
	}
}

// tookLocked adds the time since the last change of step to the step that it ends.
func (m *Move) tookLocked(step Step) {
	now := time.Now()
	if m.report.Took == nil {
		m.report.Took = make(map[Step]float64)
	}
	m.report.Took[step] += float64(now.Sub(m.since).Microseconds()) / 1000
	m.since = now
}

func (m *Move) enter(step Step, note string) {
	m.update(func(r *Report) { r.Step, r.Note, r.Progress = step, note, 0 })
}

// park says that the users are in the journal.
func (m *Move) park(note string) {
	m.update(func(r *Report) { r.State, r.Step, r.Note, r.Progress = StateParked, StepPark, note, 0 })
	select {
	case <-m.parked:
	default:
		close(m.parked)
	}
}

// place tells a parked move where its users go.
func (m *Move) place(p placing) error {
	select {
	case m.placing <- p:
		return nil
	default:
		return &Refused{Reason: fmt.Sprintf("move %s was told already where its users go", m.ID())}
	}
}

// placed says that a parked move has heard where its users go.
func (m *Move) placed(p placing) {
	m.update(func(r *Report) { r.State, r.Released = StateRunning, p.released })
}

// end closes the move with its outcome; nothing changes afterwards.
func (m *Move) end(state State, err error) {
	m.update(func(r *Report) {
		r.State, r.Ended = state, time.Now()
		if err != nil {
			r.Error = err.Error()
			r.TimedOut = errors.Is(err, ErrDeadline) || errors.Is(err, ErrPause)
		}
	})
	close(m.done)
}

// tally counts each session of a move once, by its outcome.
type tally struct {
	attempted map[string]string // u, nick once the records tell it
	named     []Named
	pauses    []time.Duration
	counted   map[string]bool

	moved, reverted, failed, left, reopened int
	heldLines, heldBytes                    int
}

func newTally(frozen []backend.Frozen) *tally {
	t := &tally{attempted: make(map[string]string, len(frozen)), counted: make(map[string]bool, len(frozen))}
	for _, f := range frozen {
		t.attempted[f.U] = ""
	}
	return t
}

func (t *tally) first(u string) bool {
	if _, ours := t.attempted[u]; !ours || t.counted[u] {
		return false
	}
	t.counted[u] = true
	return true
}

func (t *tally) held(m backend.Moved) {
	t.pauses = append(t.pauses, m.Pause)
	t.heldLines += m.HeldLines
	t.heldBytes += m.HeldBytes
}

func (t *tally) addMoved(m backend.Moved) {
	if t.first(m.U) {
		t.moved++
		t.held(m)
	}
}

func (t *tally) addReverted(m backend.Moved) {
	if t.first(m.U) {
		t.reverted++
		t.held(m)
	}
}

// addUntouched is addReverted for a session that was never frozen: it had no pause.
func (t *tally) addUntouched(u string) {
	if t.first(u) {
		t.reverted++
	}
}

func (t *tally) addFailed(u string, cause backend.Cause) {
	if t.first(u) {
		t.failed++
		t.named = append(t.named, Named{Session: u, Nick: t.attempted[u], Outcome: "failed", Cause: string(cause)})
	}
}

func (t *tally) addLeft(u string, cause backend.Cause) {
	if t.first(u) {
		t.left++
		t.named = append(t.named, Named{Session: u, Nick: t.attempted[u], Outcome: "left", Cause: string(cause)})
	}
}

// rest counts whoever no step answered for, so that attempted is always the sum of the outcomes.
func (t *tally) rest(cause backend.Cause) {
	for u := range t.attempted {
		t.addLeft(u, cause)
	}
}

// write puts the counts into the report.
func (t *tally) write(r *Report) {
	r.Attempted = len(t.attempted)
	r.Moved, r.Reverted, r.Failed, r.Left, r.Reopened = t.moved, t.reverted, t.failed, t.left, t.reopened
	r.HeldLines, r.HeldBytes = t.heldLines, t.heldBytes
	r.Named = t.named
	r.Pause = summarize(t.pauses)
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
