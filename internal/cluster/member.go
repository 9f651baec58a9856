package cluster

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// State is what is known of a member.
//
//	alive -> lost <-> unheard
//	alive -> left
//	lost | unheard | left -> alive
type State string

const (
	Alive   State = "alive"
	Lost    State = "lost"    // the gossip hears nothing of it any more
	Unheard State = "unheard" // nor here, but it answers: the gossip is wrong
	Left    State = "left"    // it has said that it goes
)

// answering is how long who has answered a question, or asked one, is there whatever the gossip says.
const answering = 15 * time.Second

// Member is a proxy of the cluster, as this one knows it.
type Member struct {
	Name string
	Self bool
	Said
	Gossip netip.AddrPort
	RPC    string // address:port
	State  State
	Since  time.Time // of State
	Seen   time.Time // last sign of life, by gossip or RPC
	Spoke  time.Time // last question or answer of it
	Error  string    // of the last question to it, if it was not answered
	Twice  bool      // another proxy has had the same name for a minute
}

// keepGone is how long a member that is gone is remembered: over a weekend; who has said so is meant to be away.
const (
	keepLost = 7 * 24 * time.Hour
	keepLeft = 24 * time.Hour
)

// maxKnown bounds how many names are remembered, so that a member that invents some cannot fill the memory.
const maxKnown = 256

// record is a name with its nodes in the gossip.
type record struct {
	Member
	node    string               // the one that it is: the newest
	nodes   map[string]aliveNode // all that are alive
	leaving bool
}

type aliveNode struct {
	meta
	gossip netip.AddrPort
	came   int // order of arrival
	since  time.Time
}

// members is all that are known, by name. Its methods may be called from any goroutine, and call nobody while they hold the lock.
type members struct {
	self string
	now  func() time.Time

	mu    sync.Mutex
	all   map[string]*record
	names map[string]string // of nodes
	came  int
}

func newMembers(self string) *members {
	return &members{self: self, now: time.Now, all: map[string]*record{}, names: map[string]string{}}
}

// here notes a node that is alive, or says something else of itself. It answers what has changed.
func (m *members) here(node string, info meta, gossip netip.AddrPort) (n Notice, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.all[info.Name]
	if r == nil {
		if len(m.all) >= maxKnown {
			m.forgetLocked()
		}
		r = &record{Member: Member{Name: info.Name, Self: info.Name == m.self}, nodes: map[string]aliveNode{}}
		m.all[info.Name] = r
	}
	a, known := r.nodes[node]
	if !known {
		m.came++
		a.came, a.since = m.came, m.now()
	}
	a.meta, a.gossip = info, gossip
	r.nodes[node], m.names[node] = a, info.Name
	was := r.Member
	m.takeLocked(r)
	switch {
	case was.State != Alive:
		return Notice{Member: info.Name, Word: "joined", Text: r.Gossip.String() + ", version " + r.Version}, true
	case was.Instance != r.Instance:
		return Notice{Member: info.Name, Word: "restarted", Text: r.Gossip.String() + ", version " + r.Version}, true
	case was.Said != r.Said:
		return Notice{Member: info.Name, Word: "changed", Text: "version " + r.Version + ", pools " + r.Pools}, true
	}
	return Notice{}, false
}

// takeLocked makes the newest node of a name the member.
func (m *members) takeLocked(r *record) {
	newest := ""
	for name, a := range r.nodes {
		if newest == "" || a.came > r.nodes[newest].came {
			newest = name
		}
	}
	if newest == "" {
		return
	}
	a := r.nodes[newest]
	now := m.now()
	if r.State != Alive || r.node != newest {
		r.Since, r.leaving = now, false
	}
	r.node, r.State, r.Seen = newest, Alive, now
	r.Instance, r.Version, r.Pools, r.RPC, r.Gossip = a.Instance, a.Version, a.Pools, a.RPC, a.gossip
}

// gone notes that a node is dead, or has left.
func (m *members) gone(node string) (n Notice, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.all[m.names[node]]
	delete(m.names, node)
	if r == nil {
		return Notice{}, false
	}
	delete(r.nodes, node)
	if r.node != node {
		return Notice{}, false
	}
	if r.leaving { // what is still there of its instance are nodes whose death the gossip has not noticed
		maps.DeleteFunc(r.nodes, func(_ string, a aliveNode) bool { return a.Instance == r.Instance })
	}
	if len(r.nodes) > 0 {
		m.takeLocked(r)
		return Notice{}, false
	}
	r.State, r.Since = Lost, m.now()
	text := "nothing is heard of it"
	if r.leaving {
		r.State, text = Left, "it has said so"
	}
	return Notice{Member: r.Name, Word: string(r.State), Text: text}, true
}

// leaving notes that a member says that it goes.
func (m *members) leaving(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.all[name]; r != nil {
		r.leaving = true
		if r.State == Lost { // the gossip was quicker
			r.State = Left
		}
	}
}

// seen notes a sign of life of a node.
func (m *members) seen(node string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.all[m.names[node]]; r != nil && r.node == node {
		r.Seen = m.now()
	}
}

// asked notes how a question to a member ended, or nil for a question of it.
func (m *members) asked(name string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.all[name]
	switch {
	case r == nil:
	case err != nil:
		r.Error = err.Error()
	default:
		now := m.now()
		r.Error, r.Seen, r.Spoke = "", now, now
	}
}

// get answers a member by its name.
func (m *members) get(name string) (Member, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.all[name]
	if r == nil {
		return Member{}, false
	}
	return r.picture(m.now()), true
}

// list answers all, by name.
func (m *members) list() (all []Member) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forgetLocked()
	for _, r := range m.all {
		all = append(all, r.picture(m.now()))
	}
	slices.SortFunc(all, func(a, b Member) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// sameName is how long two nodes of a name are one that has been restarted: the gossip needs some time for the death of the old one.
const sameName = time.Minute

func (r *record) picture(now time.Time) Member {
	p := r.Member
	if p.State == Lost && !p.Spoke.IsZero() && now.Sub(p.Spoke) < answering {
		p.State = Unheard
	}
	for _, a := range r.nodes {
		p.Twice = p.Twice || a.Instance != r.Instance && now.Sub(r.nodes[r.node].since) > sameName
	}
	return p
}

// forgetLocked forgets those who have been gone for long, and while there are too many the one that has been so for longest.
func (m *members) forgetLocked() {
	now := m.now()
	oldest := ""
	for name, r := range m.all {
		switch {
		case r.State == Alive:
		case r.State == Left && now.Sub(r.Since) > keepLeft, now.Sub(r.Since) > keepLost:
			delete(m.all, name)
		case oldest == "" || r.Since.Before(m.all[oldest].Since):
			oldest = name
		}
	}
	if len(m.all) >= maxKnown && oldest != "" {
		delete(m.all, oldest)
	}
}
