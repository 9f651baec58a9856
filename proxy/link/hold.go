package link

import (
	"errors"
	"fmt"
)

// What a move does with one link. All here is for the link's loop.

var (
	errLeft     = errors.New("the peer closed its connection while it was held")
	errAnew     = errors.New("the peer has connected anew while its link was held")
	errUnplay   = errors.New("the replay was taken back")
	errNoReplay = errors.New("it was not replayed")
)

// hold keeps the peer's lines from now on; done is called when the ircd has read all that was passed.
func (l *link) hold(done func(error)) {
	if l.state != Raw {
		done(fmt.Errorf("it is %s", l.state))
		return
	}
	l.waiter, l.left = done, nil
	l.enter(Holding)
	l.held = l.since
	l.notice("held", "")
	l.ask(func() { l.answer(nil) })
}

// answer tells whoever waits for this link.
func (l *link) answer(err error) {
	if w := l.waiter; w != nil {
		l.waiter = nil
		w(err)
	}
}

// mark stops at a marker that a move may wait for: what the ircd says behind it is not worked off until it is known whose it is. Others are
// dropped.
func (l *link) mark(tx string) {
	switch {
	case l.state == Holding:
		l.marked, l.paused = tx, true
		if l.wanted != "" {
			l.atMarker()
		}
	case l.state == Swallowing && tx == l.wanted:
		l.paused = true
		l.answer(nil)
	}
}

// cut waits for the marker of tx; done is called when all before it was passed.
func (l *link) cut(tx string, done func(error)) {
	if l.state != Holding {
		done(fmt.Errorf("it is %s", l.state))
		return
	}
	l.wanted, l.waiter = tx, done
	if l.paused {
		l.atMarker()
	}
}

// atMarker cuts, or goes on if it is the marker of an export of before.
func (l *link) atMarker() {
	if l.marked != l.wanted {
		l.marked, l.paused = "", false
		l.work()
		return
	}
	l.old, l.ircd, l.fence = l.ircd, nil, fence{}
	l.marked, l.wanted, l.paused = "", "", false
	l.holder.cutNow(l)
	l.enter(Cut)
	l.answer(nil)
}

// ponged answers a PING of the peer in the place of an ircd that does not hear it: what a server wants to know by it is whether the other one is there.
func (l *link) ponged(line []byte) bool {
	pong, ok := l.dialect().pong(parse(line))
	if ok {
		l.peer.pass([]byte(pong))
	}
	return ok
}

// resume makes the link raw again with the process of before.
func (l *link) resume() {
	l.unplay(errUnplay)
	switch {
	case l.state == Cut && l.old == nil:
		l.giveUp(CauseMove, errors.New("there is no process to go back to"))
		return
	case l.state == Cut:
		l.ircd, l.old = l.old, nil
	}
	l.letGo()
	if l.state != Raw { // else it was not held yet
		l.notice("resumed", "with "+l.backend)
		l.enter(Flushing)
		l.feed()
		l.work()
	}
}

// letGo is the end of a move for a link that goes on.
func (l *link) letGo() {
	l.waiter, l.wanted, l.marked, l.paused = nil, "", "", false
	l.holder.over(l, l.leftErr(), false)
	l.holder = nil
}

// leftErr is what became of a peer that was held, if it has gone.
func (l *link) leftErr() error {
	if l.peer.ended {
		return l.left
	}
	return nil
}

// part closes the side of the process of before.
func (l *link) part() {
	if l.old != nil {
		l.old.close()
		l.old = nil
	}
}

// keep keeps a line of the peer, or gives the link up if it is too much.
func (l *link) keep(line []byte) {
	l.kept.add(line)
	if l.holder != nil {
		l.holder.kept(l, len(line))
	}
	if l.state.held() && l.kept.size > int64(l.conf.Hold) {
		l.giveUp(CauseKept, fmt.Errorf("the peer has said more than %s while it was held; raise hold of the link", l.conf.Hold))
	}
}

// leave notes that the peer has gone while it was held: its end is passed when the link is live.
func (l *link) leave(err error) {
	l.left = err
	l.log.Warn("the peer has gone while it is held: it splits when the move is over", "err", err)
}

// supersede is leave for a peer that has connected anew, since it thinks that this connection is dead.
func (l *link) supersede() {
	if l.state.held() && !l.peer.ended {
		l.peer.ended = true
		l.peer.finish()
		l.leave(errAnew)
	}
}

// giveUp closes both sides without a word.
func (l *link) giveUp(cause Cause, err error) {
	if l.state == Down {
		return
	}
	l.cause = cause
	l.end(EndGivenUp, err)
}
