package handoff

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff/protocol"
	"github.com/ircferry/ircferry/internal/config"
)

// Times within a move. The deadline governs them all before the point of no return, the park time after it.
const (
	checkTime        = 3 * time.Second  // both ircds must answer HELLO by then, or the command is refused
	registrationTime = 2 * time.Second  // registrations under way get this to finish
	answerTime       = 2 * time.Second  // for answers that nobody may wait for longer: RESUME, ABORT, STATUS, IMPORT after RELEASED
	buildTime        = 30 * time.Second // for a destination to read the records, and to build them, after RELEASED
	spliceTime       = 10 * time.Second // for LIVE; also for streams to be attached after RELEASED, as long as some come
	diskTime         = 10 * time.Second // for the disk at the end of a move, when nobody waits for it any more
	leaseMargin      = 10 * time.Second // a lease outlasts the deadline by this, so that it never ends first; see lease
)

// run is one move while it is carried out: what its goroutine knows. Who has the users, and what became of each, is in state.
type run struct {
	c     *Coordinator
	m     *Move
	r     Request
	log   *slog.Logger
	proxy asks
	state *machine
	from  *backend.Backend
	to    *backend.Backend // nil: a hold, placed later
	was   backend.AdminState

	src, dst Party
	source   protocol.Hello
	process  Process // of the source
	tx, tok  string
	exported bool
	pulled   bool                     // the source's users are in snap, all of them
	calmDown func()                   // of Options.Hurry
	quiet    bool                     // COMMITTED was LIVE for all
	missing  []string                 // but for these
	owed     []transaction            // whose ABORT was not answered
	stays    map[string]backend.Cause // left out of the move before its point of no return: they stay where they are

	limits  Limits               // of the configuration with which the move began
	gated   bool                 // new clients of the pool wait; those of a linked pool need not wait for one of its servers
	refs    []backend.SessionRef // before the freeze
	journal *Journal
	frozen  []backend.Frozen
	snap    *Snapshot
	placed  *backend.Backend // who has the users now, if they were taken out
	epoch   string           // of its process
	outcome State
	why     error
	behind  []string // sessions that lost output with their ircd's process
	links   linkage
	last    bool // the park time is over: whom a conflict does not concern waits for it no longer

	until    time.Time               // behind the point of no return: the end of the park time; of a pause: its end
	where    *placing                // where the users go, as soon as that is known
	refusals map[string]int          // of tries, by backend name
	left     bool                    // another process goes on with the move
	held     map[string]backend.Held // sessions that a process which was killed has left
}

// start connects to both ircds and lets the guards look; what they let pass goes on in the move's own goroutine.
func (c *Coordinator) start(r Request, from, to *backend.Backend) (*Move, error) {
	m, ctx, err := c.claim(r)
	if err != nil {
		return nil, err
	}
	x := c.newRun(m, from, to)
	if err := x.check(ctx); err != nil {
		x.hangUp()
		c.free(m)
		c.wg.Done()
		return nil, err
	}
	c.keep(m)
	go x.carryOut(ctx)
	return m, nil
}

func (c *Coordinator) newRun(m *Move, from, to *backend.Backend) *run {
	r := m.request
	return &run{c: c, m: m, r: r, proxy: asks{c.opt.Sessions}, state: m.state, from: from, to: to, was: from.Admin(),
		process: NoProcess, stays: make(map[string]backend.Cause), refusals: make(map[string]int), limits: c.opt.Limits(), gated: from.Pool().Config().Topology != config.Linked,
		log: c.opt.Log.With("move", m.ID(), "kind", string(r.Kind), "pool", r.Pool, "from", r.From)}
}

// check is the guards' look at both ends.
func (x *run) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	refs, err := x.proxy.on(ctx, x.from.FullName())
	if err != nil {
		return &Error{StepCheck, x.from.FullName(), err}
	}
	if err := guardDescriptors(x.c.opt.Sessions, x.r, len(refs)); err != nil {
		return err
	}
	if x.src, err = x.c.opt.Driver.Connect(ctx, x.from); err != nil {
		return &Error{StepCheck, x.from.FullName(), err}
	}
	x.source, x.refs, x.process = x.src.Info(), refs, x.src.Process()
	if x.to == nil {
		return x.guard(nil)
	}
	if x.dst, err = x.c.opt.Driver.Connect(ctx, x.to); err != nil {
		return &Error{StepCheck, x.to.FullName(), err}
	}
	target := x.dst.Info()
	if err := guardSame(x.from, x.to, x.source, target); err != nil {
		return err
	}
	return x.guard(&target)
}

