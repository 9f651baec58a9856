package handoff

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ircferry/ircferry/backend"
)

// fakeSessions is the proxy as a coordinator sees it, as strict as the contract of Sessions.
type fakeSessions struct {
	mu      sync.Mutex
	at      map[string]string      // session: backend, "" parked, "ended"
	streams map[string]*fakeStream // in use
	frozen  map[string]bool
	next    map[string]*fakeStream // attached
	unreg   map[string]bool
	gated   bool
	attach  map[string]backend.Cause
	readUp  map[string]backend.Cause
	splice  map[string]backend.Cause
	reopen  map[string]backend.Cause
	limit   int
	splices map[string]backend.Splice
	turn    chan struct{}
	waits   map[string]string // frozen for longer: who answers PINGs
	parked  map[string]string // likewise of who is parked
	since   map[string]time.Time
	ungated time.Time     // at last
	longest time.Duration // that a session was frozen
	ircd    func(backendName string) *fakeIrcd

	fails  func(call string) error                          // On and Freeze
	before func(call string)                                // may hang, or sleep
	answer func(call string, m backend.Moved) backend.Moved // may lie
	wrong  []string                                         // calls that the contract forbids
}

func newFakeSessions(at string, us ...string) *fakeSessions {
	s := &fakeSessions{at: map[string]string{}, streams: map[string]*fakeStream{}, frozen: map[string]bool{}, next: map[string]*fakeStream{},
		unreg: map[string]bool{}, since: map[string]time.Time{}, waits: map[string]string{}, parked: map[string]string{}, turn: make(chan struct{}, 1), limit: 20000, splices: map[string]backend.Splice{}}
	for _, u := range us {
		s.at[u] = at
	}
	return s
}

// called is the one loop of this proxy: what comes later waits for what hangs.
func (s *fakeSessions) called(call string) {
	s.turn <- struct{}{}
	if s.before != nil {
		s.before(call)
	}
	<-s.turn
}

func (s *fakeSessions) Gate(string) { s.called("Gate"); s.mu.Lock(); s.gated = true; s.mu.Unlock() }
func (s *fakeSessions) Ungate(string) {
	s.called("Ungate")
	s.mu.Lock()
	if s.gated {
		s.gated, s.ungated = false, time.Now()
	}
	s.mu.Unlock()
}

