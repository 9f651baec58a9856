package handoff

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff/protocol"
	"github.com/ircferry/ircferry/internal/config"
)

// Times within a move. The deadline governs them all.
const (
	checkTime        = 3 * time.Second // both ircds must answer HELLO by then, or the command is refused
	registrationTime = 2 * time.Second // registrations under way get this to finish
	answerTime       = 2 * time.Second // for answers that nobody may wait for longer: RESUME, ABORT, STATUS
	spliceTime       = 10 * time.Second
	leaseMargin      = 10 * time.Second // a lease outlasts the deadline by this, so that it never ends first
)

// run is one move while it is carried out: the state of its goroutine.
type run struct {
	c    *Coordinator
	m    *Move
	r    Request
	log  *slog.Logger
	from *backend.Backend
	to   *backend.Backend // nil: a hold, placed later
	was  backend.AdminState

	src, dst Party
	source   protocol.Hello
	tx, tok  string
	exported bool

	journal *Journal
	frozen  []backend.Frozen
	snap    *Snapshot
	tally   *tally
	placed  *backend.Backend // who has the users now, if they were taken out
	epoch   string           // of its process
	state   State            // the outcome
	why     error
	behind  []string // sessions that lost output with their ircd's process
}

// start connects to both ircds and lets the guards look; what they let pass goes on in the move's own goroutine.
func (c *Coordinator) start(r Request, from, to *backend.Backend) (*Move, error) {
	m, ctx, err := c.claim(r)
	if err != nil {
		return nil, err
	}
	x := &run{c: c, m: m, r: m.request, from: from, to: to, was: from.Admin(), tx: token(16), tok: token(16),
		tally: newTally(nil),
		log:   c.opt.Log.With("move", m.ID(), "kind", string(r.Kind), "pool", r.Pool, "from", r.From)}
	if err := x.check(ctx); err != nil {
		x.hangUp()
		c.free(m)
		return nil, err
	}
	if r.Kind == KindDrain || !x.gated() {
		if err := from.SetAdmin(backend.Drain); err != nil {
			x.hangUp()
			c.free(m)
			return nil, fmt.Errorf("drain %s: %w", from.FullName(), err)
		}
	}
	c.keep(m)
	c.wg.Add(1)
	go x.carryOut(ctx)
	return m, nil
}

// check is the guards' look at both ends.
func (x *run) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	refs, err := x.c.opt.Sessions.On(ctx, x.from.FullName())
	if err != nil {
		return &Error{StepCheck, x.from.FullName(), err}
	}
	if err := guardDescriptors(x.c.opt.Sessions, x.r, len(refs)); err != nil {
		return err
	}
	if x.src, err = x.c.opt.Driver.Connect(ctx, x.from); err != nil {
		return &Error{StepCheck, x.from.FullName(), err}
	}
	x.source = x.src.Info()
	if x.to == nil {
		return guardParties(x.r, x.from, len(refs), x.source, nil)
	}
	if x.dst, err = x.c.opt.Driver.Connect(ctx, x.to); err != nil {
		return &Error{StepCheck, x.to.FullName(), err}
	}
	target := x.dst.Info()
	if target.Epoch == x.source.Epoch {
		return &Refused{Reason: fmt.Sprintf("%s and %s are the same ircd process", x.from.FullName(), x.to.FullName()),
			Hint: "correct handoff: of one of them in the configuration"}
	}
	return guardParties(x.r, x.from, len(refs), x.source, &target)
}

// carryOut is the whole move, in its own goroutine.
func (x *run) carryOut(ctx context.Context) {
	defer x.c.wg.Done()
	resumeChecks := x.pauseChecks()
	if err := x.takeOut(ctx); err != nil {
		x.revert(err)
	} else {
		x.putIn()
	}
	resumeChecks()
	x.awaitChecked()
	// The end is told last: who has waited for it may begin the next move at once.
	x.endHold()
	x.openGate()
	x.hangUp()
	x.c.free(x.m)
	x.m.end(x.state, x.why)
}

