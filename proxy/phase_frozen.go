package proxy

import (
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/proxy/wire"
)

// frozen is the short stop of a move: the client is not read, the old stream is read up to its cut.
type frozen struct{ late }

// carryRoom is how much that its client has not read a session takes along in a move.
const carryRoom = 1 << 20

func (s *session) freeze() {
	s.backend.TryAgain()
	s.flushBackend()
	if !s.relays() || s.backend.Ended() {
		return
	}
	mv := s.move()
	mv.frozenAt, mv.deadline, mv.from = s.w.loop.Now(), s.deadline, s.peer.name
	mv.paused, mv.heldLines, mv.heldBytes = 0, 0, 0
	mv.awaits, mv.awake = false, false
	s.noDeadline()
	s.slot().Flags |= wire.Frozen
	s.markFrozen()
	s.enter(StateFrozen)
}

// backendRoom is how much of the old stream may be read now: up to the cut, and no more than the session can take along.
func (frozen) backendRoom(s *session) int {
	mv, waits := s.mv, s.slot().ToClient.Len()
	if !mv.cutting {
		if waits < highWater {
			return anyRoom
		}
		return 0
	}
	left := mv.cut - s.slot().BackendOut
	room := carryRoom - waits
	if left > 0 && room <= 0 {
		// It stays with the old ircd: a thaw can still go on with it, a splice cannot.
		s.mark(markOverflow, true)
		s.took(backend.Moved{Cause: backend.CauseOverflow})
		return 0
	}
	return int(min(anyRoom, left, uint64(max(room, 0))))
}

func (frozen) fromBackend(s *session, p []byte) {
	s.relay(p)
	s.reachedCut()
}

// backendEnded: the old stream has ended. Its users may have been exported by then, so nothing is decided here.
func (frozen) backendEnded(s *session) {
	s.backend.NoMore()
	if s.mv.cutting && s.slot().BackendOut < s.mv.cut {
		s.took(backend.Moved{Cause: backend.CauseBehind})
	}
}

// clientRoom: a client that is paused is read after a while, and what it says is held, as when it is parked.
func (frozen) clientRoom(s *session) int {
	if !s.mv.awaits {
		return 0
	}
	return parked{}.clientRoom(s)
}

func (frozen) fromClient(s *session, p []byte) { parked{}.fromClient(s, p) }

func (frozen) timeOver(s *session) { parked{}.timeOver(s) }

// readUp reads the old stream up to the cut.
func (s *session) readUp(cut uint64) {
	if s.slot().BackendOut > cut {
		s.took(backend.Moved{Cause: backend.CauseCount})
		return
	}
	s.mv.cut, s.mv.cutting = cut, true
	if s.reachedCut() {
		return
	}
	if s.backend.Ended() {
		s.took(backend.Moved{Cause: backend.CauseBehind})
		return
	}
	s.backend.LookAgain()
	s.pullBackend()
}

// reachedCut tells the batch when the old stream was read to its cut.
func (s *session) reachedCut() bool {
	if !s.mv.cutting || s.slot().BackendOut < s.mv.cut {
		return false
	}
	s.took(backend.Moved{})
	return true
}

// overflowed reports whether the old stream could not be read up to its cut.
func (s *session) overflowed() bool { return s.mv.cutting && s.slot().BackendOut < s.mv.cut }

// thaw goes on with a frozen session on the stream that it has.
func (s *session) thaw() {
	mv := s.mv
	mv.cutting = false
	if s.backend.Ended() { // it could not be told while the users' fate was open
		s.took(backend.Moved{Cause: backend.CauseGone})
		s.slot().Flags &^= wire.Frozen
		s.enter(StateRelay)
		s.endMove()
		s.relayLost()
		s.boundEnd()
		return
	}
	s.countHeld()
	if mv.wasAwake { // paused
		mv.awaits, mv.awake, mv.wasAwake = false, false, false
		s.pacedCarryOn(0)
	} else {
		s.carryOn()
	}
	if !s.relays() {
		return
	}
	if mv.deadline > 0 && !s.has(pacing|dismissed) {
		s.until(mv.deadline + mv.paused) // the client could not help the pause
	}
	s.backend.LookAgain()
	s.pullBackend()
}

// carryOn relays again after a freeze, in order: what was held here, what waits in the kernel.
func (s *session) carryOn() {
	mv := s.mv
	mv.paused = s.w.loop.Now() - mv.frozenAt
	s.slot().Flags &^= wire.Frozen
	s.enter(StateRelay)
	s.backend.TryAgain()
	s.flushBackend()
	if s.slot().Owed > 0 {
		s.payRefusals()
	}
	mv.counting = true // what the events have told of meanwhile
	s.pullClient()
	mv.counting = false
	if s.over() {
		return
	}
	s.boundEnd()
	m := backend.Moved{Pause: mv.paused, HeldLines: mv.heldLines, HeldBytes: mv.heldBytes}
	if s.has(dismissed) {
		m.Cause = backend.CauseGone // the user is where the others are, and is about to quit there: his client was ended meanwhile
	}
	s.took(m)
	s.endMove()
}

// countHeld counts the whole lines that had to wait here.
func (s *session) countHeld() {
	q := &s.slot().ToBackend
	for _, p := range s.w.shard.Pieces(q, q.Whole(), nil) {
		s.mv.held(p)
	}
}

// held counts client bytes that had to wait.
func (mv *moving) held(p []byte) {
	mv.heldLines += wire.CountLines(p)
	mv.heldBytes += len(p)
}

// endMove forgets a move, unless something of it is still to go out slowly.
func (s *session) endMove() {
	if s.mv != nil && s.mv.batch == nil && s.mv.attached.state == attachNone && !s.has(pacing) {
		s.leavePlace()
		s.unmark()
		s.mv = nil
	}
}

// frozenFor is how long a move has had the session; 0: none has it.
func (s *session) frozenFor() time.Duration {
	if !s.held() || s.mv == nil {
		return 0
	}
	return s.w.loop.Now() - s.mv.frozenAt
}
