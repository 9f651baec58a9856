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
	if p.standing.Load() {
		return lags
	}
	for i := range lags {
		lags[i] = lagBound
	}
	var mu sync.Mutex
	_ = p.onAll(ctx, func(w *worker) {
		took := time.Since(start)
		w.checkBooks()
		mu.Lock()
		defer mu.Unlock()
		lags[w.index] = took
	})
	mu.Lock()
	defer mu.Unlock()
	return append([]time.Duration(nil), lags...)
}

// heldGrace is how long after a freeze, at least, a session is asked for its move.
const heldGrace = time.Second

// checkHeld looks whether whoever is frozen or parked has a living move: else nobody would ever let them go. A move may end while it looks, so who seems
// to have none is looked for once more.
func (p *Proxy) checkHeld() {
	f := p.moving.Load()
	if f == nil {
		return
	}
	var alone []string
	for from := range p.held() {
		if !(*f)(from) {
			alone = append(alone, from)
		}
	}
	if len(alone) == 0 {
		return
	}
	held := p.held()
	for _, from := range alone {
		if n := held[from]; n > 0 {
			p.unowned.Add(uint64(n))
			p.log.Error("sessions are frozen and no move has them", "backend", from, "sessions", n)
		}
	}
}

// held is how many sessions have been frozen or parked for a while, by the backend that their move took them from.
func (p *Proxy) held() map[string]int {
	ctx, cancel := context.WithTimeout(context.Background(), lagBound)
	defer cancel()
	held := map[string]int{}
	var mu sync.Mutex
	_ = p.onAll(ctx, func(w *worker) {
		w.each(func(s *session) {
			if s.frozenFor() > heldGrace {
				mu.Lock()
				defer mu.Unlock()
				held[s.mv.from]++
			}
		})
	})
	mu.Lock()
	defer mu.Unlock()
	return held
}

const (
	// checkEvery is how often the books are checked when nobody scrapes.
	checkEvery = 10 * time.Second

	// trimEvery: the cipher objects of a TLS session that has been idle for this long, or up to twice as long, are dropped. They are made anew
	// in a microsecond or two. Backends that went silent are looked at as often.
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
			p.checkHeld()
		case <-trim.C:
			p.trimCiphers()
			p.watchSilent()
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
// state's count with the sessions in it.
func (w *worker) checkBooks() {
	streams := map[*peer]int64{}
	var states [stateCount]int64
	sessions := 0
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
}
