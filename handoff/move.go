package handoff

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"
)

// ErrCancelled is the cause of a move that the operator cancelled.
var ErrCancelled = errors.New("cancelled by the operator")

// Move is one command under way or ended. All methods may be called from any goroutine.
type Move struct {
	request  Request
	onChange func(Report)
	done     chan struct{}
	parked   chan struct{}
	state    *machine
	cancel   context.CancelCauseFunc

	mu      sync.Mutex
	report  Report
	since   time.Time     // when the present step began
	changed chan struct{} // closed and replaced at each change of the report
}

func newMove(id string, r Request, cancel context.CancelCauseFunc, onChange func(Report)) *Move {
	return &Move{
		request:  r,
		onChange: onChange,
		done:     make(chan struct{}),
		parked:   make(chan struct{}),
		state:    newMachine(),
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
	report.Links = slices.Clone(report.Links)
	report.Took = maps.Clone(report.Took)
	report.out = !report.State.Ended() && !m.state.revertible()
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

// say tells what the step waits for.
func (m *Move) say(note string) {
	if m.Report().Note != note {
		m.update(func(r *Report) { r.Note = note })
	}
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
