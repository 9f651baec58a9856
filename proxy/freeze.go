package proxy

import (
	"context"
	"sync"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/proxy/wire"
)

// carryRoom is how much that its client has not read a session takes along in a move.
const carryRoom = 1 << 20

// Freeze stops the sessions of a backend and tells their counts. A loop that comes to it only when ctx is over thaws its sessions again,
// since nobody would know of them.
func (p *Proxy) Freeze(ctx context.Context, backendName string) ([]backend.Frozen, error) {
	var mu sync.Mutex
	var all []backend.Frozen
	late := false
	err := p.onAll(ctx, func(w *worker) {
		var mine []*session
		w.each(func(s *session) {
			if !s.streaming(backendName) {
				return
			}
			if w.freeze(s); s.state == StateFrozen {
				mine = append(mine, s)
			}
		})
		mu.Lock()
		defer mu.Unlock()
		for _, s := range mine {
			if late {
				w.thaw(s)
				continue
			}
			all = append(all, backend.Frozen{U: w.id(s), In: s.slot.BackendIn, Out: s.slot.BackendOut, Registered: s.registered()})
		}
	})
	mu.Lock()
	defer mu.Unlock()
	late = true
	return all, err
}

func (w *worker) freeze(s *session) {
	if s.state != StateRelay {
		return
	}
	s.unset(backendFull) // a last try
	w.flushBackend(s)
	if s.state != StateRelay || s.slot.Flags.Has(wire.BackendFINSeen) {
		return
	}
	mv := s.move()
	mv.frozenAt, mv.deadline = w.loop.Now(), s.deadline
	mv.paused, mv.heldLines, mv.heldBytes = 0, 0, 0
	w.noDeadline(s)
	s.slot.Flags |= wire.Frozen
	w.enter(s, StateFrozen)
}

// frozenRoom is how much of a frozen session's old stream may be read now, at most n.
func (w *worker) frozenRoom(s *session, n int) int {
	mv, waits := s.mv, s.slot.ToClient.Len()
	if !mv.cutting {
		if waits < highWater {
			return n
		}
		return 0
	}
	left := mv.cut - s.slot.BackendOut
	room := carryRoom - waits
	if left > 0 && room <= 0 {
		// It stays with the old ircd: a thaw can still go on with it, a splice cannot.
		w.took(s, backend.Moved{Cause: backend.CauseOverflow})
		return 0
	}
	return int(min(uint64(n), left, uint64(max(room, 0))))
}

// ReadUp reads old streams up to their cuts.
func (p *Proxy) ReadUp(ctx context.Context, cuts []backend.Cut) []backend.Moved {
	us := make([]string, len(cuts))
	at := make(map[string]uint64, len(cuts))
	for i, c := range cuts {
		us[i], at[c.U] = c.U, c.Out
	}
	return p.step(ctx, us, backend.CauseTimeout, func(w *worker, b *batch, us []string) {
		for _, u := range us {
			if s := w.find(u); s != nil && s.state == StateFrozen {
				b.wait(s)
				w.readUp(s, at[u])
			} else {
				b.add(backend.Moved{U: u, Cause: backend.CauseGone})
			}
		}
	}, func(w *worker, s *session) { s.mv.cutting = false })
}

func (w *worker) readUp(s *session, cut uint64) {
	if s.slot.BackendOut > cut {
		w.took(s, backend.Moved{Cause: backend.CauseCount})
		return
	}
	s.mv.cut, s.mv.cutting = cut, true
	if w.reachedCut(s) {
		return
	}
	if s.slot.Flags.Has(wire.BackendFINSeen) {
		w.took(s, backend.Moved{Cause: backend.CauseBehind})
		return
	}
	s.set(backendMore)
	w.readBackend(s)
}

// reachedCut tells the batch when the old stream was read to its cut.
func (w *worker) reachedCut(s *session) bool {
	if s.mv == nil || !s.mv.cutting || s.slot.BackendOut < s.mv.cut {
		return false
	}
	w.took(s, backend.Moved{})
	return true
}

