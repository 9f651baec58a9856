package proxy

import (
	"context"
	"log/slog"
	"time"

	"github.com/ircferry/ircferry/proxy/loop"
)

// When the arena is tight or full, the session that holds most gives its place up, and never the one that asks next: that is nearly always an innocent
// with half a line. No session can hold more than maxQueue in one direction, so it takes many to get here.

const (
	// maxQueue bounds each queue of a session, in the arena itself: what a session may carry through a move, and what may be said on top of it.
	maxQueue = carryRoom + 4*highWater

	// leastWorth is the least that it is worth to end a session for.
	leastWorth = 16 << 10

	// Between two sessions that are ended there is time to see what it has brought. If nobody holds enough, it is looked again after a while.
	reliefEvery = 10 * time.Millisecond
	reliefRest  = time.Second
)

// weight is how much of the arena's buffers the session holds.
func (s *session) weight() int {
	return s.slot().ToBackend.Len() + s.slot().ToClient.Len() + s.backend.Waiting(s.w.legs)
}

// largest is the session of this loop that holds most, but not; nil if none holds enough.
func (w *worker) largest(but *session) (found *session, weight int) {
	weight = leastWorth - 1
	for _, slab := range w.slabs {
		for i := range slab {
			if s := &slab[i]; s.w != nil && !s.over() && s != but {
				if n := s.weight(); n > weight {
					found, weight = s, n
				}
			}
		}
	}
	return found, weight
}

// makeRoom ends the session of this loop that holds most, at once, for one that needs memory now and holds less. It is called in the middle of
// other work: nothing may be sealed or sent.
func (w *worker) makeRoom() bool {
	asking := w.at(w.loop.Current())
	s, weight := w.largest(asking)
	if s == nil || asking != nil && asking.weight() >= weight {
		return false
	}
	s.shed(weight)
	return true
}

// shed ends a session for its memory.
func (s *session) shed(weight int) {
	s.w.p.ends.say(slog.LevelWarn, "arena is full: the session that holds most is ended", "session", s.id(), "bytes", weight)
	s.noteEnd(ReasonMemory)
	s.w.shard.Clear(&s.slot().ToBackend)
	s.client.Forget(s.w.legs)
	s.backend.Forget(s.w.legs)
	if !s.held() {
		s.finish()
		return
	}
	s.set(dismissed)
	s.client.NoMore()
	s.within(0) // closed in a turn of its own
}

// relief looks at all loops when the arena is tight, before it is full.
type relief struct {
	p     *Proxy
	asked chan struct{}
}

func newRelief(p *Proxy) *relief { return &relief{p: p, asked: make(chan struct{}, 1)} }

// ask is called by loops that see the arena tight, at the end of a turn.
func (r *relief) ask() {
	select {
	case r.asked <- struct{}{}:
	default:
	}
}

// run is a goroutine of the Proxy until stop is closed.
func (r *relief) run(stop <-chan struct{}) {
	for {
		select {
		case <-r.asked:
		case <-stop:
			return
		}
		rest := reliefEvery
		if r.p.arena.Tight() && !r.relieve() {
			rest = reliefRest
		}
		select {
		case <-time.After(rest):
		case <-stop:
			return
		}
	}
}

// holder is the session that holds most on one loop.
type holder struct {
	w      *worker
	key    loop.Key
	weight int
}

// relieve ends the session that holds most of all; false: nobody holds enough.
func (r *relief) relieve() bool {
	ctx, cancel := context.WithTimeout(context.Background(), lagBound)
	defer cancel()
	holders := make(chan holder, len(r.p.workers))
	if err := r.p.onAll(ctx, func(w *worker) {
		if s, weight := w.largest(nil); s != nil {
			holders <- holder{w, s.key(portClient), weight}
		}
	}); err != nil {
		return false
	}
	var most holder
	for range len(holders) {
		if h := <-holders; h.weight > most.weight {
			most = h
		}
	}
	if most.w == nil {
		return false
	}
	return most.w.postFor(most.key, func() {
		if s := most.w.at(most.key); s != nil {
			s.shed(s.weight())
		}
	})
}
