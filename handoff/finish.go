package handoff

import (
	"context"
	"errors"
	"fmt"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff/protocol"
)

// commit makes the users live. committed false means that they certainly are not.
func (x *run) commit(ctx context.Context, dst Party, to *backend.Backend, tx string) (committed bool, err error) {
	x.m.enter(StepCommit, "")
	epoch := dst.Info().Epoch
	asked, cancel := context.WithTimeout(ctx, x.limits.MaxPause)
	_, err = dst.Commit(asked, tx)
	cancel()
	if err == nil {
		return true, nil
	}
	var said *protocol.Error
	if errors.As(err, &said) {
		x.abort(dst, to, tx)
		return false, err
	}
	x.log.Warn("commit not answered; asking the destination", "to", to.FullName(), "err", err)
	dst.Close()
	x.c.opt.Sessions.Park(x.parkable(), x.source.Name) // it may last: nobody may leave because his PING gets no answer
	committed, fate := x.commitFate(ctx, to, epoch, tx)
	if fate != nil && !errors.Is(fate, errGone) {
		x.owed = append(x.owed, transaction{to.Name(), tx})
	}
	return committed, errors.Join(err, fate)
}

// finish splices and thaws: the new ircd is the owner from here on.
func (x *run) finish(to *backend.Backend, epoch string) {
	x.placed, x.epoch = to, epoch
	x.m.enter(StepSplice, "")
	if err := x.journal.mark(protocol.NewMessage("COMMITTED", "tx", x.tx, "to", to.Name())); err != nil {
		x.log.Warn("journal not written after the commit", "err", err)
	}
	x.endBehind()
	x.spliceAll(to)
	x.reopenAll(to)
	if err := to.Pool().SetServing(to.Name()); err != nil {
		x.log.Warn("serving backend not remembered", "backend", to.FullName(), "err", err)
	}
	x.tally.rest(backend.CauseGone)
	x.m.update(func(r *Report) { r.Step, r.Note, r.To = StepThaw, "", to.Name(); x.tally.write(r) })
	if x.to != nil && to == x.from {
		x.restoreAdmin()
		x.state, x.why = StateReverted, fmt.Errorf("%s failed after it had been prepared; the users were put back", x.to.FullName())
		return
	}
	x.state = StateDone
}

// endJournal is for the end of a move whose users are placed, when nobody waits any more.
func (x *run) endJournal() {
	if x.placed == nil {
		return
	}
	if err := x.journal.done(); err != nil {
		x.log.Warn("journal not removed", "err", err)
	}
}

// endBehind closes the sessions whose output cannot be made whole.
func (x *run) endBehind() {
	if len(x.behind) == 0 {
		return
	}
	for _, u := range x.behind {
		x.tally.addFailed(u, backend.CauseBehind)
		delete(x.snap.Users, u)
	}
	x.c.opt.Sessions.End(x.behind, backend.CauseBehind, "the server went away, please reconnect")
}

// spliceAll puts the new streams in the place of the old.
func (x *run) spliceAll(to *backend.Backend) {
	splices := make([]backend.Splice, 0, len(x.snap.Users))
	for u, user := range x.snap.Users {
		splices = append(splices, backend.Splice{U: u, RQ: user.RQ, SQ: user.SQ})
	}
	ctx, cancel := context.WithTimeout(context.Background(), spliceTime)
	defer cancel()
	for _, r := range x.c.opt.Sessions.Splice(ctx, to.FullName(), splices) {
		switch r.Cause {
		case "":
			x.count(r, to)
		case backend.CauseGone:
			x.tally.addLeft(r.U, r.Cause)
		default:
			x.tally.addFailed(r.U, r.Cause)
		}
	}
}

// count: a drain whose users went back into the old backend has moved nobody.
func (x *run) count(r backend.Moved, to *backend.Backend) {
	x.paused(r)
	if x.to != nil && to == x.from {
		x.tally.addReverted(r)
		return
	}
	x.tally.addMoved(r)
}

// reopenAll gives those who were not registered a stream of their own.
func (x *run) reopenAll(to *backend.Backend) {
	var us []string
	for _, f := range x.frozen {
		if x.snap.Users[f.U] == nil && !f.Registered {
			us = append(us, f.U)
		}
	}
	if len(us) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), spliceTime)
	defer cancel()
	for _, r := range x.c.opt.Sessions.Reopen(ctx, us, to.FullName()) {
		switch r.Cause {
		case "":
			x.tally.reopened++
			x.count(r, to)
		case backend.CauseGone:
			x.tally.addLeft(r.U, r.Cause)
		default:
			x.tally.addFailed(r.U, r.Cause)
		}
	}
}
