package proxy

import (
	"context"
	"sync"
	"time"
)

// lagBound is the longest lag that is measured.
const lagBound = time.Second

// lag asks each loop, which checks its books on the occasion, and answers how long that took to be heard.
func (p *Proxy) lag() []time.Duration {
	ctx, cancel := context.WithTimeout(context.Background(), lagBound)
	defer cancel()
	start := time.Now()
	lags := make([]time.Duration, len(p.workers))
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
// state's count with the sessions in it.
func (w *worker) checkBooks() {
	streams := map[*peer]int64{}
	var states [stateCount]int64
	sessions := 0
	w.each(func(s *session) {
		sessions++
		states[s.state]++
		if s.peer != nil {
			streams[s.peer]++
		}
	})
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
		w.p.log.Error("sessions do not add up", "loop", w.index, "counted", w.sessions, "found", sessions)
	}
}