// takeOut goes from prepare to RELEASED. An error means that nothing has changed for anybody, and that revert has to undo
// what was made ready. It answers nil exactly if the old ircd has no users of this move any more.
func (x *run) takeOut(ctx context.Context) error {
	if err := x.prepare(ctx); err != nil {
		return x.at(ctx, StepPrepare, err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, x.limits().MaxPause, fmt.Errorf("%w (%v)", ErrPause, x.limits().MaxPause))
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
	if cause := context.Cause(ctx); cause != nil {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	name := x.from.FullName()
	if step == StepPush && x.to != nil {
		name = x.to.FullName()
	}
	return &Error{step, name, err}
}

func (x *run) limits() Limits { return x.c.opt.Limits() }

func (x *run) closeGate() {
	if x.gated() {
		x.c.opt.Sessions.Gate(x.r.Pool)
	}
}

func (x *run) openGate() {
	if x.gated() {
		x.c.opt.Sessions.Ungate(x.r.Pool)
	}
}

// pauseChecks: an ircd whose world we stop is not down because it does not answer a check.
func (x *run) pauseChecks() (resume func()) {
	from, to := x.from.PauseChecks(), func() {}
	if x.to != nil {
		to = x.to.PauseChecks()
	}
	return func() { from(); to() }
}

// checkedTime is how long new clients wait at most for the checks to find the ircd that has the users now. They would try by
// themselves, but with a growing backoff, and a restart in place is known here before the next check.
const checkedTime = time.Second

// awaitChecked lets the checks see the process that has taken the users before new clients are let to it.
func (x *run) awaitChecked() {
	if x.placed == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), checkedTime)
	defer cancel()
	seen := make(chan struct{}, 1)
	unsubscribe := x.c.opt.Backends.Subscribe(func(backend.Event) {
		select {
		case seen <- struct{}{}:
		default:
		}
	})
	defer unsubscribe()
	for {
		if hello, _, ok := x.placed.Hello(); ok && hello.Epoch == x.epoch && x.placed.Oper() == backend.Up {
			return
		}
		x.placed.Recheck()
		select {
		case <-seen:
		case <-time.After(askEvery):
		case <-ctx.Done():
			return
		}
	}
}

// endHold lets new clients come to a held backend of a linked pool again.
func (x *run) endHold() {
	if x.to == nil && !x.gated() {
		x.restoreAdmin()
	}
}

// gated: the clients of a linked pool need not wait for one of its servers.
func (x *run) gated() bool { return x.from.Pool().Config().Topology != config.Linked }

// prepare makes all ready that can be made ready while everybody goes on.
func (x *run) prepare(ctx context.Context) error {
	x.m.enter(StepPrepare, "")
	x.closeGate()
	journal, err := createJournal(x.c.opt.Journals, x.m.ID())
	if err != nil {
		return err
	}
	x.journal = journal
	if err := journal.begin(x.r, x.m.ID(), x.tx, x.source.Epoch, x.was); err != nil {
		return err
	}
	if x.dst != nil {
		if err := x.dst.Import(ctx, x.tx, x.tok, x.r.Timeout+leaseMargin); err != nil {
			return fmt.Errorf("open import at %s: %w", x.to.FullName(), err)
		}
	}
	registration, cancel := context.WithTimeout(ctx, registrationTime)
	defer cancel()
	if err := x.attachRegistered(ctx); err != nil {
		return err
	}
	x.c.opt.Sessions.AwaitRegistered(registration, x.from.FullName())
	return x.attachRegistered(ctx)
}

// attachRegistered opens the new streams of those who are registered by now.
func (x *run) attachRegistered(ctx context.Context) error {
	if x.dst == nil {
		return nil
	}
	refs, err := x.c.opt.Sessions.On(ctx, x.from.FullName())
	if err != nil {
		return err
	}
	var us []string
	for _, ref := range refs {
		if ref.Registered {
			us = append(us, ref.U)
		}
	}
	return x.attach(ctx, us, x.to, x.dst.Info(), x.tx, x.tok)
}

// attach opens new streams; a session that ended meanwhile needs none.
func (x *run) attach(ctx context.Context, us []string, to *backend.Backend, info protocol.Hello, tx, tok string) error {
	stream, err := netip.ParseAddrPort(info.Stream)
	if err != nil {
		return fmt.Errorf("stream address of %s: %w", to.FullName(), err)
	}
	results := x.c.opt.Sessions.Attach(ctx, us, backend.AttachTo{Backend: to.FullName(), Stream: stream, SKey: info.SKey, Tx: tx, Tok: tok})
	for _, r := range results {
		if r.Cause != "" && r.Cause != backend.CauseGone {
			return fmt.Errorf("attach session %s to %s: %s", r.U, to.FullName(), r.Cause)
		}
	}
	x.m.update(func(report *Report) { report.Progress = len(results) })
	return nil
}

// freeze stops the clients' input.
func (x *run) freeze(ctx context.Context) error {
	x.m.enter(StepFreeze, "")
	frozen, err := x.c.opt.Sessions.Freeze(ctx, x.from.FullName())
	x.frozen, x.tally = frozen, newTally(frozen)
	x.m.update(func(r *Report) { r.Attempted, r.Progress = len(frozen), len(frozen) })
	return err
}

// pull stops the old ircd, takes its users into the journal (and on to the destination), and reads the old streams to their end.
func (x *run) pull(ctx context.Context) error {
	x.m.enter(StepPull, "")
	ask := protocol.ExportRequest{Tx: x.tx, Freeze: x.limits().MaxPause, Select: make([]protocol.Selection, len(x.frozen))}
	for i, f := range x.frozen {
		ask.Select[i] = protocol.Selection{U: f.U, In: f.In}
	}
	x.snap, x.exported = newSnapshot(), true
	end, err := x.src.Export(ctx, ask, x.takeRecord(ctx))
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	if err := x.acceptExport(end); err != nil {
		return err
	}
	return x.readUp(ctx)
}

