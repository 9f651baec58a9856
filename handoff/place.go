package handoff

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff/protocol"
)

// After the point of no return: the journal owns the users until an ircd has committed them.

// placeTries is how often the backend that was meant is tried when it answers and refuses, before another one is.
const placeTries = 5

// putIn goes from RELEASED to thaw.
func (x *run) putIn() {
	x.m.update(func(r *Report) { r.out = true })
	x.letGo()
	ctx, cancel := context.WithTimeout(context.Background(), x.limits.Park)
	defer cancel()
	if x.dst != nil {
		committed, err := x.commit(ctx, x.dst, x.to, x.tx)
		if committed {
			x.finish(x.to, x.dst.Info().Epoch)
			return
		}
		x.log.Warn("the destination did not commit; importing again from the journal", "to", x.to.FullName(), "err", err)
		x.c.opt.Sessions.Detach(x.parkable())
	}
	x.c.opt.Sessions.Park(x.parkable(), x.source.Name)
	ctx, stop := x.c.whileAlive(ctx)
	defer stop()
	var where placing
	if x.to != nil {
		where.to = x.to.Name()
	} else {
		x.m.park(fmt.Sprintf("%d users of %s are held; it may be stopped now", len(x.snap.Users), x.from.FullName()))
		select {
		case where = <-x.m.placing:
		case <-ctx.Done():
			x.outOfTime(ctx, where, fmt.Errorf("nobody released %s within moves.park", x.from.FullName()))
			return
		}
	}
	x.m.placed(where)
	x.placeAnywhere(ctx, where)
}

// letGo leaves alone whom the old ircd did not give: its streams end them.
func (x *run) letGo() {
	var us []string
	for _, f := range x.frozen {
		if x.snap.Users[f.U] == nil && f.Registered {
			us = append(us, f.U)
			x.tally.addLeft(f.U, backend.CauseNotExported)
		}
	}
	if len(us) > 0 {
		x.c.opt.Sessions.Thaw(us)
	}
}

// parkable is everybody who waits for a new backend.
func (x *run) parkable() []string {
	us := make([]string, 0, len(x.frozen))
	for _, f := range x.frozen {
		if x.snap.Users[f.U] != nil || !f.Registered {
			us = append(us, f.U)
		}
	}
	return us
}

// placeAnywhere tries until an ircd has the users or ctx, the park time, is over: the backend that is meant as long as it does not
// answer (it may be starting), another one when it refuses again and again.
func (x *run) placeAnywhere(ctx context.Context, where placing) {
	refusals := make(map[string]int)
	var last error // of the try before: one that the end of the time cut short says nothing
	for {
		to, err := x.c.find(x.r.Pool, where.to)
		if err == nil {
			err = x.placeAt(ctx, to, where.newEpoch)
		}
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			x.outOfTime(ctx, where, cmp.Or(last, err))
			return
		}
		last = err
		x.m.enter(StepPark, fmt.Sprintf("waiting for %s/%s: %v", x.r.Pool, where.to, cause(err)))
		var said *protocol.Error
		if errors.As(err, &said) || x.to != nil {
			refusals[where.to]++
		}
		where = x.nextPlace(where, refusals)
		select {
		case where = <-x.m.placing:
			x.m.placed(where)
		case <-time.After(askEvery):
		case <-ctx.Done():
		}
	}
}

// cause is an error without the step and the backend, which the note beside it names.
func cause(err error) error {
	var at *Error
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}

// nextPlace is where the next try goes to. A restart waits for its own ircd only; the operator says if he wants another.
func (x *run) nextPlace(now placing, refusals map[string]int) placing {
	if x.to == nil || refusals[now.to] < placeTries {
		return now
	}
	candidates := append([]*backend.Backend{x.to, x.from}, x.from.Pool().Backends()...)
	best := now.to
	for _, b := range candidates {
		if b.Native() && refusals[b.Name()] < refusals[best] {
			best = b.Name()
		}
	}
	return placing{to: best}
}

// placeAt is one try: import, attach, prepare, commit. nil: the move is over.
func (x *run) placeAt(ctx context.Context, to *backend.Backend, newEpoch bool) error {
	connect, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
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
	tx, tok := token(16), token(16)
	if err := x.buildAt(ctx, dst, to, tx, tok); err != nil {
		x.c.opt.Sessions.Detach(x.parkable())
		x.abort(dst, to, tx)
		return err
	}
	committed, err := x.commit(ctx, dst, to, tx)
	if !committed {
		x.c.opt.Sessions.Detach(x.parkable())
		return &Error{StepCommit, to.FullName(), err}
	}
	x.finish(to, dst.Info().Epoch)
	return nil
}

