package proxy

import (
	"context"
	"sync"
	"time"

	"github.com/ircferry/ircferry/backend"
)

// The methods of Proxy in this file are what a move asks of it: handoff.Sessions, whose comments are the contract. Each is one batch
// for each loop.

// moving is what a session has while it is in a move.
type moving struct {
	batch    *batch        // whose step the session has not taken yet; nil: none
	frozenAt time.Duration // loop time
	deadline time.Duration // the session's, when it froze; 0: none
	paused   time.Duration // the pause, when it is over

	cut     uint64 // how far the old stream is to be read, if cutting
	cutting bool

	server   string // parked: who answers PINGs
	awake    bool   // parked for so long that the client is read
	half     []byte // the client's half line while awake
	wasAwake bool   // what is held goes out slowly
	pace     int    // bytes that are still to go out slowly

	attached attached
	rq       []byte

	counting  bool // what is read of the client now had waited
	heldLines int
	heldBytes int
}

// move is the session's part in a move, made when it is first needed.
func (s *session) move() *moving {
	if s.mv == nil {
		s.mv = &moving{attached: attached{fd: -1}}
	}
	return s.mv
}

// Gate makes clients for whom no backend was chosen yet wait; those that are connecting to the pool go back.
func (p *Proxy) Gate(pool string) {
	for _, w := range p.workers {
		w.loop.Post(func() {
			w.gated[pool] = true
			w.each(func(s *session) {
				switch s.state {
				case StateDialing, StateOpening:
					if s.peer != nil && s.peer.pool == pool {
						w.goBack(s)
					}
				case StateWaiting:
					if w.pool(s) == pool {
						w.noDeadline(s)
					}
				}
			})
		})
	}
}

// goBack makes a session that is still connecting wait again. Nothing of the client was sent yet.
func (w *worker) goBack(s *session) {
	w.dropBackend(s)
	s.reg.first = nil
	w.enter(s, StateWaiting)
	w.noDeadline(s)
	if s.has(clientMore) {
		w.readClient(s) // has it gone?
	}
}

// Ungate lets the waiting go on, also those whose listener a reload has given to another pool meanwhile.
func (p *Proxy) Ungate(pool string) {
	for _, w := range p.workers {
		w.loop.Post(func() {
			if !w.gated[pool] {
				return
			}
			delete(w.gated, pool)
			w.each(func(s *session) {
				if s.state == StateWaiting && (w.pool(s) == pool || s.deadline == 0) {
					w.begin(s)
				}
			})
		})
	}
}

// On lists the sessions that have a stream at a backend.
func (p *Proxy) On(ctx context.Context, backendName string) ([]backend.SessionRef, error) {
	var mu sync.Mutex
	var all []backend.SessionRef
	err := p.onAll(ctx, func(w *worker) {
		mu.Lock()
		defer mu.Unlock()
		w.each(func(s *session) {
			if s.streaming(backendName) {
				all = append(all, backend.SessionRef{U: w.id(s), Registered: s.registered()})
			}
		})
	})
	mu.Lock()
	defer mu.Unlock()
	return all, err
}

// AwaitRegistered waits until nobody at the backend is in registration, and answers how many still are when ctx is over.
func (p *Proxy) AwaitRegistered(ctx context.Context, backendName string) int {
	zero := make(chan struct{}, len(p.workers))
	for _, w := range p.workers {
		if !w.loop.Post(func() { w.whenRegistered(backendName, func() { zero <- struct{}{} }) }) {
			return 0
		}
	}
	for range p.workers {
		select {
		case <-zero:
		case <-ctx.Done():
			return p.unregistered(backendName)
		}
	}
	return p.unregistered(backendName)
}

func (p *Proxy) unregistered(backendName string) int {
	var n int64
	for _, w := range p.workers {
		w.eachPeer(func(p *peer) {
			if p.name == backendName {
				n += p.unregistered.Load()
			}
		})
	}
	return int(n)
}

func (w *worker) whenRegistered(backendName string, f func()) {
	for _, p := range w.peers {
		if p.name == backendName && p.unregistered.Load() > 0 {
			p.onRegistered = append(p.onRegistered, func() { w.whenRegistered(backendName, f) })
			return
		}
	}
	f()
}

// End closes sessions with an ERROR line.
func (p *Proxy) End(us []string, cause backend.Cause, text string) {
	p.step(context.Background(), us, backend.CauseGone, func(w *worker, b *batch, us []string) {
		for _, u := range us {
			if s := w.find(u); s != nil {
				w.end(s, reasonOf(cause), text)
			}
			b.add(backend.Moved{U: u})
		}
	}, nil)
}
