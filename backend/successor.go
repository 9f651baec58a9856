package backend

import (
	"maps"
	"time"
)

// Remembered is what a Set knows over restarts, for a successor in another process.
type Remembered struct {
	Admin   map[string]AdminState `json:"admin"`   // by "pool/name", those that are not ready
	Serving map[string]string     `json:"serving"` // backend name by pool

	AdminActs   map[string]Act `json:"admin_acts,omitempty"`
	ServingActs map[string]Act `json:"serving_acts,omitempty"`
}

// Remembered answers it as it is now.
func (s *Set) Remembered() Remembered {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	k := s.memory.known
	return Remembered{Admin: maps.Clone(k.Admin), Serving: maps.Clone(k.Serving), AdminActs: maps.Clone(k.AdminActs), ServingActs: maps.Clone(k.ServingActs)}
}

// Adopt makes admin states and serving backends what they are in the process before, which has written them down itself. It tells nobody.
func (s *Set) Adopt(r Remembered) {
	m := s.memory
	m.mu.Lock()
	m.known.Admin, m.known.Serving = map[string]AdminState{}, map[string]string{}
	maps.Copy(m.known.Admin, r.Admin)
	maps.Copy(m.known.Serving, r.Serving)
	m.takeActs(r.AdminActs, r.ServingActs)
	m.mu.Unlock()
	for _, p := range s.Pools() {
		p.mu.Lock()
		if name := r.Serving[p.name]; name != "" && p.findLocked(name) != nil {
			p.serving = name
		}
		p.mu.Unlock()
		for _, b := range p.Backends() {
			b.adopt(m.adminOf(b.full))
		}
	}
}

func (b *Backend) adopt(a AdminState) {
	b.mu.Lock()
	was := b.admin
	b.admin = a
	if was != a && (was == Maint || a == Maint) {
		b.health.forget("not checked: "+string(a), time.Now())
	}
	b.mu.Unlock()
	if was != a {
		b.Recheck()
	}
}

// Leave has the Set write nothing down any more: the file is a successor's.
func (s *Set) Leave() {
	s.memory.writing.Lock()
	defer s.memory.writing.Unlock()
	s.memory.path = ""
}
