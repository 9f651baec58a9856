package handoff

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/ircferry/ircferry/backend"
)

// Limits bound a move; they are asked for at its begin, so a reload holds for the next one.
type Limits struct {
	Deadline time.Duration // end to end until the point of no return
	MaxPause time.Duration // freeze until the point of no return
	Park     time.Duration // after the point of no return
	Visible  bool          // a hold or restart is carried out as if --allow-visible were said
}

// Options are what a Coordinator works with.
type Options struct {
	Sessions Sessions
	Links    Links // nil: no server link is held
	Backends *backend.Set
	Driver   Driver
	Journals string        // directory of the journals
	Limits   func() Limits // of the present configuration
	OnChange func(Report)  // told at each step and outcome, never concurrently for one move; may be nil
	// Paused is told how long each moved or reverted session was not served; may be nil.
	Paused func(pool string, kind Kind, pause time.Duration)
	// Hurry is called when clients begin to wait, and what it answers when they go on or it will be long; may be nil.
	Hurry func() (over func())
	// Past is what a process before this one, which lives still, has left; nil: there is none, and journals are those of one that has ended.
	Past *Past
	// Held are sessions that moves of a process had which was killed: the journals tell what to do with them, as soon as Start is called.
	Held []backend.Held
	Log  *slog.Logger
}

// Coordinator takes the operator's commands and carries moves out, one at a time in a pool. Its methods may be called from
// any goroutine.
type Coordinator struct {
	opt Options

	pools sync.RWMutex // read-locked where a move begins, so that it finds the pools of one configuration; taken before mu

	mu         sync.Mutex
	moves      []*Move          // oldest first, at most keptMoves ended ones
	active     map[string]*Move // by pool
	rehearsing map[string]bool  // pools with a dry run
	closed     bool             // since Close
	still      *Standstill      // nil: moves go on
	asked      chan struct{}    // closed as long as still is there
	carried    []func()         // moves of a process before, until Start
	owed       map[*owing]bool  // ABORTs of ended moves that are asked for
	wg         sync.WaitGroup   // added to under mu, while not closed

	alive context.Context // until Close, with the cause errDaemonEnds
	end   context.CancelCauseFunc

	toDisk func(*os.File) error // of journals; a test has a slow disk
}

// Moving reports whether a move has the sessions of a backend ("pool/name"), and will let them go.
func (c *Coordinator) Moving(backend string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.active {
		if m.request.Pool+"/"+m.request.From == backend {
			return true
		}
	}
	return false
}

// keptMoves is how many ended moves can still be asked for: a day of an operator's work, some KB each.
const keptMoves = 100

// New makes a Coordinator. Journals of an earlier daemon are put aside and answered, so that the caller can say what
// became of whom.
func New(opt Options) (*Coordinator, []Interrupted, error) {
	c := &Coordinator{opt: opt, active: make(map[string]*Move), rehearsing: make(map[string]bool), asked: make(chan struct{}), owed: make(map[*owing]bool),
		toDisk: (*os.File).Sync}
	c.alive, c.end = context.WithCancelCause(context.Background())
	if opt.Past == nil {
		claimed := c.recover(opt.Held)
		interrupted, err := findInterrupted(opt.Journals, claimed)
		return c, interrupted, err
	}
	if err := c.inherit(opt.Past); err != nil {
		return nil, nil, err
	}
	return c, opt.Past.Interrupted, nil
}

// Drain moves all users of a backend to another one of its pool and keeps new clients away from it. A guard's refusal is a *Refused and
// changes nothing. It returns when the move has begun. A backend without a driver is drained in HAProxy's sense: its
// sessions stay, and the move ends at once and says so.
func (c *Coordinator) Drain(r Request) (*Move, error) {
	c.awaitEnding(r.Pool)
	c.pools.RLock()
	defer c.pools.RUnlock()
	r.Kind = KindDrain
	from, err := c.find(r.Pool, r.From)
	if err != nil {
		return nil, err
	}
	if err := guardDrain(from); err != nil {
		return nil, err
	}
	if !from.Native() {
		return c.drainRelay(r, from)
	}
	to, err := c.destination(r, from)
	if err != nil {
		return nil, err
	}
	r.To = to.Name()
	return c.start(r, from, to)
}

// Hold pulls the users of a backend and parks their sessions, so that the ircd can be restarted. With KindRestart the release waits
// for a new process. It returns when the move has begun; Parked tells when the ircd may be stopped.
func (c *Coordinator) Hold(r Request) (*Move, error) {
	if r.Kind != KindRestart {
		r.Kind = KindHold
	}
	r.AllowVisible = r.AllowVisible || c.opt.Limits().Visible
	c.awaitEnding(r.Pool)
	c.pools.RLock()
	defer c.pools.RUnlock()
	from, err := c.find(r.Pool, r.From)
	if err != nil {
		return nil, err
	}
	if err := guardNative(from); err != nil {
		return nil, err
	}
	return c.start(r, from, nil)
}

// Release pushes the users of the parked move of pool/name: back, or to another backend of the pool.
func (c *Coordinator) Release(pool, name, to, actor string) (*Move, error) {
	if c.stands() {
		return nil, errUpgrade
	}
	m := c.of(pool)
	if m == nil || m.request.From != name || !m.Report().waits() {
		return nil, &Refused{Reason: fmt.Sprintf("%s/%s is not held", pool, name), Hint: "ferryctl show moves tells what is"}
	}
	where := placing{to: name, newEpoch: m.request.Kind == KindRestart, released: true}
	if to != "" && to != name {
		target, err := c.find(pool, to)
		if err != nil {
			return nil, err
		}
		if !target.Native() {
			return nil, &Refused{Reason: fmt.Sprintf("%s has no driver: it cannot take users", target.FullName())}
		}
		where = placing{to: to, released: true}
	}
	return m, m.state.on(event{what: placed, place: where})
}

