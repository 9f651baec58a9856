package backend

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// Options are what a Set needs of the daemon.
type Options struct {
	State      string                // directory of what is remembered over restarts; "": nothing is
	Log        *slog.Logger          // nil: discard
	Instance   string                // our instance id, the name in HELLO
	Registerer prometheus.Registerer // nil: no metrics

	// How checks reach the world; nil: the network.
	Dial    func(ctx context.Context, network, address string) (net.Conn, error)
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
}

// reach is the machine's, with what stands in its place.
func (o Options) reach() reach {
	way := network()
	if o.Dial != nil {
		way.dial = o.Dial
	}
	if o.Resolve != nil {
		way.resolve = o.Resolve
	}
	return way
}

// Set is all pools of the running configuration. All methods may be called from any goroutine.
type Set struct {
	opt     Options
	memory  *memory
	events  *events
	metrics *metrics

	ctx     context.Context // of the checks
	cancel  func()
	closing chan struct{} // closed after the last check has ended
	kept    chan struct{} // closed by housekeep

	applying sync.Mutex // one Apply or Close at a time; taken before mu
	closed   bool       // guarded by applying

	mu    sync.Mutex // guards all below; a Pool's or Backend's mutex may be taken under it, never the reverse
	pools map[string]*Pool
	old   map[string]*Backend // removed, sessions left; by full name
	past  map[string]*Pool    // of the backends in old
}

// NewSet reads what an earlier run remembered and returns an empty set; Apply fills it.
func NewSet(opt Options) (*Set, error) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	mem, err := recall(opt.State)
	if err != nil {
		return nil, err
	}
	s := &Set{opt: opt, memory: mem, events: newEvents(), closing: make(chan struct{}), kept: make(chan struct{}),
		pools: map[string]*Pool{}, old: map[string]*Backend{}, past: map[string]*Pool{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if s.metrics, err = newMetrics(s, opt.Registerer); err != nil {
		return nil, err
	}
	go s.housekeep()
	return s, nil
}

// Close ends the checks, waits for them, and writes what is to be remembered. The pools still answer afterwards, but nothing changes.
func (s *Set) Close() {
	s.applying.Lock()
	defer s.applying.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	s.cancel()
	for _, p := range s.Pools() {
		for _, b := range p.Backends() {
			b.stop()
		}
	}
	close(s.closing)
	<-s.kept
	s.metrics.close()
}

// Pool returns a configured pool by name.
func (s *Set) Pool(name string) (*Pool, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.pools[name]
	return p, ok
}

// Pools lists the configured pools in the order of their names.
func (s *Set) Pools() []*Pool {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*Pool, 0, len(s.pools))
	for _, p := range s.pools {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b *Pool) int { return strings.Compare(a.name, b.name) })
	return out
}

// Backend returns a backend by its full name, "pool/name". A removed one is found as long as it has sessions.
func (s *Set) Backend(full string) (*Backend, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b, ok := s.old[full]; ok {
		return b, true
	}
	pool, name, _ := strings.Cut(full, "/")
	if p, ok := s.pools[pool]; ok {
		return p.Backend(name)
	}
	return nil, false
}

// Backends lists all backends, pool by pool in configuration order, and then the removed ones that still have sessions.
func (s *Set) Backends() []*Backend {
	var out []*Backend
	for _, p := range s.Pools() {
		out = append(out, p.Backends()...)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(out)
	for _, b := range s.old {
		out = append(out, b)
	}
	slices.SortFunc(out[n:], func(a, b *Backend) int { return strings.Compare(a.full, b.full) })
	return out
}

// linger keeps a removed backend for a session that came late.
func (s *Set) linger(b *Backend) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b.removed.Load() && b.sessions.Load() > 0 {
		s.old[b.full], s.past[b.pool.name] = b, b.pool
	}
}

// emptied forgets a removed backend whose last session ended.
func (s *Set) emptied(b *Backend) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.old[b.full] == b && b.sessions.Load() <= 0 {
		s.dropLocked(b)
	}
}

func (s *Set) dropLocked(b *Backend) {
	delete(s.old, b.full)
	s.metrics.forget(b)
	for _, other := range s.old {
		if other.pool == b.pool {
			return
		}
	}
	delete(s.past, b.pool.name)
}
