package handoff

import (
	"context"
	"errors"
	"fmt"

	"github.com/ircferry/ircferry/handoff/protocol"
)

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
		return fmt.Errorf("prepare: %w", conflicting(prepared.Conflicts))
	case x.r.Strict && len(prepared.Warns) > 0:
		return fmt.Errorf("prepare: --strict, and the destination cannot keep %d things exactly", len(prepared.Warns))
	case prepared.Users != len(x.snap.Users):
		return fmt.Errorf("prepare: the destination has %d users and got %d", prepared.Users, len(x.snap.Users))
	}
	return nil
}

// conflicting is the error of a destination that told conflicts.
func conflicting(told []protocol.Note) error {
	first := told[0]
	return fmt.Errorf("%d conflicts, the first: %s %s%s %s", len(told), first.Code, first.U, first.C, first.Text)
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
	asked, cancel := context.WithTimeout(context.WithoutCancel(ctx), x.limits.MaxPause)
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
	if err := x.journal.mark(protocol.NewMessage("RELEASED", "tx", x.tx)); err != nil {
		x.log.Warn("journal not written after the release; the move goes on from memory", "err", err)
	}
	return nil
}
