package handshake

// Slots bounds how many handshakes compute at the same time, so that a storm of new connections does not starve the event loops. Who
// waits for a slot gets one in the order of asking. Any goroutine may use it; nil is no bound.
type Slots struct {
	taken chan struct{}
}

// NewSlots makes n slots, at least one.
func NewSlots(n int) *Slots { return &Slots{taken: make(chan struct{}, max(n, 1))} }

func (s *Slots) take() {
	if s != nil {
		s.taken <- struct{}{}
	}
}

func (s *Slots) give() {
	if s != nil {
		<-s.taken
	}
}
