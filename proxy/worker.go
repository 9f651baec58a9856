package proxy

import (
	"sync"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/proxy/loop"
	"github.com/ircferry/ircferry/proxy/wire"
)

// slabSize sessions are allocated at a time, so that they lie side by side and never move.
const slabSize = 128

// worker is one event loop with its sessions. Its methods are for the loop's goroutine only, unless they say otherwise.
type worker struct {
	p     *Proxy
	index int
	loop  *loop.Loop
	shard *wire.Shard

	slabs    []*[slabSize]session
	free     []uint32
	spare    []*opening // of sessions that have registered, to be used again
	sessions int        // in the table, closing ones included

	listeners map[uint32]*accepting
	mu        sync.Mutex // for peers: the worker writes with it held, others read with it held
	peers     map[*backend.Backend]*peer
	gated     map[string]bool // pools with a gate
	paused    bool            // accept rests until descriptors are back

	old []int32 // streams that were left at a splice and are still to be closed

	room   loop.Iovecs
	pieces [len(loop.Iovecs{})][]byte

	counts workerCounts
	empty  []chan struct{} // closed when sessions is 0
}

// at is the session that a key names, or nil if that one is over.
func (w *worker) at(k loop.Key) *session {
	i := k.Slot()
	if int(i/slabSize) >= len(w.slabs) {
		return nil
	}
	s := &w.slabs[i/slabSize][i%slabSize]
	if s.gen != k.Gen() || s.state == stateFree {
		return nil
	}
	return s
}

// each calls f for every session.
func (w *worker) each(f func(*session)) {
	for _, slab := range w.slabs {
		for i := range slab {
			if slab[i].state != stateFree {
				f(&slab[i])
			}
		}
	}
}

func (w *worker) newSession() (*session, error) {
	id, slot, err := w.shard.NewSlot()
	if err != nil {
		return nil, err
	}
	if len(w.free) == 0 {
		first := uint32(len(w.slabs) * slabSize)
		w.slabs = append(w.slabs, new([slabSize]session))
		for i := slabSize - 1; i >= 0; i-- {
			w.free = append(w.free, first+uint32(i))
		}
	}
	i := w.free[len(w.free)-1]
	w.free = w.free[:len(w.free)-1]
	s := &w.slabs[i/slabSize][i%slabSize]
	*s = session{slot: slot, slotID: id, index: i, gen: s.gen + 1, clientFD: -1, backendFD: -1}
	slot.Session = w.number(s)
	w.enter(s, StateHeader)
	w.sessions++
	return s, nil
}

// forget gives the place of a session back. Both descriptors are closed.
func (w *worker) forget(s *session) {
	w.enter(s, stateFree)
	w.shard.FreeSlot(s.slotID)
	*s = session{index: s.index, gen: s.gen, clientFD: -1, backendFD: -1}
	w.free = append(w.free, s.index)
	w.sessions--
	if w.sessions == 0 {
		for _, c := range w.empty {
			close(c)
		}
		w.empty = nil
	}
}

// enter changes the state, and the counts by state with it.
func (w *worker) enter(s *session, to State) {
	w.counts.states[s.state].Add(-1)
	w.counts.states[to].Add(1)
	s.state = to
	if s.slot != nil {
		s.slot.State = uint8(to)
	}
}

// Ready implements loop.Handler.
func (w *worker) Ready(k loop.Key, ev loop.Events) {
	port := k.Port()
	if port == portListener {
		w.accept(k)
		return
	}
	s := w.at(k)
	if s == nil {
		return
	}
	switch {
	case ev == loop.Again:
		s.unset(askedAgain)
		w.goOn(s)
	case port == portClient:
		w.clientEvent(s, ev)
	case port == portBackend:
		w.backendEvent(s, ev)
	case port == portAttached:
		w.attachedEvent(s, ev)
	}
}

// Expired implements loop.Handler.
func (w *worker) Expired(k loop.Key) {
	switch k.Port() {
	case portListener:
		w.resumeAccept()
		return
	case portOld:
		w.closeOld()
		return
	}
	s := w.at(k)
	if s == nil {
		return
	}
	if k.Port() == portAttached {
		w.attachedTimer(s)
		return
	}
	now := w.loop.Now()
	if s.timerAt <= now {
		s.timerAt = 0 // else another timer is still to come
	}
	switch {
	case s.deadline == 0:
	case s.deadline > now:
		w.until(s, s.deadline)
	default:
		s.deadline = 0
		w.timeOver(s)
	}
}

// within sets when the state's time is over, from now; a later call replaces it.
func (w *worker) within(s *session, d time.Duration) { w.until(s, w.loop.Now()+d) }

func (w *worker) until(s *session, at time.Duration) {
	s.deadline = at
	if s.timerAt == 0 || s.timerAt > at {
		s.timerAt = at
		w.loop.After(at-w.loop.Now(), s.key(portClient))
	}
}

func (w *worker) noDeadline(s *session) { s.deadline = 0 }

// again asks the loop for another go, behind the others.
func (w *worker) again(s *session) {
	if !s.has(askedAgain) {
		s.set(askedAgain)
		w.loop.Again(s.key(portClient))
	}
}

// TurnOver implements loop.Handler.
func (w *worker) TurnOver() {}

// Panicked implements loop.Handler: the session that it happened in is closed at once, the others go on.
func (w *worker) Panicked(k loop.Key, value any, stack []byte) {
	w.p.log.Error("panic in event loop", "loop", w.index, "panic", value, "stack", string(stack))
	if k == 0 || k.Port() >= portOld {
		return
	}
	if s := w.at(k); s != nil {
		w.noteEnd(s, ReasonInternal)
		w.finish(s)
	}
}
