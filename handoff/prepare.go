package handoff

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff/protocol"
)

// prepare makes all ready that can be made ready while everybody goes on.
func (x *run) prepare(ctx context.Context) error {
	x.m.enter(StepPrepare, "")
	x.closeGate()
	journal, err := createJournal(x.c.opt.Journals, x.m.ID())
	if err != nil {
		return err
	}
	journal.toDisk = x.c.toDisk
	x.journal = journal
	if err := journal.begin(x.r, x.m.ID(), x.tx, x.source.Epoch, x.was); err != nil {
		return err
	}
	// Behind the journal, which knows what to set back: a daemon that ends in between must not leave the backend in drain.
	if x.r.Kind == KindDrain || !x.gated {
		if err := x.from.SetAdmin(backend.Drain); err != nil {
			return fmt.Errorf("drain %s: %w", x.from.FullName(), err)
		}
	}
	if x.dst != nil {
		if err := x.dst.Import(ctx, x.tx, x.tok, lease(x.r.Timeout), ""); err != nil {
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

// attach opens new streams; a session that ended meanwhile needs none. It ends early if the destination's process does: the streams would
// be refused, and tried again, for as long as the step may last.
func (x *run) attach(ctx context.Context, us []string, to *backend.Backend, info protocol.Hello, tx, tok string) error {
	stream, err := netip.ParseAddrPort(info.Stream)
	if err != nil {
		return fmt.Errorf("stream address of %s: %w", to.FullName(), err)
	}
	ctx, stop := x.whileThere(ctx, to, info.Epoch)
	defer stop()
	results := x.c.opt.Sessions.Attach(ctx, us, backend.AttachTo{Backend: to.FullName(), Stream: stream, SKey: info.SKey, Tx: tx, Tok: tok})
	for _, r := range results {
		if r.Cause != "" && errors.Is(context.Cause(ctx), errGone) {
			return fmt.Errorf("attach sessions to %s: %w", to.FullName(), context.Cause(ctx))
		}
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
