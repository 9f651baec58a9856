package handoff

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff/protocol"
)

// After a crash of the daemon its sessions may still be there, and with them those that a move had. The journal tells how far that was; who has the users
// is found out as when an answer is lost, by the same evidence. Then the move goes back, or on.

// errKilled is why a move was reverted whose process was killed before it could let anybody go.
var errKilled = errors.New("ircferry was killed in the midst of the move, before its point of no return")

// recover makes moves of the journals whose sessions are there. What nobody claims goes on where it is, or ends. It answers the journals.
func (c *Coordinator) recover(held []backend.Held) (claimed map[string]bool) {
	claimed = make(map[string]bool)
	if len(held) == 0 {
		return claimed
	}
	by := make(map[string][]backend.Held)
	for _, h := range held {
		by[h.From] = append(by[h.From], h)
	}
	paths, _ := filepath.Glob(filepath.Join(c.opt.Journals, "*.journal"))
	slices.Sort(paths)
	for _, path := range slices.Backward(paths) { // the newest first: one move has the sessions of a backend
		told, err := readChronicle(path)
		if err != nil {
			continue // it is put aside, and reported
		}
		move, ok := told.said("MOVE")
		from := move.Get("pool") + "/" + move.Get("from")
		if !ok || len(by[from]) == 0 {
			continue
		}
		x, err := c.found(path, told, by[from])
		if err != nil {
			c.opt.Log.Error("a move of the process before cannot go on", "journal", path, "err", err)
			continue
		}
		claimed[path] = true
		delete(by, from)
		c.moves, c.active[x.r.Pool] = append(c.moves, x.m), x.m
		c.carried = append(c.carried, func() { c.beside(func() { x.recovered(told) }) })
	}
	slices.SortFunc(c.moves, func(a, b *Move) int { return strings.Compare(a.ID(), b.ID()) })
	for from, alone := range by {
		c.carried = append(c.carried, func() { c.letGoAlone(from, alone) })
	}
	return claimed
}

// letGoAlone is for sessions of a move that has no journal, as that of a pause: who has a stream goes on with it.
func (c *Coordinator) letGoAlone(from string, alone []backend.Held) {
	var thaw, end []string
	for _, h := range alone {
		if h.Parked || h.At != "" {
			end = append(end, h.U)
		} else {
			thaw = append(thaw, h.U)
		}
	}
	c.opt.Log.Warn("sessions of a move that has no journal go on where they are, or end if they have no stream", "backend", from, "go on", len(thaw), "end", len(end))
	ask := asks{c.opt.Sessions}
	ask.thaw(thaw)
	ask.end(end, backend.CauseBackendGone, "the server went away, please reconnect")
}

// found makes the run of a journal, with the sessions that are there.
func (c *Coordinator) found(path string, told *chronicle, held []backend.Held) (*run, error) {
	move, _ := told.said("MOVE")
	request, limits, source, was, started := readOpening(move)
	from, err := c.find(request.Pool, request.From)
	if err != nil {
		return nil, err
	}
	var to *backend.Backend
	if request.To != "" {
		if to, err = c.find(request.Pool, request.To); err != nil {
			return nil, err
		}
	}
	m := newMove(move.Get("id"), request, func(error) {}, c.opt.OnChange)
	m.report.Started = started
	x := c.newRun(m, from, to)
	x.limits, x.source, x.was, x.tx, x.snap, x.pulled = limits, source, was, move.Get("tx"), told.snap, true
	x.held = make(map[string]backend.Held, len(held))
	for _, h := range held {
		x.held[h.U] = h
		x.frozen = append(x.frozen, backend.Frozen{U: h.U, Registered: h.Registered})
	}
	if x.journal, err = openJournal(path, c.toDisk); err != nil {
		return nil, err
	}
	x.readMarks(told)
	x.closeGate() // before anybody is served
	return x, nil
}

// readMarks makes the state of the move what the journal tells.
func (x *run) readMarks(told *chronicle) {
	has := ownerSource
	if _, ok := told.said("RELEASE"); ok {
		has = ownerAsked
	}
	if released, ok := told.said("RELEASED"); ok {
		has, x.until = ownerJournal, time.Now().Add(x.limits.Park-ago(released, "uptime"))
	} else if has == ownerAsked && x.parked() { // it knew, and its word of it was lost
		has, x.until = ownerJournal, time.Now().Add(x.limits.Park)
	}
	if p, ok := told.said("PLACE"); ok {
		x.where = &placing{to: p.Get("to"), newEpoch: p.Get("newepoch") == "1", released: p.Get("released") == "1"}
		x.m.placed(*x.where)
	}
	outs := make(map[string]protocol.Message)
	for _, mark := range told.marks {
		switch u := mark.Get("u"); mark.Verb {
		case "OUT":
			outs[u] = mark
		case "DROP":
			x.snap.drop(u)
		case "BEHIND":
			x.behind = append(x.behind, u)
		}
	}
	var members []Member
	for _, f := range x.frozen {
		one := Member{U: f.U, Registered: f.Registered}
		if user := told.snap.Users[f.U]; user != nil {
			one.Nick, one.Exported, one.Registered = user.Nick, has != ownerSource, true
		}
		members = append(members, one)
	}
	for u, user := range told.snap.Users { // whose session has ended, or is live already
		if _, here := x.held[u]; !here {
			members = append(members, Member{U: u, Nick: user.Nick, Exported: has != ownerSource, Registered: true})
		}
	}
	for i := range members {
		if mark, ok := outs[members[i].U]; ok {
			members[i].Outcome, members[i].Cause = mark.Get("outcome"), backend.Cause(mark.Get("cause"))
		}
	}
	x.state.resume(has, members)
}