// buildAt gives the snapshot to a destination and attaches the streams. Users whom it cannot take are closed and named, since
// after the point of no return there is nothing to go back to, and the others wait.
func (x *run) buildAt(ctx context.Context, dst Party, to *backend.Backend, tx, tok string) error {
	x.m.enter(StepPush, "")
	if err := x.journal.mark(protocol.NewMessage("IMPORT", "tx", tx, "to", to.Name())); err != nil {
		x.log.Warn("journal not written; the move goes on from memory", "err", err)
	}
	if err := dst.Import(ctx, tx, tok, lease(x.limits.Park), x.kick(to)); err != nil {
		return &Error{StepPush, to.FullName(), err}
	}
	for _, rec := range x.snap.Records {
		if err := dst.Record(ctx, rec); err != nil {
			return &Error{StepPush, to.FullName(), err}
		}
	}
	us := make([]string, 0, len(x.snap.Users))
	for u := range x.snap.Users {
		us = append(us, u)
	}
	attach, cancel := context.WithTimeout(ctx, spliceTime)
	defer cancel()
	if err := x.attach(attach, us, to, dst.Info(), tx, tok); err != nil {
		return &Error{StepPush, to.FullName(), err}
	}
	prepared, err := dst.Prepare(ctx, tx)
	if err != nil {
		return &Error{StepPush, to.FullName(), err}
	}
	x.m.update(func(r *Report) { r.Warnings = warnings(prepared.Warns) })
	return x.settle(prepared, to)
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
	if len(prepared.Conflicts) == 0 {
		return nil
	}
	for _, conflict := range prepared.Conflicts {
		switch {
		case conflict.U != "":
			x.giveUp([]string{conflict.U}, conflict)
		case conflict.C != "" && x.last:
			x.giveUp(x.snap.dropChannel(conflict.C), conflict)
		}
	}
	return &Error{StepPush, to.FullName(), conflicting(prepared.Conflicts)}
}

// giveUp closes the sessions of users whom a destination cannot take.
func (x *run) giveUp(us []string, conflict protocol.Note) {
	for _, u := range us {
		x.log.Warn("the destination cannot take a user", "session", u, "code", conflict.Code, "channel", conflict.C)
		x.tally.addFailed(u, backend.CauseConflict)
		x.snap.drop(u)
	}
	x.c.opt.Sessions.End(us, backend.CauseConflict, "your place on the new server is taken, please reconnect")
}

// errDaemonEnds is the cause of what Close cancels.
var errDaemonEnds = errors.New("the daemon ends")

// whileAlive is ctx, ended also by Close.
func (c *Coordinator) whileAlive(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(c.alive, func() { cancel(errDaemonEnds) })
	return ctx, func() { stop(); cancel(nil) }
}

// lastTry is what the process of before, and the ircd that was meant, get when the park time is over to take the users.
const lastTry = 10 * time.Second

// outOfTime: the park time is over. If the process that the users came from still runs (a hold that nobody released, a restart
// that did not restart anything), they go back into it. Else the ircd that was meant is asked once more for those whom it can take, and the
// rest is lost.
func (x *run) outOfTime(ctx context.Context, where placing, why error) {
	if !errors.Is(context.Cause(ctx), errDaemonEnds) {
		back, cancel := context.WithTimeout(context.Background(), lastTry)
		defer cancel()
		back, stop := x.c.whileAlive(back)
		defer stop()
		x.last = true
		if x.placeTheRest(back, x.from) {
			x.state, x.why = StateReverted, fmt.Errorf("%w; the users were put back into %s", why, x.from.FullName())
			return
		}
		if to, err := x.c.find(x.r.Pool, where.to); err == nil && to.Name() != x.from.Name() && x.placeTheRest(back, to) {
			return
		}
	}
	x.lose(ctx, why)
}

// placeTheRest is placeAt, again as long as conflicts take somebody out of the way.
func (x *run) placeTheRest(ctx context.Context, to *backend.Backend) bool {
	for {
		records := len(x.snap.Records)
		if err := x.placeAt(ctx, to, false); err == nil {
			return true
		}
		if len(x.snap.Records) == records {
			return false
		}
	}
}

// lose is the one way to lose users after the point of no return: the park time is over, or the daemon ends, who then closes the
// sessions like all others. The journal stays.
func (x *run) lose(ctx context.Context, why error) {
	keep := x.journal.keep
	if cause := context.Cause(ctx); errors.Is(cause, errDaemonEnds) {
		why, keep = cause, x.journal.leave
		x.log.Warn("the daemon ends while users are held; the journal is kept", "journal", x.journal.Path(), "users", len(x.snap.Users))
	} else {
		x.log.Error("nobody took the users within the park time; their sessions end, the journal is kept", "journal", x.journal.Path(), "err", why)
		us := x.parkable()
		x.c.opt.Sessions.End(us, backend.CauseBackendGone, "the server did not come back in time, please reconnect")
		for _, u := range us {
			x.tally.addFailed(u, backend.CauseBackendGone)
		}
	}
	if err := keep(); err != nil {
		x.log.Error("journal not kept", "journal", x.journal.Path(), "err", err)
	}
	x.tally.rest(backend.CauseGone)
	x.m.update(func(r *Report) { x.tally.write(r); r.Journal = x.journal.Path() })
	x.state, x.why = StateFailed, why
}