// frozenLost: the old stream has ended under a frozen session. Its users may have been exported by then, so nothing is decided here.
func (w *worker) frozenLost(s *session) {
	if s.mv.cutting && s.slot.BackendOut < s.mv.cut {
		w.took(s, backend.Moved{Cause: backend.CauseBehind})
	}
}

// Thaw goes on with the old backend.
func (p *Proxy) Thaw(us []string) []backend.Moved {
	return p.step(context.Background(), us, backend.CauseGone, func(w *worker, b *batch, us []string) {
		for _, u := range us {
			s := w.find(u)
			if s == nil || s.state == StateParked || s.state == StateSplicing || s.state == StateClosing {
				b.add(backend.Moved{U: u, Cause: backend.CauseGone})
				continue
			}
			w.dropAttached(s)
			if s.state != StateFrozen {
				w.endMove(s)
				b.add(backend.Moved{U: u})
				continue
			}
			b.wait(s)
			w.thaw(s)
		}
	}, nil)
}

// thaw goes on with a frozen session on the stream that it has.
func (w *worker) thaw(s *session) {
	mv := s.mv
	mv.cutting = false
	if s.slot.Flags.Has(wire.BackendFINSeen) { // it could not be told while the users' fate was open
		w.took(s, backend.Moved{Cause: backend.CauseGone})
		s.slot.Flags &^= wire.Frozen
		w.enter(s, StateRelay)
		w.endMove(s)
		w.relayLost(s)
		return
	}
	for _, p := range w.shard.Pieces(&s.slot.ToBackend, s.slot.ToBackend.Whole(), nil) {
		mv.held(p)
	}
	w.carryOn(s)
	if s.state != StateRelay {
		return
	}
	if mv.deadline > 0 && !s.has(pacing) {
		w.until(s, mv.deadline+mv.paused) // the client could not help the pause
	}
	s.set(backendMore)
	w.readBackend(s)
}

// carryOn relays again after a freeze, in order: what was held here, what waits in the kernel.
func (w *worker) carryOn(s *session) {
	mv := s.mv
	mv.paused = w.loop.Now() - mv.frozenAt
	s.slot.Flags &^= wire.Frozen
	w.enter(s, StateRelay)
	s.unset(backendFull)
	w.flushBackend(s)
	if s.has(owesRefusal) {
		w.payRefusal(s)
	}
	if s.state == StateRelay && !s.has(clientGone) {
		mv.counting = true // what the events have told of meanwhile, see clientMore
		w.readClient(s)
		mv.counting = false
	}
	if s.state == stateFree {
		return
	}
	w.boundEnd(s)
	w.took(s, backend.Moved{Pause: mv.paused, HeldLines: mv.heldLines, HeldBytes: mv.heldBytes})
	w.endMove(s)
}

// boundEnd sets the deadline of a session that relays again, by what it was in.
func (w *worker) boundEnd(s *session) {
	if s.state != StateRelay {
		return
	}
	switch {
	case s.has(pacing):
		w.within(s, paceEvery)
	case s.has(dismissed):
		w.within(s, lingerTime)
	case s.has(clientGone):
		w.within(s, leaveTime)
	case s.slot.Flags&(wire.ClientFINSeen|wire.BackendFINSeen) != 0:
		w.within(s, halfClosedTime)
	}
}

// held counts client bytes that had to wait.
func (mv *moving) held(p []byte) {
	mv.heldLines += wire.CountLines(p)
	mv.heldBytes += len(p)
}

// endMove forgets a move, unless something of it is still to go out slowly.
func (w *worker) endMove(s *session) {
	if s.mv != nil && s.mv.batch == nil && s.mv.attached.state == attachNone && !s.has(pacing) {
		s.mv = nil
	}
}

// frozenTimeOver is called for a frozen or parked session.
func (w *worker) frozenTimeOver(s *session) {
	if s.state == StateParked && !s.mv.awake {
		w.wakeParked(s)
	}
}