// parked reports whether the process before has closed old streams, which it does behind RELEASED only.
func (x *run) parked() bool {
	for _, h := range x.held {
		if h.Parked || h.At != "" {
			return true
		}
	}
	return false
}

// recovered is the move in its own goroutine.
func (x *run) recovered(told *chronicle) {
	resumeChecks := x.pauseChecks()
	x.m.update(x.state.write)
	x.log.Warn("a move of the process before, which was killed, goes on", "users at", x.state.owned(), "sessions", len(x.held), "journal", x.journal.Path())
	if err := x.afterCrash(told); err != nil {
		for _, t := range told.tries() {
			x.owed = append(x.owed, transaction{t.to, t.tx, time.Time{}})
		}
		x.proxy.detach(x.frozenNow())
		x.revert(err)
	} else {
		x.goOnAfterCrash(told)
	}
	if x.left {
		x.leave()
		return
	}
	x.wrapUp(resumeChecks)
}

// afterCrash finds out who has the users. An error: the old ircd, and everybody goes back to it.
func (x *run) afterCrash(told *chronicle) error {
	switch {
	case x.state.ownedBy(ownerSource):
		x.askResume()
		return errKilled
	case x.state.ownedBy(ownerAsked):
		if err := x.releaseFate(x.quitText(), errKilled); err != nil {
			x.note(event{what: resumed})
			return err
		}
		x.note(event{what: released})
		x.until = time.Now().Add(x.limits.Park)
		x.mark("RELEASED", "tx", x.tx, "uptime", millisOf(uptime()))
	}
	return nil
}

// askResume has the old ircd go on, which it does by itself when it has seen the end of the process that had stopped it. An EXPORT that
// is still on its way is refused from here on.
func (x *run) askResume() {
	if x.r.Kind == KindPause {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), answerTime)
	defer cancel()
	if src, err := x.ask(ctx, x.from, x.source.Epoch); err == nil {
		if err := src.Resume(ctx, x.tx); err != nil {
			x.log.Info("resume not answered; the end of the process before resumes", "err", err)
		}
		src.Close()
	}
}

// goOnAfterCrash goes on with users who have left the old ircd.
func (x *run) goOnAfterCrash(told *chronicle) {
	x.letGo()
	for _, f := range x.frozen { // the process before had no time to close them
		if cause, isOut := x.state.outOf(f.U); isOut {
			x.endOut(f.U, cause)
		}
	}
	ctx, cancel := context.WithDeadline(context.Background(), x.until)
	defer cancel()
	tries := told.tries()
	if n := len(tries); n > 0 {
		if x.finishTry(ctx, told, tries[n-1]) {
			return
		}
		for _, t := range tries[:n-1] {
			x.owed = append(x.owed, transaction{t.to, t.tx, x.until})
		}
	}
	x.proxy.park(x.parkable(), x.source.Name)
	switch {
	case x.where != nil:
	case x.to != nil:
		x.where = &placing{to: x.to.Name()}
	default:
		x.m.park(parkedNote(len(x.snap.Users), x.from))
	}
	x.placeParked()
}

// finishTry goes on with a try that may have been committed. False: it certainly is not, and nothing is left of it.
func (x *run) finishTry(ctx context.Context, told *chronicle, t try) bool {
	to, err := x.c.find(x.r.Pool, t.to)
	if err != nil {
		return false
	}
	x.note(event{what: tryBegan, at: t.to})
	for _, f := range x.frozen {
		if h := x.held[f.U]; (h.Attached || h.At != "") && x.state.is(f.U, (*member).moving) {
			x.note(event{what: attached, u: f.U})
		}
	}
	x.note(event{what: commitOut})
	if end, ok := told.said("COMMITTED"); ok { // what has become of them since is not the journal's to tell
		x.note(event{what: committed})
		x.quiet, x.missing = end.Get("quiet") == "1", end.List("missing")
		x.countLive(to)
		x.finish(to, t.epoch)
		return true
	}
	var how committing
	is, done, fate := x.commitFate(ctx, to, t.epoch, t.tx, func(p Party) committing { how = howToCommit(p); return how })
	if is {
		x.noteCommitted(done, how)
		x.countLive(to)
		x.finish(to, t.epoch)
		return true
	}
	x.proxy.detach(x.parkable())
	if fate != nil {
		x.owe(to, t.tx)
	}
	x.note(event{what: notCommitted})
	x.mark("FAILED", "tx", t.tx)
	return false
}

// countLive counts whom the process before had made live.
func (x *run) countLive(to *backend.Backend) {
	ctx, cancel := context.WithTimeout(context.Background(), answerTime)
	defer cancel()
	refs, err := x.proxy.on(ctx, to.FullName())
	if err != nil {
		x.log.Warn("sessions not listed", "err", err)
	}
	for _, ref := range refs {
		if _, held := x.held[ref.U]; !held && x.state.is(ref.U, (*member).moving) {
			x.note(event{what: wentLive, u: ref.U, moved: backend.Moved{U: ref.U}})
		}
	}
}
