package admit

// Records are what a Set does for a process that comes after a crash of this one, which has nothing but them. All are called with the set's lock held, by
// the goroutine that changes it; nil: nobody keeps anything.
type Records struct {
	Keep func(listener uint32, loop, fd int) // before the socket lets anybody in
	Drop func(listener uint32, loop int)     // when it is closed
	Note func(State)                         // the listeners, and all places that clients may have come in by; before anybody does
}

// Record has the set keep them from now on, with what there is at once.
func (s *Set) Record(r Records) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records = r
	for _, l := range s.listeners {
		s.keepLocked([]*Listener{l})
	}
	s.noteLocked(s.listeners)
}

func (s *Set) keepLocked(ls []*Listener) {
	if s.records.Keep == nil {
		return
	}
	for _, l := range ls {
		for i, fd := range l.fds {
			s.records.Keep(l.slot, i, fd)
		}
	}
}

func (s *Set) dropLocked(l *Listener) {
	if s.records.Drop == nil {
		return
	}
	for i := range l.fds {
		s.records.Drop(l.slot, i)
	}
}

// maxPlaces bounds what is noted: a reload adds one for each listener that it changes. Who came in by one that was forgotten does not go along.
const maxPlaces = 1024

// noteLocked tells what is there once these are the listeners.
func (s *Set) noteLocked(listeners map[string]*Listener) {
	if s.records.Note == nil {
		return
	}
	if n := len(s.places); n > maxPlaces {
		s.places = append([]*Place(nil), s.places[n-maxPlaces:]...)
	}
	c := censusOf(listeners)
	for _, p := range s.places {
		c.place(p)
	}
	st := c.State()
	for i := range st.Limits {
		st.Limits[i].Full = nil // of the past, by then
	}
	s.records.Note(st)
}
