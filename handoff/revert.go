package handoff

import (
	"context"
	"errors"
	"time"

	"github.com/ircferry/ircferry/backend"
)

// revert undoes a move before its point of no return: everybody goes on where he was.
//
//  1. RESUME, so that the old ircd reads its streams again. If it does not answer at once, the end of the control connection
//     or of the freeze time is the same.
//  2. Thaw: held bytes go out on the old streams, attached ones are closed.
//  3. The admin state that the command had set goes back, new clients come in.
//  4. ABORT; a destination that does not answer is asked until it does, or its lease is over. The journal is removed.
func (x *run) revert(why error) {
	x.log.Warn("move reverted", "err", why)
	x.goBack()
	x.restoreAdmin()
	x.openGate() // all is as before for everybody; the rest is between us, the ircds and the disk
	x.cleanUp()
	if x.frozen == nil {
		x.countUntouched()
	}
	x.state.rest(backend.CauseGone)
	x.nameBlamed(why)
	x.note(event{what: gaveBack})
	x.m.update(x.state.write)
	x.outcome, x.why = StateReverted, why
}

// goBack takes everybody back to where he was. False: the proxy did not answer for some.
func (x *run) goBack() (all bool) {
	defer x.calm()
	x.resume()
	all = true
	for _, r := range x.proxy.thaw(x.frozenNow()) {
		all = all && r.Cause != backend.CauseTimeout
		switch {
		case !x.state.is(r.U, (*member).waits): // out, and thawed all the same
		case r.Cause != "":
			x.note(event{what: takenOut, u: r.U, outcome: "left", cause: r.Cause})
		default:
			x.paused(r)
			x.note(event{what: wentBack, u: r.U, moved: r})
		}
	}
	x.resumeLinks()
	return all
}

// cleanUp leaves nothing behind at the proxy, at the destination and on the disk.
func (x *run) cleanUp() {
	x.detachAll()
	if x.dst != nil {
		x.abort(x.dst, x.to, x.tx)
	}
	if x.journal != nil {
		ctx, cancel := context.WithTimeout(context.Background(), answerTime)
		defer cancel()
		if err := x.journal.remove(ctx); err != nil {
			x.log.Warn("journal not removed", "err", err)
		}
		x.journal = nil
	}
}

// resumeTime is what everybody waits for a RESUME. The world goes on by itself when its connection ends, and what is written to it until
// then waits in the kernel.
const resumeTime = 200 * time.Millisecond

func (x *run) resume() {
	if !x.exported {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), resumeTime)
	defer cancel()
	if err := x.src.Resume(ctx, x.tx); err != nil {
		x.log.Info("resume not answered; the end of the control connection resumes", "err", err)
		x.src.Close()
	}
	x.exported = false
}

// frozenNow is whom a thaw has to reach, whatever their fate.
func (x *run) frozenNow() []string {
	us := make([]string, len(x.frozen))
	for i, f := range x.frozen {
		us[i] = f.U
	}
	return us
}

// countUntouched: before the freeze nobody was touched, and everybody is on the old backend all the same.
func (x *run) countUntouched() {
	for _, ref := range x.refs {
		if x.state.is(ref.U, func(m *member) bool { return m.fate == out }) {
			continue // of a go before, when it was frozen
		}
		x.note(event{what: frozen, u: ref.U})
		x.note(event{what: wentBack, u: ref.U, moved: backend.Moved{U: ref.U}})
	}
}

// restoreAdmin undoes what the command had set.
func (x *run) restoreAdmin() {
	ctx, cancel := context.WithTimeout(context.Background(), answerTime)
	defer cancel()
	if err := x.setAdmin(ctx, x.was); err != nil {
		x.log.Warn("admin state not set back", "backend", x.from.FullName(), "state", x.was, "err", err)
	}
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
	refs, err := x.proxy.on(ctx, x.from.FullName())
	if err != nil {
		x.log.Warn("sessions not listed", "err", err)
		refs = x.refs
	}
	us := make([]string, len(refs))
	for i, ref := range refs {
		us[i] = ref.U
	}
	x.proxy.detach(us)
}

// nameBlamed names in the report for whose sake a move was reverted.
func (x *run) nameBlamed(why error) {
	var b *blame
	if errors.As(why, &b) {
		x.state.blame(b.u, b.cause)
	}
}
