package proxy

import (
	"context"
	"sync"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/proxy/loop"
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

// batch is the part of one loop in one step of a move. Only the loop's goroutine uses it until done gets the results.
type batch struct {
	results []backend.Moved
	waiting map[uint32]loop.Key // sessions that have not taken the step
	giveUp  func(*session)      // what becomes of one when the time is over
	late    backend.Cause       // and what is answered for it
	queue   []string            // attach: not begun
	flying  int                 // attach: begun
	open    bool                // more may be added
	done    chan []backend.Moved
}

func (b *batch) add(m backend.Moved) { b.results = append(b.results, m) }

// wait has the batch wait for a session.
func (b *batch) wait(s *session) {
	s.move().batch = b
	b.waiting[s.index] = s.key(0)
}

// took is called when the session has taken its step, or cannot.
func (w *worker) took(s *session, m backend.Moved) {
	mv := s.mv
	if mv == nil || mv.batch == nil {
		return
	}
	b := mv.batch
	mv.batch = nil
	delete(b.waiting, s.index)
	m.U = w.id(s)
	b.add(m)
	b.check()
}

// leaveMove tells whoever waits for a session that it is over.
func (w *worker) leaveMove(s *session, cause backend.Cause) {
	w.took(s, backend.Moved{Cause: cause})
}

func (b *batch) check() {
	if !b.open && len(b.waiting) == 0 && len(b.queue) == 0 && b.flying == 0 && b.done != nil {
		b.done <- b.results
		b.done = nil
	}
}

// step runs f for the sessions us on their loops and collects the outcomes. f adds an outcome to the batch, or has it wait.
func (p *Proxy) step(ctx context.Context, us []string, late backend.Cause, f func(w *worker, b *batch, us []string), giveUp func(*worker, *session)) []backend.Moved {
	var all []backend.Moved
	mine := make([][]string, len(p.workers))
	for _, u := range us {
		if w := p.workerOf(u); w != nil {
			mine[w.index] = append(mine[w.index], u)
		} else {
			all = append(all, backend.Moved{U: u, Cause: backend.CauseGone})
		}
	}
	batches := make([]*batch, len(p.workers))
	var running sync.WaitGroup
	var mu sync.Mutex
	for i, w := range p.workers {
		if len(mine[i]) == 0 {
			continue
		}
		done := make(chan []backend.Moved, 1)
		b := &batch{waiting: map[uint32]loop.Key{}, late: late, open: true, done: done}
		if giveUp != nil {
			b.giveUp = func(s *session) { giveUp(w, s) }
		}
		batches[i] = b
		if !w.loop.Post(func() { w.runBatch(b, mine[i], f) }) {
			all = append(all, gone(mine[i])...)
			continue
		}
		running.Go(func() {
			ms := p.collect(ctx, w, b, done, mine[i])
			mu.Lock()
			defer mu.Unlock()
			all = append(all, ms...)
		})
	}
	running.Wait()
	return all
}

func (w *worker) runBatch(b *batch, us []string, f func(w *worker, b *batch, us []string)) {
	defer func() {
		b.open = false
		b.check()
	}()
	f(w, b, us)
}

// collect waits for a loop's part; when the time is over the loop is asked to give the rest up, which it does at once.
func (p *Proxy) collect(ctx context.Context, w *worker, b *batch, done chan []backend.Moved, us []string) []backend.Moved {
	select {
	case ms := <-done:
		return ms
	case <-w.loop.Done():
		return gone(us)
	case <-ctx.Done():
	}
	w.loop.Post(func() { w.giveUp(b) })
	select {
	case ms := <-done:
		return ms
	case <-w.loop.Done():
		return gone(us)
	}
}

func gone(us []string) []backend.Moved {
	ms := make([]backend.Moved, len(us))
	for i, u := range us {
		ms[i] = backend.Moved{U: u, Cause: backend.CauseGone}
	}
	return ms
}

// giveUp ends a batch now.
func (w *worker) giveUp(b *batch) {
	if b.done == nil {
		return
	}
	b.open = true
	for _, k := range b.waiting {
		s := w.at(k)
		if s == nil || s.mv == nil || s.mv.batch != b {
			continue
		}
		w.took(s, backend.Moved{Cause: b.late})
		if b.giveUp != nil {
			b.giveUp(s)
		}
	}
	clear(b.waiting)
	for _, u := range b.queue {
		b.add(backend.Moved{U: u, Cause: b.late})
	}
	b.queue, b.flying = nil, 0
	b.open = false
	b.check()
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
