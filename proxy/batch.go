package proxy

import (
	"context"
	"sync"

	"github.com/ircferry/ircferry/backend"
)

// step is what handoff asks for sessions that it names. Each of them gets exactly one outcome, whatever happens to it.
type step struct {
	// begin takes the step for one session: it answers (batch.answer), or waits (batch.wait) until took is called for it.
	begin func(b *batch, s *session)
	// behind, if there is one, is called when all sessions of a loop have begun.
	behind func(w *worker, b *batch)
	// late is the outcome of those that have not taken the step when the time is over, and giveUp, if there is one, what becomes of them.
	late   backend.Cause
	giveUp func(s *session)
}

// batch is the part of one loop in one step of a move. Only the loop's goroutine uses it until done gets the results.
type batch struct {
	step    *step
	left    map[string]struct{} // stream ids without an outcome
	results []backend.Moved
	queue   []string // attach: not begun
	flying  int      // attach: begun
	open    bool     // more is being begun
	done    chan []backend.Moved
}

func has(set map[string]struct{}, u string) bool {
	_, ok := set[u]
	return ok
}

// answer notes the outcome of a session. The first one counts.
func (b *batch) answer(m backend.Moved) {
	if has(b.left, m.U) {
		delete(b.left, m.U)
		b.results = append(b.results, m)
	}
}

// wait has the batch wait for a session.
func (b *batch) wait(s *session) { s.move().batch = b }

// took is called when the session has taken its step, or cannot.
func (s *session) took(m backend.Moved) {
	mv := s.mv
	if mv == nil || mv.batch == nil {
		return
	}
	b := mv.batch
	mv.batch = nil
	m.U = s.id()
	b.answer(m)
	b.check()
}

// leaveMove tells whoever waits for a session that it is over.
func (s *session) leaveMove(cause backend.Cause) { s.took(backend.Moved{Cause: cause}) }

func (b *batch) check() {
	if !b.open && len(b.left) == 0 && b.done != nil {
		b.done <- b.results
		b.done = nil
	}
}

// step takes a step for the sessions us on their loops and collects the outcomes: one for each of us.
func (p *Proxy) step(ctx context.Context, us []string, st step) []backend.Moved {
	var all []backend.Moved
	mine := make([]*batch, len(p.workers))
	orders := make([][]string, len(p.workers))
	for _, u := range us {
		w := p.workerOf(u)
		if w == nil {
			all = append(all, backend.Moved{U: u, Cause: backend.CauseGone})
			continue
		}
		if mine[w.index] == nil {
			mine[w.index] = &batch{step: &st, left: map[string]struct{}{}, open: true, done: make(chan []backend.Moved, 1)}
		}
		if left := mine[w.index].left; !has(left, u) {
			left[u] = struct{}{}
			orders[w.index] = append(orders[w.index], u)
		}
	}
	var running sync.WaitGroup
	var mu sync.Mutex
	for i, w := range p.workers {
		b, order := mine[i], orders[i]
		if b == nil {
			continue
		}
		done := b.done
		w.loop.Post(func() { w.runBatch(b, order) })
		running.Go(func() {
			ms := p.collect(ctx, w, b, done, order)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, ms...)
		})
	}
	running.Wait()
	return all
}

// runBatch begins the step for each session under a recover of its own, so that none of them can keep the others from theirs.
func (w *worker) runBatch(b *batch, us []string) {
	for _, u := range us {
		s := w.find(u)
		if s == nil {
			b.answer(backend.Moved{U: u, Cause: backend.CauseGone})
			continue
		}
		if !w.loop.Guard(s.key(portClient), func() { b.step.begin(b, s) }) {
			b.answer(backend.Moved{U: u, Cause: backend.CauseGone})
		}
	}
	if b.step.behind != nil {
		b.step.behind(w, b)
	}
	b.open = false
	b.check()
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
	left := make([]string, 0, len(b.left))
	for u := range b.left {
		left = append(left, u)
	}
	for _, u := range left {
		s := w.find(u)
		if s != nil && s.mv != nil && s.mv.batch == b {
			s.mv.batch = nil
			if b.step.giveUp != nil {
				w.loop.Guard(s.key(portClient), func() { b.step.giveUp(s) })
			}
		}
		b.answer(backend.Moved{U: u, Cause: b.step.late})
	}
	b.queue, b.flying = nil, 0
	b.open = false
	b.check()
}
