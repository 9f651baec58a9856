package handshake

import "sync"

// inARow is how many slots go to handshakes that go on before one goes to a new one that waits.
const inARow = 3

// Slots bounds how many handshakes compute at the same time, so that a storm of new connections does not starve the event loops. In a storm more
// ask than can be served, and what has begun is finished first, lest all of them run out of time together: the handshakes that had waited
// for their peer, and those towards a backend, for which a client waits that has been through its own. One in four slots is a new client's
// all the same, so that clients who trickle do not keep others out. Apart from that who asks first is first. Any goroutine may use it; nil is
// no bound.
type Slots struct {
	mu     sync.Mutex
	free   int
	goOn   waiting // guarded by mu, as all below; nobody waits while a slot is free
	begin  waiting
	streak int // slots in a row that went to goOn while somebody was in begin
}

// waiting are those who wait, in the order of asking.
type waiting []chan struct{}

// NewSlots makes n slots, at least one.
func NewSlots(n int) *Slots { return &Slots{free: max(n, 1)} }

// take waits for a slot. begun says that the handshake is one of those to be finished first.
func (s *Slots) take(begun bool) {
	if s == nil {
		return
	}
	s.mu.Lock()
	if s.free > 0 {
		s.free--
		s.mu.Unlock()
		return
	}
	turn := make(chan struct{})
	if begun {
		s.goOn = append(s.goOn, turn)
	} else {
		s.begin = append(s.begin, turn)
	}
	s.mu.Unlock()
	<-turn
}

// give hands the slot on.
func (s *Slots) give() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case len(s.goOn) > 0 && (len(s.begin) == 0 || s.streak < inARow):
		s.streak++
		if len(s.begin) == 0 {
			s.streak = 0
		}
		s.goOn.next()
	case len(s.begin) > 0:
		s.streak = 0
		s.begin.next()
	default:
		s.free++
	}
}

// next lets the first one go on.
func (w *waiting) next() {
	close((*w)[0])
	(*w)[0] = nil
	*w = (*w)[1:]
}