// guard lets the guards look at both ends, and says which links are to be held.
func (x *run) guard(dst *protocol.Hello) (err error) {
	if err := guardParties(x.r, x.from, len(x.refs), x.source, dst); err != nil {
		return err
	}
	x.links.want, err = linksToHold(x.r, x.from, x.source, dst, x.c.linksOf(x.from))
	return err
}

// carryOut is the whole move, in its own goroutine.
func (x *run) carryOut(ctx context.Context) {
	defer x.c.wg.Done()
	resumeChecks := x.pauseChecks()
	for {
		err := x.takeOut(ctx)
		if err == nil {
			x.putIn()
		} else if x.leaveOut(ctx, err) || x.leaveLinks(ctx, err) {
			continue
		} else {
			x.revert(err)
		}
		break
	}
	if x.left {
		x.leave()
		return
	}
	x.wrapUp(resumeChecks)
}

// wrapUp is the end of a move, whatever became of it.
func (x *run) wrapUp(resumeChecks func()) {
	x.endLinks(cmp.Or(x.why, errors.New("the move has ended without it")))
	resumeChecks()
	x.awaitChecked()
	// The end is told last: who has waited for it may begin the next move at once.
	x.endHold()
	x.openGate()
	x.endJournal()
	x.hangUp()
	x.tellWhoWaits()
	for _, t := range x.owed {
		x.c.forgetLater(x.r.Pool, t)
	}
	x.c.free(x.m)
	x.m.end(x.outcome, x.why)
}

// takeOut goes from prepare to RELEASED. An error means that nothing has changed for anybody, and that revert has to undo
// what was made ready. It answers nil exactly if the old ircd has no users of this move any more.
func (x *run) takeOut(ctx context.Context) error {
	if err := x.prepare(ctx); err != nil {
		return x.at(ctx, StepPrepare, err)
	}
	if err := x.holdLinks(ctx); err != nil {
		return x.at(ctx, StepPrepare, err)
	}
	x.hurry()
	ctx, cancel := context.WithTimeoutCause(ctx, x.limits.MaxPause, fmt.Errorf("%w (%v)", ErrPause, x.limits.MaxPause))
	defer cancel()
	if err := x.freeze(ctx); err != nil {
		return x.at(ctx, StepFreeze, err)
	}
	if err := x.pull(ctx); err != nil {
		return x.at(ctx, StepPull, err)
	}
	if err := x.push(ctx); err != nil {
		return x.at(ctx, StepPush, err)
	}
	if err := x.release(ctx); err != nil {
		return x.at(ctx, StepRelease, err)
	}
	return nil
}

// at names the step of an error, and the reason of the context if that is why.
func (x *run) at(ctx context.Context, step Step, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	name := x.from.FullName()
	if step == StepPush && x.to != nil {
		name = x.to.FullName()
	}
	return &Error{step, name, err}
}

// hurry says that clients wait for what comes, until calm.
func (x *run) hurry() {
	if x.c.opt.Hurry != nil && x.calmDown == nil {
		x.calmDown = x.c.opt.Hurry()
	}
}

func (x *run) calm() {
	if x.calmDown != nil {
		x.calmDown()
		x.calmDown = nil
	}
}

// note tells the machine what was seen. An event that it does not take is a mistake of ours: it is logged, and changes nothing.
func (x *run) note(e event) bool {
	err := x.state.on(e)
	if err != nil {
		x.log.Error("the state of the move does not allow what happened", "err", err)
		return false
	}
	if e.u != "" && (e.what == takenOut || e.what == tryFailed) {
		x.mark("OUT", "u", e.u, "outcome", e.outcome, "cause", string(e.cause))
	}
	return true
}

func (x *run) closeGate() {
	if x.gated {
		x.proxy.gate(x.r.Pool)
	}
}

func (x *run) openGate() {
	if x.gated {
		x.proxy.ungate(x.r.Pool)
	}
}

// endHold lets new clients come to a held backend of a linked pool again.
func (x *run) endHold() {
	if x.to == nil && !x.gated {
		x.restoreAdmin()
	}
}

// hangUp ends the conversations. For a source that is still frozen that is a RESUME.
func (x *run) hangUp() {
	x.process.Release()
	x.process = NoProcess
	for _, p := range []Party{x.src, x.dst} {
		if p != nil {
			p.Close()
		}
	}
}
