package backend

import (
	"cmp"
	"maps"
	"time"
)

// What operators of several proxies have made of the same backends, and which of it holds.
//
// Each change of an admin state, and of which backend serves, is an act with a number: one more than the highest that this proxy has heard of for the
// same thing. So an act that was given by somebody who could have known another has a higher number than that, whatever clocks say. Two acts of the same number were
// given without knowledge of each other, on two sides of a split: then the more careful state holds (maint, drain, ready), and of which backend serves
// the name that comes last, which is as good as any and the same everywhere. On the side that hears of the other one's higher number its own act is undone.
//
// Before acts comes the ircd's word, about which backend serves: see serves.go.

// Act is one that holds.
type Act struct {
	Value string `json:"value"`        // an admin state, or the name of the backend that serves
	N     uint64 `json:"n"`            // 0: nobody has ever changed it
	By    string `json:"by,omitempty"` // the proxy; "" for one that was alone
}

// ByIrcd is the By of an act that the ircds' word has made.
const ByIrcd = "ircd"

// Acts is what a proxy tells the others.
type Acts struct {
	Admin   map[string]Act    `json:"admin"`   // by "pool/name"
	Serving map[string]Act    `json:"serving"` // by pool
	Now     map[string]string `json:"now"`     // which backend serves a standalone pool there, also if no act says so
}

// maxActs bounds what another proxy can make this one remember.
const maxActs = 4096

// After orders acts: positive if a holds against b.
func (a Act) After(b Act) int {
	return cmp.Or(cmp.Compare(a.N, b.N), cmp.Compare(care(a.Value), care(b.Value)), cmp.Compare(a.Value, b.Value))
}

// care is how careful an admin state is; 0 of anything else.
func care(value string) int {
	switch AdminState(value) {
	case Maint:
		return 3
	case Drain:
		return 2
	case Ready:
		return 1
	}
	return 0
}

// As says whose name the acts of this proxy bear from now on.
func (s *Set) As(proxy string) {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	s.memory.proxy = proxy
}

// Acts answers those of the configured pools, but for pools that hidden names: what a move makes of its backends is nobody else's matter until it has ended.
func (s *Set) Acts(hidden func(pool string) bool) Acts {
	out := Acts{Admin: map[string]Act{}, Serving: map[string]Act{}, Now: map[string]string{}}
	for _, p := range s.Pools() {
		if hidden(p.name) {
			continue
		}
		if now := p.Serving(); now != "" {
			out.Now[p.name] = now
		}
		if a := s.memory.servingAct(p.name); a.N > 0 {
			out.Serving[p.name] = a
		}
		for _, b := range p.Backends() {
			if a := s.memory.adminAct(b.full); a.N > 0 {
				out.Admin[b.full] = a
			}
		}
	}
	return out
}

// Merge takes what another proxy has told, but for pools that hidden names. back says that it was away, so that the ircds are asked which backend
// serves; settled is false if that could not be decided yet, or something was hidden: it is to be told again.
func (s *Set) Merge(from string, told Acts, back bool, hidden func(pool string) bool) (settled bool) {
	settled = true
	for _, p := range s.Pools() {
		if hidden(p.name) {
			settled = false
			continue
		}
		for _, b := range p.Backends() {
			if a, ok := told.Admin[b.full]; ok {
				b.take(from, a)
			}
		}
		if p.standalone() && !p.takeServing(from, told.Serving[p.name], told.Now[p.name], back) {
			settled = false
		}
	}
	s.events.mark()
	return settled
}

// take makes an act of another proxy hold if it does against ours.
func (b *Backend) take(from string, a Act) {
	state, err := ParseAdmin(a.Value)
	if err != nil || !b.set.memory.takeAdmin(b.full, a) {
		return
	}
	b.mu.Lock()
	was := b.admin
	b.admin = state
	if was != state && (was == Maint || state == Maint) {
		b.health.forget("not checked: "+string(state), time.Now())
	}
	b.mu.Unlock()
	if was != state {
		b.set.event(b, EventAdmin, string(was)+" -> "+string(state)+", as proxy "+orNone(from)+" has it")
		b.Recheck()
	}
}

// The memory's part. Its methods lock.

func (m *memory) adminAct(full string) Act {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.known.AdminActs[full]
}

func (m *memory) servingAct(pool string) Act {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.known.ServingActs[pool]
}

// actLocked is the next act of this proxy about something.
func (m *memory) actLocked(acts map[string]Act, of, value string) {
	acts[of] = Act{Value: value, N: acts[of].N + 1, By: m.proxy}
}

// takeAdmin remembers another proxy's act if it holds against ours.
func (m *memory) takeAdmin(full string, a Act) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	was, known := m.known.AdminActs[full]
	if a.After(was) <= 0 || !known && len(m.known.AdminActs) >= maxActs {
		return false
	}
	m.known.AdminActs[full] = a
	m.adminLocked(full, AdminState(a.Value))
	return true
}

func (m *memory) adminLocked(full string, a AdminState) {
	if a == Ready {
		delete(m.known.Admin, full)
		return
	}
	m.known.Admin[full] = a
}

// setServingAct remembers an act about a pool, with the backend that it names.
func (m *memory) setServingAct(pool string, a Act) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.known.ServingActs[pool] = a
	m.known.Serving[pool] = a.Value
}

// takeActs puts acts of a process before in the place of ours.
func (m *memory) takeActs(admin, serving map[string]Act) {
	m.known.AdminActs, m.known.ServingActs = map[string]Act{}, map[string]Act{}
	maps.Copy(m.known.AdminActs, admin)
	maps.Copy(m.known.ServingActs, serving)
}
