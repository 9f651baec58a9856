package proxy

import "time"

const (
	firstRetry  = 100 * time.Millisecond // doubled each time
	longestWait = 4 * time.Second
	connectTime = 15 * time.Second // all tries together; after it the client is told (admin/warnings.go names it)
)

// waiting waits for a backend: at the gate without end, else for the next try. Nothing is read, but a client that has gone is noticed.
type waiting struct{ early }

func (waiting) clientLeaving(s *session) { s.finish() }

func (waiting) timeOver(s *session) { s.choose() }

// begin starts the search for a backend, for a session that was let in.
func (s *session) begin() {
	s.beginOpening()
	s.reg.since, s.reg.tries = s.w.loop.Now(), 0
	s.enter(StateWaiting)
	if s.reg.check && len(s.reg.early) == 0 {
		s.within(checkTime)
		s.pullClient() // has it gone?
		return
	}
	s.choose()
}

// choose finds a backend and dials it, or waits: at the gate without end, else a while.
func (s *session) choose() {
	w, pool := s.w, s.pool()
	if w.gated[pool] {
		return
	}
	p, ok := w.p.backends.Pool(pool)
	if !ok {
		s.retry()
		return
	}
	b, err := p.Choose(s.remote().Addr())
	if err != nil {
		s.retry()
		return
	}
	o, err := b.Open(s.facts())
	if err != nil {
		s.retry()
		return
	}
	s.reg.stream = o
	s.setPeer(w.peerOf(b))
	s.enter(StateDialing)
	s.dial()
}

// retry waits for the next try, or ends the session when there were enough.
func (s *session) retry() {
	s.dropBackend()
	s.freshSlot()
	r := s.reg
	if s.w.loop.Now()-r.since >= connectTime {
		if r.refused {
			s.end(ReasonBackendRefused, "The server does not accept connections, please try again later")
		} else {
			s.end(ReasonNoBackend, "No server can be reached, please try again later")
		}
		return
	}
	s.enter(StateWaiting)
	wait := min(firstRetry<<min(r.tries, 10), longestWait)
	r.tries++
	s.within(min(wait, max(r.since+connectTime-s.w.loop.Now(), 0)))
	s.pullClient() // has it gone?
}

// goBack makes a session that is still connecting wait again. Nothing of the client was sent yet.
func (s *session) goBack() {
	s.dropBackend()
	s.freshSlot()
	s.reg.first.Reset()
	s.enter(StateWaiting)
	s.noDeadline()
	s.pullClient() // has it gone?
}
