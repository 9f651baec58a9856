package proxy

import (
	"github.com/ircferry/ircferry/proxy/leg"
	"github.com/ircferry/ircferry/proxy/loop"
	"github.com/ircferry/ircferry/proxy/wire"
)

// plan is what is to be done with a session behind a crash, in the first turn of its loop.
type plan struct {
	s      *session
	counts [2]leg.Reconciled // of the client's leg and the backend's
	work   *wire.Interrupted // it is done once more
	reason CloseReason       // it ends
	text   string            // with this word
	cut    bool              // ... or without, since nothing can be said
}

// What each state is behind a crash.

// hasStream reports whether the session has a stream that counts.
func (s *session) hasStream() bool {
	return s.relays() || s.state == StateFrozen || s.state == StateSplicing
}

// state says how a session goes on in the state that it was in, and prepares it; why it does not.
func (x *recovery) state(pl *plan) (why string) {
	s := pl.s
	read := pl.counts[0].Read
	switch s.state {
	case StateHeader:
		if s.slot().ClientIn > 0 || s.has(keepsBytes) {
			return EndedUnheard
		}
	case StateHandshake:
		if !s.untouched() {
			return EndedInHandshake
		}
		s.beginOpening()
	case StateWaiting, StateDialing, StateBackendHandshake, StateOpening:
		if read > 0 || s.has(keepsBytes) {
			return EndedUnheard
		}
		s.waitAnew()
	case StateRelay:
		if s.has(opensHere) {
			s.registerOn()
		}
		return pl.explained()
	case StateFrozen, StateParked, StateSplicing:
		return x.held(pl)
	case StateReopening:
		return EndedInMove
	}
	return ""
}

// untouched reports whether a client that is to have TLS has said nothing but a PROXY header, and been told nothing.
func (s *session) untouched() bool {
	k := loop.Counts(s.client.FD())
	return k.In == uint32(s.slot().ClientIn) && k.Out == 0 && !s.has(keepsBytes)
}

// explained looks whether what was read is known to have been in work. What a client says that has been dismissed counts for nothing.
func (pl *plan) explained() (why string) {
	for i := range pl.counts {
		if pl.counts[i].Read == 0 || i == 0 && pl.s.has(dismissed) {
			continue
		}
		if pl.work == nil || int(pl.work.Dir) != i+int(wire.ToBackend) {
			s := pl.s
			s.w.p.log.Warn("a session cannot go on behind a crash: bytes of it were read and nobody has them", "session", s.id(), "side", i,
				"bytes", pl.counts[i].Read)
			return EndedUnexplained
		}
	}
	return ""
}

// waitAnew makes a session that was connecting wait for a backend again, of which nothing has come to the client's ears.
func (s *session) waitAnew() {
	if id := s.slot().BackendTLS; id != 0 {
		s.slot().BackendTLS = 0
		s.w.shard.FreeTLS(id)
	}
	s.slot().Peer = 0
	s.freshSlot()
	s.beginOpening()
	s.reg.facts = s.keptFacts()
	s.enter(StateWaiting)
}

// registerOn goes on with a registration of which what was said before is not known.
func (s *session) registerOn() {
	s.unset(opensHere)
	s.beginOpening()
	r := s.reg
	r.facts, r.late, r.spoke = s.keptFacts(), true, s.w.loop.Now()
	r.talk.over = true
	r.begun = s.slot().ClientIn > 0
}

// carryOut is the plan's part of a loop's first turn.
func (pl *plan) carryOut() {
	s := pl.s
	if pl.reason == ReasonQuarantined {
		s.quarantine(pl)
		return
	}
	if pl.reason != reasonNone {
		s.w.shard.DropWorkOf(s.slotID)
		if !s.backend.IsOpen() {
			s.backend.NoMore()
		}
		if pl.cut {
			s.cutOff(pl.reason)
		} else {
			s.end(pl.reason, pl.text)
		}
		return
	}
	if pl.work != nil && (s.relays() || s.mv != nil && !s.interruptedSplice(pl)) {
		s.redo(pl)
	}
	s.w.shard.DropWorkOf(s.slotID)
	if s.over() {
		return
	}
	if s.held() || s.state == StateSplicing {
		s.takeUpHeld()
		return
	}
	s.takeUp()
	s.boundAnew()
	if !s.over() { // the client first: that it has ended explains the end of its stream
		s.client.LookAgain()
		s.backend.LookAgain()
		s.goOn()
	}
}

// boundAnew sets the deadline of a session by its state: what was left of it is not known.
func (s *session) boundAnew() {
	switch {
	case s.state == StateHeader:
		s.within(headerTime)
	case s.state == StateHandshake:
		s.within(handshakeTime)
	case s.state == StateClosing:
		s.within(lingerTime)
	case s.relays() && s.has(pacing):
		s.move().pace = s.slot().ToBackend.Whole()
		s.boundEnd()
	case s.relays() && s.has(opensHere):
		s.registrationTime()
		s.boundEnd()
	default:
		s.boundEnd()
	}
}

// input is the side whose bytes were being worked, and how many it has read of the kernel.
func (pl *plan) input() (side, read int) {
	if pl.work.Dir == wire.ToClient {
		side = 1
	}
	c := pl.counts[side]
	if c.Dead && pl.work.Got > 0 {
		return side, min(c.Read, pl.work.Got) // the end of a connection may have been counted as a byte
	}
	return side, c.Read
}

// redo works the bytes once more in whose midst the process ended: what the kernel has of the outcome is not written again, what was sealed not sealed.
func (s *session) redo(pl *plan) {
	in, w := pl.work, s.w
	side, read := pl.input()
	input := [...]*leg.Leg{&s.client, &s.backend}[side]
	w.step("redo")
	w.p.redoing.Lock() // one at a time: should one end this process, it is known which
	defer w.p.redoing.Unlock()
	s.slot().Crashes++
	w.shard.Again(s.slotID)
	w.legs.Redo(&s.client, &s.backend, [2]int{pl.counts[0].Ahead, pl.counts[1].Ahead}, [2]int{int(in.Sealed[0]), int(in.Sealed[1])})
	var got leg.Got
	switch {
	case read > 0:
		got = input.Reread(w.legs, read)
	case in.Plain > 0:
		got = input.Reopened(w.legs, in.Plain)
	}
	if side == 0 {
		s.clientSaid(got)
	} else {
		s.backendSaid(got)
	}
	ahead := w.legs.Redone()
	for i, l := range [...]*leg.Leg{&s.client, &s.backend} {
		if pl.counts[i].Ended && l.IsOpen() {
			l.NothingMore()
		}
	}
	s.slot().Crashes = 0
	w.step("redone")
	w.shard.Worked()
	if err := s.client.Taken(w.legs, ahead[0]); err != nil {
		s.cutOff(ReasonCrash)
	}
	if err := s.backend.Taken(w.legs, ahead[1]); err != nil {
		s.cutOff(ReasonCrash)
	}
}
