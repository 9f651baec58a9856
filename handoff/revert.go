package handoff

import (
	"context"
	"errors"

	"github.com/ircferry/ircferry/backend"
)

// revert undoes a move before its point of no return: everybody goes on where he was.
//
//  1. RESUME, so that the old ircd reads its streams again. If it does not answer, the end of the control connection
//     or of the freeze time is the same.
//  2. Thaw: held bytes go out on the old streams, attached ones are closed.
//  3. ABORT; a destination that does not answer is asked until it does, or its lease is over.
//  4. The admin state that the command had set goes back, the journal is removed.
func (x *run) revert(why error) {
	x.log.Warn("move reverted", "err", why)
	ctx, cancel := context.WithTimeout(context.Background(), answerTime)
	defer cancel()
	if x.exported {
		if err := x.src.Resume(ctx, x.tx); err != nil {
			x.log.Info("resume not answered; the end of the control connection resumes", "err", err)
			x.src.Close()
		}
	}
	x.countUntouched()
	x.thawAll()
	if x.dst != nil {
		x.abort(x.dst, x.to, x.tx)
	}
	x.restoreAdmin()
	if x.journal != nil {
		if err := x.journal.remove(); err != nil {
			x.log.Warn("journal not removed", "err", err)
		}
	}
	x.tally.rest(backend.CauseGone)
	x.m.update(x.tally.write)
	x.state, x.why = StateReverted, why
}

// countUntouched: before the freeze nobody was touched, and everybody is on the old backend all the same.
func (x *run) countUntouched() {
	if x.frozen != nil {
		return
	}
	x.tally = newTally(nil)
	for _, ref := range x.refs {
		x.tally.attempted[ref.U] = ""
		x.tally.addUntouched(ref.U)
	}
}

// restoreAdmin undoes what the command had set.
func (x *run) restoreAdmin() {
	if err := x.from.SetAdmin(x.was); err != nil {
		x.log.Warn("admin state not set back", "backend", x.from.FullName(), "state", x.was, "err", err)
	}
}

// thawAll lets everybody go on with the old backend. Sessions that had attached streams and were never frozen lose these.
func (x *run) thawAll() {
	us := make([]string, len(x.frozen))
	for i, f := range x.frozen {
		us[i] = f.U
	}
	for _, r := range x.c.opt.Sessions.Thaw(us) {
		if r.Cause != "" {
			x.tally.addLeft(r.U, r.Cause)
			continue
		}
		x.paused(r)
		x.tally.addReverted(r)
	}
	x.detachAll()
}

func (x *run) paused(r backend.Moved) {
	if x.c.opt.Paused != nil {
		x.c.opt.Paused(x.r.Pool, x.r.Kind, r.Pause)
	}
}

// detachAll closes the attached streams of all sessions of the old backend.
func (x *run) detachAll() {
	if x.dst == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), answerTime)
	defer cancel()
	refs, err := x.c.opt.Sessions.On(ctx, x.from.FullName())
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		x.log.Warn("sessions not listed", "err", err)
	}
	us := make([]string, len(refs))
	for i, ref := range refs {
		us[i] = ref.U
	}
	x.c.opt.Sessions.Detach(us)
}
