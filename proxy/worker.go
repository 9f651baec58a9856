package proxy

import (
	"fmt"
	"log/slog"
	"sync"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/proxy/admit"
	"github.com/ircferry/ircferry/proxy/leg"
	"github.com/ircferry/ircferry/proxy/lines"
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

	legs   *leg.Loop     // what the legs of its sessions share
	framer *lines.Framer // what goes through their lines

	slabs    []*[slabSize]session
	firstGen uint32 // of places that are new: the highest of the process that this one goes on for
	free     []uint32
	spare    []*opening // of sessions that have registered, to be used again
	sessions int        // in the table, closing ones included

	sockets *admit.Sockets
	mu      sync.Mutex // for peers: the worker writes with it held, others read with it held
	peers   map[*backend.Backend]*peer
	gated   map[string]bool // pools with a gate

	quiet bool // see Quiesce

	listened map[uint32]*listened // by a session's place; see tracking.go

	old  []int32    // streams that were left at a splice and are still to be closed
	dead []*session // over; what they have is given back at the end of the turn

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
	if s.gen != k.Gen() || s.w == nil || s.over() {
		return nil
	}
	return s
}

// each calls f for every session that is not over, under a recover of its own: none keeps f from the others.
func (w *worker) each(f func(*session)) {
	for _, slab := range w.slabs {
		for i := range slab {
			if s := &slab[i]; s.w != nil && !s.over() {
				w.loop.Guard(s.key(portClient), func() { f(s) })
			}
		}
	}
}

// postFor has f run on the loop on behalf of a session: a panic in it is that session's. It may be called from any goroutine.
func (w *worker) postFor(k loop.Key, f func()) bool {
	return w.loop.Post(func() { w.loop.Guard(k, f) })
}

func (w *worker) newSession() (*session, error) {
	id, slot, err := w.shard.NewSlot()
	if err != nil && w.makeRoom() {
		id, slot, err = w.shard.NewSlot()
	}
	if err != nil {
		return nil, err
	}
	if len(w.free) == 0 {
		slab := w.addSlab()
		for i := slabSize - 1; i >= 0; i-- {
			w.free = append(w.free, slab[i].index)
		}
	}
	i := w.free[len(w.free)-1]
	w.free = w.free[:len(w.free)-1]
	s := &w.slabs[i/slabSize][i%slabSize]
	*s = session{w: w, slotID: id, index: i, gen: s.gen + 1, client: leg.New(slot, leg.Client), backend: leg.New(slot, leg.Backend)}
	slot.Session = w.number(s)
	w.shard.HadGen(s.gen)
	s.enter(StateHeader)
	w.sessions++
	return s, nil
}

// addSlab makes more places. None of their ids was given before, by this process or one that it goes on for.
func (w *worker) addSlab() *[slabSize]session {
	slab, first := new([slabSize]session), uint32(len(w.slabs)*slabSize)
	for i := range slab {
		slab[i].index, slab[i].gen = first+uint32(i), w.firstGen
	}
	w.slabs = append(w.slabs, slab)
	return slab
}

// TurnOver implements loop.Handler: what is over gives back what it has.
func (w *worker) TurnOver() {
	for len(w.dead) > 0 {
		s := w.dead[len(w.dead)-1]
		w.dead = w.dead[:len(w.dead)-1]
		w.loop.Guard(0, func() { w.bury(s) })
	}
	w.legs.TurnOver()
	if w.sessions == 0 && w.empty != nil {
		for _, c := range w.empty {
			close(c)
		}
		w.empty = nil
	}
	if w.p.arena.Tight() {
		w.p.relief.ask()
	}
}

// bury closes what a session that is over has open, and gives its place back.
func (w *worker) bury(s *session) {
	if s.reason() == ReasonNull {
		s.backend.Reset(w.legs)
	}
	s.forgetKnown()
	s.dropBackend()
	s.leavePlace()
	s.closeClient()
	s.release()
	s.tally().ended[s.reason()].Add(1)
	w.p.ends.add(s)
	s.enter(stateFree)
	w.shard.FreeSlot(s.slotID)
	*s = session{index: s.index, gen: s.gen}
	w.free = append(w.free, s.index)
	w.sessions--
}

// Ready implements loop.Handler.
func (w *worker) Ready(k loop.Key, ev loop.Events) {
	port := k.Port()
	if port == portListener {
		w.sockets.Accept(k)
		return
	}
	s := w.at(k)
	if s == nil {
		return
	}
	if ev == loop.Again {
		s.unset(askedAgain)
		s.goOn()
		return
	}
	s.event(port, ev)
}

// Expired implements loop.Handler.
func (w *worker) Expired(k loop.Key) {
	switch k.Port() {
	case portListener:
		w.sockets.Resume()
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
		s.attachedTimer()
		return
	}
	s.expired()
}

// Panicked implements loop.Handler: the session that it happened in ends at once, the others go on.
func (w *worker) Panicked(k loop.Key, value any, stack []byte) {
	w.shard.Worked()
	w.p.ends.say(slog.LevelError, "panic in event loop", "loop", w.index, "panic", fmt.Sprint(value), "stack", string(stack))
	if k == 0 || k.Port() >= portOld {
		return
	}
	if s := w.at(k); s != nil {
		s.cutOff(ReasonInternal)
	}
}
