package backend

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// events is the queue between those who change something, event loops among them, and those who hear of it. One goroutine of the Set,
// housekeep, takes it: so what is heard comes in order, and logging and disks never stop a loop.
type events struct {
	mu     sync.Mutex
	queue  []Event
	dirty  bool // the memory must be written
	subs   map[int]func(Event)
	nextID int
	bell   chan struct{} // capacity 1
}

func newEvents() *events { return &events{subs: map[int]func(Event){}, bell: make(chan struct{}, 1)} }

func (e *events) ring() {
	select {
	case e.bell <- struct{}{}:
	default:
	}
}

func (e *events) add(ev Event, dirty bool) {
	e.mu.Lock()
	e.queue = append(e.queue, ev)
	e.dirty = e.dirty || dirty
	e.mu.Unlock()
	e.ring()
}

// mark has the memory written, as far as it has changed.
func (e *events) mark() {
	e.mu.Lock()
	e.dirty = true
	e.mu.Unlock()
	e.ring()
}

// take empties the queue.
func (e *events) take() (evs []Event, dirty bool, subs []func(Event)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	evs, dirty, e.queue, e.dirty = e.queue, e.dirty, nil, false
	for _, id := range sortedIDs(e.subs) {
		subs = append(subs, e.subs[id])
	}
	return evs, dirty, subs
}

func sortedIDs(m map[int]func(Event)) []int {
	ids := make([]int, 0, len(m))
	for id := range m {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// Subscribe calls f for every event from now on, in their order and one at a time, in a goroutine of the Set; f must not block. cancel
// ends it; a call that is under way may still be seen.
func (s *Set) Subscribe(f func(Event)) (cancel func()) {
	e := s.events
	e.mu.Lock()
	defer e.mu.Unlock()
	id := e.nextID
	e.nextID++
	e.subs[id] = f
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.subs, id)
	}
}

// event tells everybody. It may be called from an event loop and with any lock held.
func (s *Set) event(b *Backend, kind, text string) {
	s.events.add(Event{Time: time.Now(), Backend: b.full, Kind: kind, Text: text}, false)
}

// moved tells that streams go to another address.
func (s *Set) moved(b *Backend, was, now netip.AddrPort) {
	s.event(b, EventAddress, fmt.Sprintf("%s in the place of %s", now, was))
}

// elected notes that b serves its pool now.
func (s *Set) elected(p *Pool, b *Backend, was string) {
	s.memory.noteServing(p.name, b.name)
	s.events.add(Event{Time: time.Now(), Backend: b.full, Kind: EventServing, Text: "in the place of " + orNone(was)}, true)
}

// housekeep logs, writes the memory and tells the subscribers until the set is closed and the queue is empty.
func (s *Set) housekeep() {
	defer close(s.kept)
	for {
		evs, dirty, subs := s.events.take()
		if dirty {
			if err := s.memory.write(); err != nil {
				s.opt.Log.Error("serving backend not remembered", "err", err)
			}
		}
		for _, ev := range evs {
			s.log(ev)
			for _, f := range subs {
				f(ev)
			}
		}
		if len(evs) > 0 {
			continue
		}
		select {
		case <-s.events.bell:
		case <-s.closing:
			if len(s.events.bell) == 0 {
				return
			}
		}
	}
}

func (s *Set) log(ev Event) {
	level := slog.LevelInfo
	switch ev.Kind {
	case EventDown, EventIdentity, EventRefusing:
		level = slog.LevelWarn
	}
	attrs := []any{"backend", ev.Backend}
	if ev.Text != "" {
		attrs = append(attrs, "cause", ev.Text)
	}
	s.opt.Log.Log(s.ctx, level, "backend "+ev.Kind, attrs...)
}