func (s *fakeSessions) On(_ context.Context, b string) (refs []backend.SessionRef, err error) {
	s.called("On")
	if s.fails != nil {
		if err := s.fails("On"); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for u, at := range s.at {
		if at == b {
			refs = append(refs, backend.SessionRef{U: u, Registered: !s.unreg[u]})
		}
	}
	slices.SortFunc(refs, func(a, b backend.SessionRef) int { return strings.Compare(a.U, b.U) })
	return refs, nil
}

func (s *fakeSessions) AwaitRegistered(ctx context.Context, b string) int {
	s.called("AwaitRegistered")
	s.mu.Lock()
	pending := len(s.unreg)
	s.mu.Unlock()
	if pending > 0 {
		<-ctx.Done()
	}
	return pending
}

// each runs a step for every session, with the causes it was told.
func (s *fakeSessions) each(call string, us []string, causes map[string]backend.Cause, step func(u string) backend.Cause) (answers []backend.Moved) {
	s.called(call)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range us {
		cause := causes[u]
		if at, ours := s.at[u]; at == "ended" || !ours {
			cause = backend.CauseGone
		}
		if cause == "" {
			cause = step(u)
		}
		m := backend.Moved{U: u, Cause: cause, Pause: time.Millisecond}
		if s.answer != nil {
			m = s.answer(call, m)
		}
		answers = append(answers, m)
	}
	return answers
}

func (s *fakeSessions) thawed(u string) {
	if s.frozen[u] {
		s.longest = max(s.longest, time.Since(s.since[u]))
	}
	delete(s.frozen, u)
	delete(s.waits, u)
}

// end is the end of a session, from either side.
func (s *fakeSessions) end(u string) {
	s.streams[u].close()
	s.next[u].close()
	s.at[u] = "ended"
	delete(s.frozen, u)
	delete(s.next, u)
}

func (s *fakeSessions) Attach(ctx context.Context, us []string, to backend.AttachTo) []backend.Moved {
	i := s.ircd(to.Backend)
	i.mu.Lock()
	dead := i.dead
	i.mu.Unlock()
	if dead {
		<-ctx.Done()
	}
	late := false
	answers := s.each("Attach", us, s.attach, func(u string) backend.Cause {
		if ctx.Err() != nil {
			return backend.CauseTimeout
		}
		if n := s.next[u]; n != nil && n.ours && !n.ended() && n.ircd == i {
			return ""
		}
		s.next[u].close()
		delete(s.next, u)
		stream, cause := i.attach(u, to)
		if cause == "" {
			s.next[u] = stream
		}
		late = late || cause == backend.CauseTimeout
		return cause
	})
	if late {
		<-ctx.Done()
	}
	return answers
}

func (s *fakeSessions) Detach(us []string) {
	s.each("Detach", us, nil, func(u string) backend.Cause { s.next[u].close(); delete(s.next, u); return "" })
}

func (s *fakeSessions) Freeze(ctx context.Context, b string) (stopped []backend.Frozen, err error) {
	s.called("Freeze")
	if s.fails != nil {
		err = s.fails("Freeze")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for u, at := range s.at {
		if at != b || ctx.Err() != nil {
			continue
		}
		r := backend.SessionRef{U: u, Registered: !s.unreg[u]}
		s.frozen[r.U], s.since[r.U] = true, time.Now()
		stopped = append(stopped, backend.Frozen{U: r.U, Registered: r.Registered})
	}
	slices.SortFunc(stopped, func(a, b backend.Frozen) int { return strings.Compare(a.U, b.U) })
	return stopped, errors.Join(err, ctx.Err())
}

func (s *fakeSessions) ReadUp(_ context.Context, cuts []backend.Cut) []backend.Moved {
	var us []string
	for _, c := range cuts {
		us = append(us, c.U)
	}
	return s.each("ReadUp", us, s.readUp, func(u string) backend.Cause {
		if !s.frozen[u] {
			s.wrong = append(s.wrong, "ReadUp of "+u+", who is not frozen")
		}
		return ""
	})
}

func (s *fakeSessions) Park(us []string, name string) {
	s.each("Park", us, nil, func(u string) backend.Cause {
		if !s.frozen[u] {
			s.wrong = append(s.wrong, "Park of "+u+", who is not frozen")
		}
		s.streams[u].close()
		delete(s.streams, u)
		s.at[u], s.parked[u] = "", name
		return ""
	})
}

func (s *fakeSessions) Await(us []string, name string) {
	s.each("Await", us, nil, func(u string) backend.Cause {
		if !s.frozen[u] {
			s.wrong = append(s.wrong, "Await of "+u+", who is not frozen")
		}
		s.waits[u] = name
		return ""
	})
}

func (s *fakeSessions) Splice(ctx context.Context, to string, list []backend.Splice) []backend.Moved {
	var us []string
	for _, x := range list {
		us = append(us, x.U)
	}
	queues := map[string]backend.Splice{}
	for _, x := range list {
		queues[x.U] = x
	}
	return s.each("Splice", us, nil, func(u string) backend.Cause {
		s.splices[u] = queues[u]
		n := s.next[u]
		switch {
		case s.splice[u] != "" || ctx.Err() != nil:
			s.end(u)
			return cmp.Or(s.splice[u], backend.CauseNoLive)
		case !s.frozen[u]:
			s.wrong = append(s.wrong, "Splice of "+u+", who is not frozen")
			return backend.CauseGone
		case n == nil || n.ircd != s.ircd(to):
			s.end(u)
			return backend.CauseDetached
		case n.ended():
			s.end(u)
			return backend.CauseNoLive
		}
		s.streams[u].close()
		s.at[u], s.streams[u] = to, n
		delete(s.next, u)
		s.thawed(u)
		return ""
	})
}

func (s *fakeSessions) Thaw(us []string) []backend.Moved {
	return s.each("Thaw", us, nil, func(u string) backend.Cause {
		s.thawed(u)
		s.next[u].close()
		delete(s.next, u)
		return ""
	})
}

func (s *fakeSessions) Reopen(_ context.Context, us []string, to string) []backend.Moved {
	return s.each("Reopen", us, s.reopen, func(u string) backend.Cause {
		s.streams[u].close()
		s.at[u], s.streams[u] = to, s.ircd(to).openNew(u)
		s.thawed(u)
		return ""
	})
}

func (i *fakeIrcd) openNew(u string) *fakeStream {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.open(u)
}

func (s *fakeSessions) End(us []string, _ backend.Cause, _ string) {
	s.each("End", us, nil, func(u string) backend.Cause { s.end(u); return "" })
}

func (s *fakeSessions) Streams(_ context.Context, us []string, next bool) (found backend.Streams) {
	s.called("Streams")
	s.mu.Lock()
	defer s.mu.Unlock()
	of := s.streams
	if next {
		of = s.next
	}
	for _, u := range us {
		switch stream := of[u]; {
		case stream == nil || !stream.ours:
		case stream.ended():
			found.Ended++
		default:
			found.Open++
		}
	}
	return found
}

func (s *fakeSessions) Descriptors() (used, limit int) { return 2 * len(s.at), s.limit }

func (s *fakeSessions) String() string { return fmt.Sprintf("at %v frozen %v", s.at, s.frozen) }
