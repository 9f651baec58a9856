package proxy

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// lagBound is the longest lag that is measured.
const lagBound = time.Second

// SetMoving tells whom to ask whether a move has sessions of a backend ("pool/name"): the coordinator. Any goroutine may call it.
func (p *Proxy) SetMoving(f func(backend string) bool) { p.moving.Store(&f) }

// lag asks each loop, which checks its books on the occasion, and answers how long that took to be heard.
func (p *Proxy) lag() []time.Duration {
	ctx, cancel := context.WithTimeout(context.Background(), lagBound)
	defer cancel()
	start := time.Now()
	lags := make([]time.Duration, len(p.workers))
	for i := range lags {
		lags[i] = lagBound
	}
	held := map[string]int{}
	var mu sync.Mutex
	_ = p.onAll(ctx, func(w *worker) {
		took := time.Since(start)
		mine := w.checkBooks()
		mu.Lock()
		defer mu.Unlock()
		lags[w.index] = took
		for from, n := range mine {
			held[from] += n
		}
	})
	mu.Lock()
	defer mu.Unlock()
	p.checkHeld(held)
	return append([]time.Duration(nil), lags...)
}

// heldGrace is how long after a freeze, at least, a session is asked for its move.
const heldGrace = time.Second

// checkHeld looks whether whoever is frozen or parked has a living move: else nobody would ever let them go.
func (p *Proxy) checkHeld(held map[string]int) {
	f := p.moving.Load()
	if f == nil {
		return
	}
	for from, n := range held {
		if !(*f)(from) {
			p.unowned.Add(uint64(n))
			p.log.Error("sessions are frozen and no move has them", "backend", from, "sessions", n)
		}
	}
}

const (
	// checkEvery is how often the books are checked when nobody scrapes.
	checkEvery = 10 * time.Second

	// trimEvery: the cipher objects of a TLS session that has been idle for this long, or up to twice as long, are dropped. They are made anew
	// in a microsecond or two.
	trimEvery = 3 * time.Second
)

// keepBooks is a goroutine of the Proxy until stop is closed.
func (p *Proxy) keepBooks(stop <-chan struct{}) {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	trim := time.NewTicker(trimEvery)
	defer trim.Stop()
	heap := newReleaser()
	for {
		select {
		case <-tick.C:
			p.lag()
		case <-trim.C:
			p.trimCiphers()
			heap.look()
		case <-stop:
			return
		}
	}
}

func (p *Proxy) trimCiphers() {
	ctx, cancel := context.WithTimeout(context.Background(), lagBound)
	defer cancel()
	_ = p.onAll(ctx, func(w *worker) { w.shard.TrimCiphers() })
}

// checkBooks compares what is counted with what is there: each session with a stream at exactly one backend, each
// state's count with the sessions in it. It answers how many sessions a move has had for a while, by the backend that it took them from.
func (w *worker) checkBooks() (held map[string]int) {
	streams := map[*peer]int64{}
	var states [stateCount]int64
	sessions := 0
	held = map[string]int{}
	for _, slab := range w.slabs {
		for i := range slab {
			s := &slab[i]
			if s.w == nil {
				continue
			}
			sessions++
			states[s.state]++
			if s.peer != nil {
				streams[s.peer]++
			}
			if s.frozenFor() > heldGrace {
				held[s.mv.from]++
			}
		}
	}
	wrong := sessions != w.sessions
	for _, p := range w.peers {
		wrong = wrong || p.live.Load() != streams[p]
	}
	for st := StateHeader; st < stateCount; st++ {
		wrong = wrong || w.counts.states[st].Load() != states[st]
	}
	w.forgetPeers()
	if wrong {
		w.counts.violations.Add(1)
		w.p.ends.say(slog.LevelError, "sessions do not add up", "loop", w.index, "counted", w.sessions, "found", sessions)
	}
	return held
}
