package proxy

import (
	"context"
	"sync"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/proxy/loop"
)

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
