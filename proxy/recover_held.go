package proxy

import (
	"errors"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/proxy/leg"
	"github.com/ircferry/ircferry/proxy/loop"
	"github.com/ircferry/ircferry/proxy/wire"
)

// Sessions of a move behind a crash: they come up as the move had them, frozen, parked, or waiting for LIVE, with the stream that was attached. Nobody but the
// coordinator knows what becomes of them: Held tells it of them, and it goes back or on.

// held is (x *recovery).state for who is frozen or parked, or waits for LIVE on a stream that has the old one's place.
func (x *recovery) held(pl *plan) (why string) {
	s := pl.s
	from, ok := x.backends[uint32(s.slot().Move)]
	if !ok {
		return EndedInMove
	}
	if s.has(opensHere) {
		s.registerOn()
	}
	mv := s.move()
	mv.from, mv.frozenAt, mv.wasAwake = from.FullName(), s.w.loop.Now(), s.marked(markAwake)
	if mv.wasAwake {
		mv.frozenAt -= parkAwake // so long at least: Park lets it be read again at once
	}
	if s.marked(markOverflow) {
		mv.cut, mv.cutting = s.slot().BackendOut+1, true
	}
	if s.held() {
		x.attached(s)
	}
	return pl.explained()
}

// attached gives a session its attached stream, if it is there and was attached.
func (x *recovery) attached(s *session) {
	if !s.marked(markAttached) {
		return // whoever dials has another one
	}
	s.mark(markAttached, false)
	fd := x.take(s.slotID, s.slot(), leg.Attached)
	if fd < 0 {
		return
	}
	a := &s.mv.attached
	if err := a.Resume(s.w.legs, fd, s.key(portAttached), leg.State{}); err != nil {
		x.fds[leg.Tag(s.slotID, s.slot().Generation, leg.PortOf(s.slot(), leg.Attached))] = fd
		return
	}
	a.state = attachAttached
	s.mark(markAttached, true)
}

// Held are the sessions that a move of the process before had, before Start.
func (x *Successor) Held() (all []backend.Held) {
	for _, w := range x.p.workers {
		w.each(func(s *session) {
			if !s.held() && s.state != StateSplicing || s.mv == nil {
				return
			}
			h := backend.Held{U: s.id(), From: s.mv.from, Parked: s.parks(), Registered: s.registered(), Attached: s.mv.attached.state == attachAttached}
			if s.state == StateSplicing && s.peer != nil {
				h.At = s.peer.name
			}
			all = append(all, h)
		})
	}
	return all
}

// takeUpHeld is the first turn of a session that a move has.
func (s *session) takeUpHeld() {
	s.flushClient()
	if s.over() {
		return
	}
	if s.parks() {
		s.keepPlace()
	}
	if s.has(dismissed) {
		s.linger()
	}
	s.client.LookAgain()
	s.backend.LookAgain()
	s.again()
}

// unspliced is a splice in whose midst the process before ended: its session is as it was before. What client and ircd had taken of the outcome is not
// said again.
type unspliced struct{ ahead, sealed [2]int }

// interruptedSplice notes it, and reports whether the work of the plan was one: nothing was read in it.
func (s *session) interruptedSplice(pl *plan) bool {
	if !s.held() || pl.work.Got > 0 || pl.work.Plain > 0 || pl.counts[0].Read > 0 || pl.counts[1].Read > 0 {
		return false
	}
	s.mv.again = &unspliced{ahead: [2]int{pl.counts[0].Ahead, 0}, sealed: [2]int{int(pl.work.Sealed[0]), 0}}
	return true
}

// spliceAsWork is splice as one piece of work: a process that comes after a crash in its midst finds the session as it was before.
func (s *session) spliceAsWork(to *peer, queues backend.Splice) {
	w, again := s.w, s.mv.again
	w.shard.Begin(s.slotID, wire.ToClient)
	if again != nil {
		s.mv.again = nil
		if k := loop.Counts(s.mv.attached.FD()); !k.Dead {
			again.ahead[1] = int(int32(k.Out - s.slot().AttachedOut))
		}
		w.legs.Redo(&s.client, &s.backend, again.ahead, again.sealed)
	}
	s.splice(to, queues)
	if again != nil {
		left := w.legs.Redone()
		w.shard.Worked()
		if errors.Join(s.client.Taken(w.legs, left[0]), s.backend.Taken(w.legs, left[1])) != nil {
			s.cutOff(ReasonCrash)
			return
		}
		s.flushClient() // what was sealed already waits, and nothing was written of it
		s.flushBackend()
		return
	}
	w.shard.Worked()
}
