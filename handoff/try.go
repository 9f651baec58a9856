package handoff

import (
	"context"
	"errors"
	"fmt"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff/protocol"
)

// placeAt is one try: import, attach, prepare, commit. nil: the move is over. A blame: the next try is without that user.
func (x *run) placeAt(ctx context.Context, to *backend.Backend, newEpoch bool) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	x.state.during(func() { cancel(errElsewhere) })
	defer x.state.during(nil)
	connect, stop := context.WithTimeout(ctx, checkTime)
	defer stop()
	dst, err := x.c.opt.Driver.Connect(connect, to)
	if err != nil {
		return &Error{StepPark, to.FullName(), err}
	}
	defer dst.Close()
	if newEpoch && dst.Info().Epoch == x.source.Epoch {
		return &Error{StepPark, to.FullName(), errors.New("it is still the process of before; ferryctl cancel pushes the users back into it")}
	}
	if err := x.payAborts(connect, dst, to); err != nil {
		return &Error{StepPush, to.FullName(), err}
	}
	x.fitLinks(dst.Info(), to)
	x.hurry()
	defer x.calm()
	tx, tok := token(16), token(16)
	x.tok = tok
	x.note(event{what: tryBegan, at: to.Name()})
	if err := x.buildAt(ctx, dst, to, tx, tok); err != nil {
		x.failTry(err)
		x.mark("FAILED", "tx", tx)
		x.proxy.detach(x.parkable())
		x.unplayLinks()
		x.abort(dst, to, tx)
		return &Error{StepPush, to.FullName(), err}
	}
	committed, err := x.commit(ctx, dst, to, tx)
	if !committed {
		x.mark("FAILED", "tx", tx)
		x.proxy.detach(x.parkable())
		x.unplayLinks()
		return &Error{StepCommit, to.FullName(), err}
	}
	x.finish(to, dst.Info().Epoch)
	return nil
}

// failTry ends a try, and takes out whose it is.
func (x *run) failTry(err error) {
	var b *blame
	switch {
	case !errors.As(err, &b):
		x.note(event{what: tryFailed})
		return
	case !x.state.is(b.u, (*member).waits): // out already: his record was there to let him quit
		x.note(event{what: tryFailed})
		x.drop(b.u)
		return
	}
	if x.note(event{what: tryFailed, u: b.u, outcome: "failed", cause: b.cause}) {
		x.drop(b.u)
		x.endOut(b.u, b.cause)
	}
}

// buildAt gives the snapshot to a destination and attaches the streams. Users whom it cannot take are closed and named, since
// after the point of no return there is nothing to go back to, and the others wait.
func (x *run) buildAt(ctx context.Context, dst Party, to *backend.Backend, tx, tok string) error {
	x.m.enter(StepPush, "")
	x.markNow("IMPORT", "tx", tx, "to", to.Name(), "epoch", dst.Info().Epoch)
	begin, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	if err := dst.Import(begin, tx, tok, lease(x.limits.Park), x.kick(to), len(x.links.are()) > 0); err != nil {
		return err
	}
	quits := dst.Info().Can(protocol.FeatMissing)
	got, err := x.attach(ctx, x.state.who((*member).moving), to, dst, tx, tok)
	if err != nil {
		return err
	}
	x.noteAttached(got)
	x.shrink(got, quits)
	if err := x.replayLinks(ctx, dst, to, tx); err != nil {
		return err
	}
	build, stop := context.WithTimeout(ctx, buildTime)
	defer stop()
	if err := x.giveRecords(build, dst, to); err != nil {
		return err
	}
	prepared, err := dst.Prepare(build, tx)
	if err != nil {
		if e, ok := said(err); ok && x.snap.Users[e.U] != nil {
			return &blame{e.U, backend.CauseConflict, err} // a record of his that it cannot read
		}
		return x.known(err)
	}
	x.m.update(func(r *Report) { r.Warnings = warnings(prepared.Warns) })
	return x.settle(prepared, to)
}

// shrink takes those out for whom there is no stream. An ircd that can do that (quits) gets their records all the same, so that the others see
// them leave; of another they are kept.
func (x *run) shrink(got streams, quits bool) {
	if !quits {
		for u := range x.snap.Users {
			if !x.state.is(u, (*member).moving) {
				x.drop(u)
			}
		}
	}
	for u, cause := range got.refused {
		x.log.Warn("the destination does not take a stream", "session", u, "cause", string(cause))
		x.shrinkBy(u, "failed", cause, quits)
		x.endOut(u, cause)
	}
	for _, u := range got.gone {
		x.shrinkBy(u, "left", backend.CauseGone, quits)
		x.endOut(u, backend.CauseGone)
	}
}

func (x *run) shrinkBy(u, outcome string, cause backend.Cause, quits bool) {
	if x.note(event{what: takenOut, u: u, outcome: outcome, cause: cause}) && !quits {
		x.drop(u)
	}
}

// outTexts is what a client is told who has to be closed in a move.
var outTexts = map[backend.Cause]string{
	backend.CauseConflict: "your place on the new server is taken, please reconnect",
	backend.CauseBehind:   "the server went away, please reconnect",
}

// endOut closes the session of who was taken out. One that has ended already is let go by it.
func (x *run) endOut(u string, cause backend.Cause) {
	text := outTexts[cause]
	if text == "" {
		text = "the new server did not take your connection, please reconnect"
	}
	x.proxy.end([]string{u}, cause, text)
}

// kickReason is what somebody reads who came past the proxy and has made a channel of the name in the meantime.
const kickReason = "This channel is coming back with its users, please join again"

// kick is why those have to go who made channels anew while the users were in nobody's hands. One of them must not keep all users out
// of the ircd that they came from or were meant for. Any other has a life of its own: what is there is a conflict.
func (x *run) kick(to *backend.Backend) string {
	if to.Name() == x.from.Name() || x.to != nil && to.Name() == x.to.Name() {
		return kickReason
	}
	return ""
}

// settle closes the sessions whose users the destination refuses; the try then has to begin anew without them. A conflict about a channel
// (one of the name that does not give way, see kick) is for the operator to end: everybody waits for that, and as long as there is time
// he may send them elsewhere. In the last try those who are on it have to go, so that the others have not waited for nothing.
func (x *run) settle(prepared protocol.Prepared, to *backend.Backend) error {
	if prepared.Users != len(x.snap.Users) {
		return fmt.Errorf("the destination has %d users and got %d", prepared.Users, len(x.snap.Users))
	}
	if len(prepared.Conflicts) == 0 {
		return nil
	}
	if err := x.settleLinks(prepared.Conflicts); err != nil {
		return err
	}
	err := x.conflicting(prepared.Conflicts)
	var first *blame
	for _, conflict := range prepared.Conflicts {
		us := []string{conflict.U}
		if conflict.U == "" {
			if us = nil; conflict.C != "" && x.last {
				us = x.snap.dropChannel(conflict.C)
			}
		}
		for _, u := range us {
			if x.snap.Users[u] == nil {
				continue
			}
			x.log.Warn("the destination cannot take a user", "session", u, "code", conflict.Code, "channel", conflict.C, "says", conflict.Text)
			x.state.tell(u, conflict)
			switch {
			case !x.state.is(u, (*member).moving): // out already; his record was there to let him quit
				x.drop(u)
			case first == nil: // the end of the try takes him out
				first = &blame{u, backend.CauseConflict, err}
			case x.takeOutOf(u, "failed", backend.CauseConflict):
				x.endOut(u, backend.CauseConflict)
			}
		}
	}
	if first != nil {
		return first
	}
	return err
}
