package handoff

import (
	"context"
	"fmt"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff/protocol"
)

// push attaches who is still without a stream and lets the destination build everything.
func (x *run) push(ctx context.Context) error {
	if x.dst == nil {
		return nil
	}
	x.m.enter(StepPush, "")
	x.note(event{what: tryBegan, at: x.to.Name()})
	err := x.buildBeforeRelease(ctx)
	if err != nil {
		x.note(event{what: tryFailed})
	}
	return err
}

func (x *run) buildBeforeRelease(ctx context.Context) error {
	us := x.state.who((*member).moving)
	got, err := x.attach(ctx, us, x.to, x.dst, x.tx, x.tok)
	if err != nil {
		return err
	}
	if err := x.refusal(got, x.to); err != nil {
		return err
	}
	x.noteAttached(got)
	if len(got.gone) > 0 && !x.dst.Info().Can(protocol.FeatMissing) {
		if err := x.buildWithout(ctx, got.gone); err != nil {
			return err
		}
	}
	if err := x.replayBeforeRelease(ctx); err != nil {
		return err
	}
	prepared, err := x.dst.Prepare(ctx, x.tx)
	if err != nil {
		return fmt.Errorf("prepare: %w", x.known(err))
	}
	x.m.update(func(r *Report) { r.Warnings = warnings(prepared.Warns) })
	switch {
	case len(prepared.Conflicts) > 0:
		return x.conflicting(prepared.Conflicts)
	case x.r.Strict && len(prepared.Warns) > 0:
		return fmt.Errorf("prepare: --strict, and the destination cannot keep %d things exactly", len(prepared.Warns))
	case prepared.Users != len(x.snap.Users):
		return fmt.Errorf("prepare: the destination has %d users and got %d", prepared.Users, len(x.snap.Users))
	}
	return nil
}

func (x *run) noteAttached(got streams) {
	for _, u := range got.attached {
		x.note(event{what: attached, u: u})
	}
}

// buildWithout begins the import anew without users for whom there is no stream, for an ircd that wants one for each at COMMIT: one without links.
func (x *run) buildWithout(ctx context.Context, us []string) error {
	for _, u := range us {
		x.takeOutOf(u, "left", backend.CauseGone)
	}
	x.proxy.detach(x.state.who((*member).moving))
	if err := x.dst.Abort(ctx, x.tx); err != nil {
		return fmt.Errorf("import anew without %d sessions that ended: %w", len(us), err)
	}
	x.note(event{what: tryFailed})
	x.note(event{what: tryBegan, at: x.to.Name()})
	x.tok = token(16)
	if err := x.dst.Import(ctx, x.tx, x.tok, lease(x.r.Timeout), "", false); err != nil {
		return fmt.Errorf("import anew without %d sessions that ended: %w", len(us), err)
	}
	for _, rec := range x.snap.Records {
		if err := x.dst.Record(ctx, rec); err != nil {
			return fmt.Errorf("pass record on to %s: %w", x.to.FullName(), err)
		}
	}
	got, err := x.attach(ctx, x.state.who((*member).moving), x.to, x.dst, x.tx, x.tok)
	switch {
	case err != nil:
		return err
	case len(got.gone) > 0:
		return fmt.Errorf("%d more sessions ended meanwhile", len(got.gone))
	}
	x.noteAttached(got)
	return x.refusal(got, x.to)
}

// takeOutOf takes a session out of the move, and what is his out of what a destination gets.
func (x *run) takeOutOf(u, outcome string, cause backend.Cause) bool {
	if !x.note(event{what: takenOut, u: u, outcome: outcome, cause: cause}) {
		return false
	}
	x.drop(u)
	return true
}

// known makes an ERROR that names a user one of this move, or of nobody.
func (x *run) known(err error) error {
	if e, ok := said(err); ok && e.U != "" && x.snap.Users[e.U] == nil {
		return fmt.Errorf("%w: %w", errStranger, err)
	}
	return err
}

// conflicting is the error of a destination that told conflicts. It is the blame of a user if it is his, and his alone.
func (x *run) conflicting(told []protocol.Note) error {
	for _, n := range told {
		x.state.tell(n.U, n)
		if err := x.journal.mark(n.Message("CONFLICT", x.tx)); err != nil {
			x.log.Warn("journal not written", "err", err)
		}
	}
	first := told[0]
	err := fmt.Errorf("%d conflicts, the first: %s %s%s%s %s", len(told), first.Code, first.U, first.C, first.L, first.Text)
	for _, n := range told {
		switch {
		case n.L != "":
			return &linkTrouble{n.L, fmt.Errorf("prepare: %w", err)}
		case n.U != "" && x.snap.Users[n.U] == nil:
			return fmt.Errorf("prepare: %w: %w", errStranger, err)
		case n.U == "":
			return fmt.Errorf("prepare: %w", err)
		}
	}
	return &blame{first.U, backend.CauseConflict, fmt.Errorf("prepare: %w", err)}
}

// release makes the old ircd forget its users: the point of no return. Once RELEASE may have been sent, only the ircd's word
// (or its death) tells who the owner is, so no context of the operator's ends the question.
func (x *run) release(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	x.m.enter(StepRelease, "")
	if err := x.journal.sync(ctx, protocol.NewMessage("RELEASE", "tx", x.tx)); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	quit := x.quitText()
	if err := x.state.on(event{what: releaseOut}); err != nil {
		return err
	}
	if err := x.letGoOf(ctx, quit); err != nil {
		x.note(event{what: resumed})
		return err
	}
	x.note(event{what: released})
	x.markNow("RELEASED", "tx", x.tx, "uptime", millisOf(uptime()))
	return nil
}

// quitText is what those who stay see of those who move, if the operator has said that they may; "": nothing.
func (x *run) quitText() string {
	if !x.r.AllowVisible || x.source.Unmovable == 0 && (x.source.Links == 0 || x.links.held != nil) {
		return ""
	}
	switch x.r.Kind {
	case KindRestart:
		return "The server is being restarted"
	case KindHold:
		return "The server is stopped for a while"
	default:
		return "Moved to another server"
	}
}

// letGoOf is nil if the old ircd does not have the users any more, and an error if it certainly has.
func (x *run) letGoOf(ctx context.Context, quit string) error {
	asked, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerTime)
	defer cancel()
	err := x.src.Release(asked, x.tx, quit)
	if err == nil {
		return nil
	}
	if _, ok := said(err); ok {
		return fmt.Errorf("release: %w", err)
	}
	return x.releaseFate(quit, err)
}
