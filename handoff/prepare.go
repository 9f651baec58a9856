package handoff

import (
	"context"
	"errors"
	"fmt"

	"github.com/ircferry/ircferry/backend"
)

// prepare makes all ready that can be made ready while everybody goes on.
func (x *run) prepare(ctx context.Context) error {
	x.m.enter(StepPrepare, "")
	x.tx, x.tok = token(16), token(16)
	x.closeGate()
	if err := x.openJournal(ctx); err != nil {
		return err
	}
	// Behind the journal, which knows what to set back: a daemon that ends in between must not leave the backend in drain.
	if x.r.Kind == KindDrain || !x.gated {
		if err := x.setAdmin(ctx, backend.Drain); err != nil {
			return fmt.Errorf("drain %s: %w", x.from.FullName(), err)
		}
	}
	if x.dst != nil {
		if err := x.dst.Import(ctx, x.tx, x.tok, lease(x.r.Timeout), "", len(x.links.want) > 0); err != nil {
			return fmt.Errorf("open import at %s: %w", x.to.FullName(), err)
		}
	}
	registration, cancel := context.WithTimeout(ctx, registrationTime)
	defer cancel()
	if err := x.attachRegistered(ctx); err != nil {
		return err
	}
	x.proxy.awaitRegistered(registration, x.from.FullName())
	return x.attachRegistered(ctx)
}

func (x *run) openJournal(ctx context.Context) error {
	journal, err := createJournal(ctx, x.c.opt.Journals, x.m.ID(), x.c.toDisk)
	if err != nil {
		return err
	}
	x.journal = journal
	return journal.begin(ctx, x.openingMark())
}

// setAdmin sets the admin state, which is remembered on disk.
func (x *run) setAdmin(ctx context.Context, state backend.AdminState) error {
	err, late := within(ctx, func() error { return x.from.SetAdmin(state) })
	return errors.Join(err, late)
}

// attachRegistered opens the new streams of those who are registered by now.
func (x *run) attachRegistered(ctx context.Context) error {
	if x.dst == nil {
		return nil
	}
	refs, err := x.proxy.on(ctx, x.from.FullName())
	if err != nil {
		return err
	}
	var us []string
	for _, ref := range refs {
		if _, stays := x.stays[ref.U]; ref.Registered && !stays {
			us = append(us, ref.U)
		}
	}
	got, err := x.attach(ctx, us, x.to, x.dst, x.tx, x.tok)
	if err != nil {
		return err
	}
	return x.refusal(got, x.to)
}

// refusal is the blame of one of those whose streams a destination does not take.
func (x *run) refusal(got streams, to *backend.Backend) error {
	for u, cause := range got.refused {
		return &blame{u, cause, fmt.Errorf("its stream to %s cannot be attached (%s)", to.FullName(), cause)}
	}
	return nil
}

// freeze stops the clients' input.
func (x *run) freeze(ctx context.Context) error {
	x.m.enter(StepFreeze, "")
	stopped, err := x.proxy.freeze(ctx, x.from.FullName())
	x.frozen = stopped
	for _, f := range stopped {
		nick := ""
		if f.Registered {
			nick = "?" // the records tell it
		}
		x.note(event{what: frozen, u: f.U, nick: nick})
	}
	x.m.update(func(r *Report) { x.state.write(r); r.Progress = len(stopped) })
	return err
}