// Cancel ends a move: before RELEASE can have left everybody goes on where he was; users who are in the journal are pushed
// back into their old backend, also if a try to put them elsewhere is under way. It returns at once. What it does not refuse will be done.
func (c *Coordinator) Cancel(id string) error {
	m := c.byID(id)
	if m == nil {
		return fmt.Errorf("no move %q", id)
	}
	if c.stands() {
		return errUpgrade
	}
	if report := m.Report(); report.State.Ended() {
		return &Refused{Reason: fmt.Sprintf("move %s has ended (%s)", id, report.State)}
	}
	err := m.state.on(event{what: cancelled, why: ErrCancelled, place: placing{to: m.request.From}})
	var refused *Refused
	if errors.As(err, &refused) {
		return &Refused{Reason: fmt.Sprintf("move %s cannot be cancelled: %s", id, refused.Reason), Hint: refused.Hint}
	}
	m.cancel(ErrCancelled) // what it stops is before the point of no return only
	return err
}

// Moves lists the moves that are known, oldest first.
func (c *Coordinator) Moves() []Report {
	c.mu.Lock()
	moves := slices.Clone(c.moves)
	c.mu.Unlock()
	reports := make([]Report, len(moves))
	for i, m := range moves {
		reports[i] = m.Report()
	}
	return reports
}

// Move answers one move's report.
func (c *Coordinator) Move(id string) (Report, bool) {
	if m := c.byID(id); m != nil {
		return m.Report(), true
	}
	return Report{}, false
}

// Watch is Move with a channel that is closed at the report's next change.
func (c *Coordinator) Watch(id string) (Report, <-chan struct{}, bool) {
	m := c.byID(id)
	if m == nil {
		return Report{}, nil, false
	}
	report, changed := m.Watch()
	return report, changed, true
}

// Close cancels what can be cancelled and waits for all moves, until ctx is over. Users that are parked then stay in their journals.
func (c *Coordinator) Close(ctx context.Context) error {
	c.mu.Lock()
	c.closed = true // nothing begins any more
	for _, m := range c.active {
		m.state.on(event{what: stopped, why: errDaemonEnds})
		m.cancel(errDaemonEnds)
	}
	c.mu.Unlock()
	c.end(errDaemonEnds)
	ended := make(chan struct{})
	go func() { c.wg.Wait(); close(ended) }()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for moves to end: %w", ctx.Err())
	}
}

func (c *Coordinator) find(pool, name string) (*backend.Backend, error) {
	p, ok := c.opt.Backends.Pool(pool)
	if !ok {
		return nil, fmt.Errorf("no pool %q in the configuration", pool)
	}
	b, ok := p.Backend(name)
	if !ok {
		return nil, fmt.Errorf("no backend %q in pool %s", name, pool)
	}
	return b, nil
}

func (c *Coordinator) byID(id string) *Move {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.moves {
		if m.ID() == id {
			return m
		}
	}
	return nil
}

func (c *Coordinator) of(pool string) *Move {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.active[pool]
}

// endingTime is how long a new move waits for one of the pool that is past its point of no return. That one is about to end; what may take
// a while is that the checks see the ircd, and a slow disk.
const endingTime = 20 * time.Second

// awaitEnding lets a move end whose users are being put in, or are in. If it were refused, the hold of a second restart that follows on the
// first at once would be, and the ircd would be stopped with the users in it.
func (c *Coordinator) awaitEnding(pool string) {
	m := c.of(pool)
	if m == nil || !m.Report().ending() {
		return
	}
	select {
	case <-m.Done():
	case <-time.After(endingTime):
	}
}

// errClosed refuses what would begin while the daemon ends.
var errClosed = &Refused{Reason: "the daemon ends: nothing is moved any more", Hint: "ask the one that is started next"}

// claim makes the pool's one move, with the context of its reversible part. The caller says wg.Done at its end.
func (c *Coordinator) claim(r Request) (*Move, context.Context, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, nil, errClosed
	}
	if c.still != nil {
		return nil, nil, errUpgrade
	}
	if running := c.active[r.Pool]; running != nil {
		return nil, nil, underWay(running)
	}
	if c.rehearsing[r.Pool] {
		return nil, nil, errRehearsal(r.Pool)
	}
	if r.Timeout <= 0 {
		r.Timeout = c.opt.Limits().Deadline
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	ctx, stop := context.WithTimeoutCause(ctx, r.Timeout, fmt.Errorf("%w (%v)", ErrDeadline, r.Timeout))
	context.AfterFunc(ctx, stop)
	m := newMove(moveID(), r, cancel, c.opt.OnChange)
	c.active[r.Pool] = m
	c.wg.Add(1)
	return m, ctx, nil
}

// beside runs f as part of what Close waits for, unless it was called.
func (c *Coordinator) beside(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.wg.Go(f)
	return true
}

// keep puts a claimed move among those that can be asked for.
func (c *Coordinator) keep(m *Move) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.moves = append(c.moves, m)
	if len(c.moves) > keptMoves {
		c.moves = slices.Delete(c.moves, 0, len(c.moves)-keptMoves)
	}
}

// free lets the pool have its next move.
func (c *Coordinator) free(m *Move) {
	c.mu.Lock()
	delete(c.active, m.request.Pool)
	c.mu.Unlock()
	m.cancel(nil)
}

// moveID is short enough to type and unique enough for a journal's name.
func moveID() string { return time.Now().UTC().Format("0102-150405-") + token(2) }

// token is n random bytes in hex: transaction ids and their secrets have 16.
func token(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return hex.EncodeToString(b)
}
