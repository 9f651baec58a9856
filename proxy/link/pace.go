package link

import (
	"errors"
	"time"
)

const (
	// maxPiece is what an ircd is given before it has to answer. InspIRCd reads 10 KiB of a socket in a turn of its loop, and one without users
	// turns once a second, but for what comes: with more at once half a megabyte takes minutes.
	maxPiece = 8000
	// fenceRoom is what the fence itself needs of a piece.
	fenceRoom = 64
	// fenceTime is how long an ircd that is up may take for one piece of what was kept. Its own pings give up after a minute.
	fenceTime = 30 * time.Second
)

var errFence = errors.New("the ircd does not answer a fence")

// fence is a question that waits for its answer.
type fence struct {
	token string // "": none
	then  func()
}

// ask puts a fence behind what was passed to the ircd; then is called by its answer.
func (l *link) ask(then func()) {
	l.fence = fence{token: l.port.set.token(), then: then}
	l.ircd.pass([]byte(l.dialect().fence(l.fence.token)))
}

// answered takes the answers of fences out of what the ircd says, also of those that nobody waits for any more.
func (l *link) answered(m message) bool {
	token, ok := l.dialect().answer(m)
	if !ok || !l.port.set.ours(token) {
		return false
	}
	if then := l.fence.then; token == l.fence.token && then != nil {
		l.fence = fence{}
		then()
	}
	return true
}

// pace passes what next gives, in pieces that each end in a fence; done is called when there is no more and the last fence was answered.
func (l *link) pace(next func(n int) []byte, done func()) {
	piece := next(maxPiece - fenceRoom)
	if len(piece) == 0 {
		done()
		return
	}
	l.ircd.pass(piece)
	l.ask(func() { l.pace(next, done) })
}

// feed passes what was kept, piece by piece, and makes the link raw with the last: what a busy peer says meanwhile is no more than it is at other times.
func (l *link) feed() {
	l.ircd.pass(l.kept.take(maxPiece - fenceRoom))
	if l.kept.size > 0 {
		l.late.Reset(fenceTime)
		l.ask(l.feed)
		return
	}
	l.late.Stop()
	l.kept = kept{}
	l.enter(Raw)
	if l.peer.ended {
		l.end(EndPeer, l.peer.err())
	}
}

// tooLate ends a link whose ircd does not take what was kept.
func (l *link) tooLate() {
	if l.state == Flushing {
		l.end(EndFence, errFence)
	}
}