// takeRecord writes a record into the journal and passes on what a destination needs of it.
func (x *run) takeRecord(ctx context.Context) func(protocol.Message) error {
	return func(rec protocol.Message) error {
		if err := x.journal.record(rec); err != nil {
			return err
		}
		out, err := x.snap.add(rec)
		if err != nil || x.dst == nil {
			return err
		}
		if err := x.dst.Record(ctx, out); err != nil {
			return fmt.Errorf("pass record on to %s: %w", x.to.FullName(), err)
		}
		return nil
	}
}

// acceptExport refuses an export that is not the one that was asked for, or whose users are not alone any more.
func (x *run) acceptExport(end protocol.End) error {
	if end.Unmovable > 0 && !x.r.AllowVisible {
		return fmt.Errorf("export: %d users came in past us meanwhile, they would see the others go", end.Unmovable)
	}
	for u, user := range x.snap.Users {
		if _, ours := x.tally.attempted[u]; !ours {
			return fmt.Errorf("export: the source gave user u=%s, who was not selected", u)
		}
		x.tally.attempted[u] = user.Nick
	}
	return nil
}

// readUp reads every old stream up to its count, before the old ircd may close it.
func (x *run) readUp(ctx context.Context) error {
	cuts := make([]backend.Cut, 0, len(x.snap.Users))
	for u, user := range x.snap.Users {
		cuts = append(cuts, backend.Cut{U: u, Out: user.Out})
	}
	var behind []string
	for _, r := range x.c.opt.Sessions.ReadUp(ctx, cuts) {
		switch r.Cause {
		case "":
		case backend.CauseGone, backend.CauseOverflow: // closed at the splice, by the proxy
		case backend.CauseBehind:
			behind = append(behind, r.U)
		default:
			return fmt.Errorf("read stream %s up to the count that its ircd tells: %s", r.U, r.Cause)
		}
	}
	return x.loseBehind(ctx, behind)
}

// loseBehind marks the sessions whose old stream ended before its count: nothing can make their output whole again, so
// they are closed once the new ircd has them (and tells the others with an ordinary QUIT). If the old
// ircd lives, its word is not to be trusted, and everybody goes on with it.
func (x *run) loseBehind(ctx context.Context, us []string) error {
	if len(us) == 0 {
		return nil
	}
	if !x.sourceGone(ctx) {
		return fmt.Errorf("%d streams ended before the count that their ircd tells, the first: %s", len(us), us[0])
	}
	x.behind = us
	return nil
}

// push attaches who is still without a stream and lets the destination build everything.
func (x *run) push(ctx context.Context) error {
	if x.dst == nil {
		return nil
	}
	x.m.enter(StepPush, "")
	us := make([]string, 0, len(x.snap.Users))
	for u := range x.snap.Users {
		us = append(us, u)
	}
	if err := x.attach(ctx, us, x.to, x.dst.Info(), x.tx, x.tok); err != nil {
		return err
	}
	prepared, err := x.dst.Prepare(ctx, x.tx)
	if err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	x.m.update(func(r *Report) { r.Warnings = warnings(prepared.Warns) })
	switch {
	case len(prepared.Conflicts) > 0:
		first := prepared.Conflicts[0]
		return fmt.Errorf("prepare: %d conflicts, the first: %s %s%s %s", len(prepared.Conflicts), first.Code, first.U, first.C, first.Text)
	case x.r.Strict && len(prepared.Warns) > 0:
		return fmt.Errorf("prepare: --strict, and the destination cannot keep %d things exactly", len(prepared.Warns))
	case prepared.Users != len(x.snap.Users):
		return fmt.Errorf("prepare: the destination has %d users and got %d", prepared.Users, len(x.snap.Users))
	}
	return nil
}

// release makes the old ircd forget its users: the point of no return. Once RELEASE may have been sent, only the ircd's word
// (or its death) tells who the owner is, so no context of the operator's ends the question.
func (x *run) release(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	x.m.enter(StepRelease, "")
	if err := x.journal.sync(protocol.NewMessage("RELEASE", "tx", x.tx)); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	quit := ""
	if x.r.AllowVisible && (x.source.Unmovable > 0 || x.source.Links > 0) {
		quit = "Moved to another server"
	}
	asked, cancel := context.WithTimeout(context.WithoutCancel(ctx), x.limits().MaxPause)
	defer cancel()
	err := x.src.Release(asked, x.tx, quit)
	var said *protocol.Error
	switch {
	case err == nil:
	case errors.As(err, &said):
		return fmt.Errorf("release: %w", err)
	default:
		if err := x.releaseFate(quit, err); err != nil {
			return err
		}
	}
	if err := x.journal.sync(protocol.NewMessage("RELEASED", "tx", x.tx)); err != nil {
		x.log.Warn("journal not written after the release; the move goes on from memory", "err", err)
	}
	return nil
}

// hangUp ends the conversations. For a source that is still frozen that is a RESUME.
func (x *run) hangUp() {
	for _, p := range []Party{x.src, x.dst} {
		if p != nil {
			p.Close()
		}
	}
}
