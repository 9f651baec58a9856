package handoff

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/ircferry/ircferry/backend"
)

// finish splices and thaws: the new ircd is the owner from here on.
func (x *run) finish(to *backend.Backend, epoch string) {
	x.placed, x.epoch = to, epoch
	back := x.to != nil && to == x.from
	if back {
		x.state.putBack()
	}
	x.m.enter(StepSplice, "")
	x.mark("COMMITTED", "tx", x.tx, "to", to.Name(), "quiet", yes(x.quiet), "missing", strings.Join(x.missing, " "))
	live := x.liveLinks(epoch)
	x.endBehind()
	x.spliceAll(to)
	x.reopenAll(to)
	x.calm()
	live()
	err, inTime := soon(answerTime, func() error { return to.Pool().SetServing(to.Name()) })
	if !inTime {
		err = fmt.Errorf("the disk does not answer within %v", answerTime)
	}
	if err != nil {
		x.log.Warn("serving backend not remembered", "backend", to.FullName(), "err", err)
	}
	x.state.rest(backend.CauseGone)
	x.m.update(func(r *Report) { r.Step, r.Note, r.To = StepThaw, "", to.Name(); x.state.write(r) })
	if back {
		x.restoreAdmin()
		x.outcome, x.why = StateReverted, fmt.Errorf("%s failed after it had been prepared; the users were put back", x.to.FullName())
		return
	}
	x.outcome = StateDone
}

// endJournal is for the end of a move whose users are placed, when nobody waits any more.
func (x *run) endJournal() {
	if x.placed == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*diskTime)
	defer cancel()
	if err := x.journal.done(ctx); err != nil {
		x.log.Warn("journal not removed", "err", err)
	}
}

// endBehind closes the sessions whose output cannot be made whole.
func (x *run) endBehind() {
	for _, u := range x.behind {
		if x.state.is(u, (*member).moving) {
			x.note(event{what: takenOut, u: u, outcome: "failed", cause: backend.CauseBehind})
			x.endOut(u, backend.CauseBehind)
		}
	}
}

// spliceAll puts the new streams in the place of the old, in the order in which the sessions were frozen: nobody waits for who came after him.
func (x *run) spliceAll(to *backend.Backend) {
	var splices []backend.Splice
	for _, u := range x.state.who((*member).moving) {
		user := x.snap.Users[u]
		splices = append(splices, backend.Splice{U: u, RQ: user.RQ, SQ: user.SQ, Live: x.quiet && !slices.Contains(x.missing, u)})
	}
	for _, r := range x.proxy.splice(to.FullName(), splices) {
		x.count(r)
	}
}

// count: a drain whose users went back into the old backend has moved nobody.
func (x *run) count(r backend.Moved) {
	switch r.Cause {
	case "":
		x.paused(r)
		x.note(event{what: wentLive, u: r.U, moved: r})
	case backend.CauseGone:
		x.note(event{what: takenOut, u: r.U, outcome: "left", cause: r.Cause})
	default:
		x.note(event{what: takenOut, u: r.U, outcome: "failed", cause: r.Cause})
	}
}

// reopenAll gives those who were not registered a stream of their own.
func (x *run) reopenAll(to *backend.Backend) {
	us := x.state.who((*member).reopening)
	if len(us) == 0 {
		return
	}
	for _, r := range x.proxy.reopen(us, to.FullName()) {
		x.count(r)
	}
}
