package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/ircferry/ircferry/proxy/admit"
	"github.com/ircferry/ircferry/proxy/leg"
)

// What is done while all is well so that a process that comes after a crash of this one can go on: see Recover. The arena has a journal, and the keeper
// has a duplicate of each descriptor from before its first byte until the session has closed it.

// ErrKeeperBusy is a Keeper's answer when it has no room for now.
var ErrKeeperBusy = leg.ErrKeeperBusy

// Keeper holds duplicates of our descriptors, by tags that are the same in each process that goes on with the arena: see leg.Tag. Any goroutine
// calls it, and it never blocks.
type Keeper interface {
	leg.Keeper // what Keep answers but ErrKeeperBusy is that the descriptor is served without it

	// Ready has f called once, by another goroutine, when it is worth to try again behind ErrKeeperBusy.
	Ready(f func())
}

// listenerTag is the tag of a listener's socket on one loop. No session has it, for its upper half is 0.
func listenerTag(listener uint32, loop int) uint64 {
	return uint64(listener)<<7&(1<<32-1) | uint64(loop)
}

// notes are what a process that comes after a crash must know beside slots.
type notes struct {
	Format    int         `json:"format"`
	Listeners admit.State `json:"listeners"`
}

const notesFormat = 1

// keepRetry is how long somebody who must wait for the keeper does before he tries again.
const keepRetry = 5 * time.Millisecond

// protect begins to keep everything.
func (p *Proxy) protect() {
	p.listeners.Record(admit.Records{
		Keep: func(listener uint32, loop, fd int) {
			for errors.Is(p.keeper.Keep(listenerTag(listener, loop), fd), ErrKeeperBusy) { // bounded: a keeper that stays busy is given up
				time.Sleep(keepRetry)
			}
		},
		Drop: func(listener uint32, loop int) {
			_ = p.keeper.Drop(listenerTag(listener, loop)) // whoever comes finds it without a listener, and closes it
		},
		Note: p.note,
	})
}

// note puts the notes into the arena.
func (p *Proxy) note(st admit.State) {
	b, err := json.Marshal(notes{Format: notesFormat, Listeners: st})
	if err == nil {
		err = p.arena.Note(b)
	}
	if err != nil {
		p.log.Error("listeners are not noted: clients that come in from now on are lost if this process crashes", "err", err)
	}
}

// ArenaFD is the descriptor of the wire arena, for the keeper. It stays the proxy's.
func (p *Proxy) ArenaFD() int { return p.arena.Fd() }

// KeepAll gives all descriptors again, to a keeper that has none.
func (p *Proxy) KeepAll(ctx context.Context) error {
	if p.keeper == nil {
		return nil
	}
	p.protect()
	for _, w := range p.workers {
		for from := 0; from >= 0; {
			var next int
			done := make(chan struct{})
			if !w.loop.Post(func() {
				defer close(done)
				next = w.keepFrom(from)
			}) {
				return ErrClosed
			}
			select {
			case <-done:
			case <-ctx.Done():
				return fmt.Errorf("give descriptors to the keeper: %w", ctx.Err())
			}
			if next == from { // it is busy
				time.Sleep(keepRetry)
			}
			from = next
		}
	}
	return nil
}

// keepAtOnce is how many places of a loop are looked at in one turn.
const keepAtOnce = 1024

// keepFrom keeps the sessions at the places from one on, and answers where to go on; -1: nowhere.
func (w *worker) keepFrom(from int) int {
	most := len(w.slabs) * slabSize
	for i := from; i < most; i++ {
		if i == from+keepAtOnce {
			return i
		}
		s := &w.slabs[i/slabSize][i%slabSize]
		if s.w == nil || s.over() {
			continue
		}
		if !s.keep() {
			return i
		}
	}
	return -1
}

// keep gives all descriptors of the session to the keeper; false: it is busy.
func (s *session) keep() bool {
	w := s.w
	if !s.client.Keep(w.legs) || !s.backend.Keep(w.legs) {
		return false
	}
	return s.mv == nil || s.mv.attached.Keep(w.legs)
}

// keepClient gives a client that has just come in to the keeper. While that is busy nothing is done with the client; goOn is called
// when it has been.
func (w *worker) keepClient(s *session, goOn func()) {
	w.step("accepted")
	if s.client.Keep(w.legs) {
		w.step("kept")
		goOn()
		return
	}
	s.set(unkept)
	key := s.key(portClient)
	w.whenReady(func() {
		if s := w.at(key); s != nil && s.has(unkept) {
			s.unset(unkept)
			w.keepClient(s, goOn)
			s.again()
		}
	})
}

// step lets a test look between two steps.
func (w *worker) step(step string) {
	if w.legs.Step != nil {
		w.legs.Step(step)
	}
}

// whenReady has f run on the loop when the keeper may have room.
func (w *worker) whenReady(f func()) { w.p.keeper.Ready(func() { w.loop.Post(f) }) }

// journal begins a loop's records, for a keeper.
func (w *worker) journal(k Keeper) {
	w.legs.Keeper = k
	w.shard.Journal()
}

// baseline is told that the counts of the backend's stream begin; ahead bytes of it were read and are not counted yet.
func (s *session) baseline(ahead int) { s.backend.Begin(s.w.legs, ahead) }
