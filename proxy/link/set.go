package link

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/internal/config"
)

// Options are what a Set needs of the daemon.
type Options struct {
	Backends *backend.Set
	Log      *slog.Logger // nil: discard

	Registerer prometheus.Registerer // nil: no metrics

	Keeper Keeper // nil: links are not protected against a crash

	Tell func(Notice) // told what becomes of links; called by their loops, so it must not block; nil: nobody is
}

// Set is the server links of all pools. Its methods may be called from any goroutine.
type Set struct {
	backends *backend.Set
	log      *slog.Logger
	tell     func(Notice)
	ctx      context.Context // of what is not a link yet
	cancel   func()
	running  sync.WaitGroup // loops, connections, and what leads to them
	metrics  *metrics
	records  records
	keeper   Keeper        // nil: there is none
	numbers  atomic.Uint32 // of links
	prefix   string        // of tokens
	tokens   atomic.Uint64

	mu       sync.Mutex // guards all below; never held while calling out
	closed   bool
	ports    map[string]*port // by key
	doors    map[string]*door
	servers  map[string]*tls.Config // of the backends' servers, by full name
	links    []*link
	bars     map[string]int // moves that have a backend, by full name
	told     map[string]told
	unbarred chan struct{}  // closed when one of them lets go
	under    map[string]int // connections of a port, by key, also those under way
	stopped  *Stopped       // all stands; nil: nothing does
}

// NewSet makes a set without links; Apply fills it.
func NewSet(opt Options) *Set {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	s := &Set{backends: opt.Backends, log: opt.Log, ports: map[string]*port{}, doors: map[string]*door{}, under: map[string]int{}}
	s.prefix = "ircferry." + rand.Text()[:12] + "."
	s.bars, s.unbarred, s.told = map[string]int{}, make(chan struct{}), map[string]told{}
	s.keeper = opt.Keeper
	if s.tell = opt.Tell; s.tell == nil {
		s.tell = func(Notice) {}
	}
	s.metrics = newMetrics(s, opt.Registerer)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Change is a new configuration, read and bound. Exactly one of its functions is to be called.
type Change struct{ Do, Undo func() }

// Prepare reads all files and opens all new listeners of pools, or changes nothing and says why. Do cannot fail: links that are up stay so, whatever
// became of them in the configuration. A link that a move holds must not change.
func (s *Set) Prepare(pools map[string]config.Pool) (Change, error) {
	next, servers, err := s.plan(pools)
	if err == nil {
		err = s.needed(next)
	}
	if err != nil {
		return Change{}, err
	}
	fresh := map[string]*door{}
	undo := func() {
		for _, d := range fresh {
			d.Close()
		}
	}
	for _, key := range slices.Sorted(maps.Keys(next)) {
		p := next[key]
		if s.door(p) == nil && fresh[p.doorKey()] == nil {
			d, err := p.bind()
			if err != nil {
				undo()
				return Change{}, err
			}
			fresh[p.doorKey()] = d
		}
	}
	return Change{Do: func() { s.change(next, servers, fresh) }, Undo: undo}, nil
}

// Apply is Prepare and Do.
func (s *Set) Apply(pools map[string]config.Pool) error {
	change, err := s.Prepare(pools)
	if err == nil {
		change.Do()
	}
	return err
}

func (s *Set) plan(pools map[string]config.Pool) (ports map[string]*port, servers map[string]*tls.Config, err error) {
	ports, servers = map[string]*port{}, map[string]*tls.Config{}
	for _, pool := range slices.Sorted(maps.Keys(pools)) {
		for _, b := range pools[pool].Backends {
			if b.Servers == nil || b.Servers.TLS == nil {
				continue
			}
			if servers[pool+"/"+b.Name], err = b.Servers.TLS.DialConfig(hostOf(b.Servers.Address)); err != nil {
				return nil, nil, fmt.Errorf("servers of %s/%s: %w", pool, b.Name, err)
			}
		}
		for _, l := range pools[pool].Links {
			p, err := s.planPort(pool, pools[pool], l)
			if err != nil {
				return nil, nil, err
			}
			ports[p.key()] = p
		}
	}
	return ports, servers, nil
}

// needed refuses to change what a move holds.
func (s *Set) needed(next map[string]*port) error {
	for _, l := range s.all() {
		i := l.picture()
		if !i.State.held() {
			continue
		}
		if p := next[i.key()]; p == nil || !reflect.DeepEqual(p.conf, i.conf) {
			return fmt.Errorf("link %s is held by a move and cannot change; wait for its end or ferryctl cancel it", i.key())
		}
	}
	return nil
}

func (s *Set) door(p *port) *door {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.doors[p.doorKey()]
}

// change puts the new value in the place of the old one.
func (s *Set) change(next map[string]*port, servers map[string]*tls.Config, fresh map[string]*door) {
	before := s.swap(next, servers, fresh)
	for key, p := range before {
		if next[key] == nil {
			s.metrics.forget(p)
		}
	}
	for _, p := range next {
		s.metrics.show(p)
	}
	for _, l := range s.all() {
		if p := next[l.picture().key()]; p != nil {
			l.do(s.ctx, func() { l.port, l.conf = p, p.conf })
		}
	}
}

func (s *Set) swap(next map[string]*port, servers map[string]*tls.Config, fresh map[string]*door) (before map[string]*port) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := map[string]*door{}
	for _, p := range next {
		key := p.doorKey()
		d := s.doors[key]
		if d == nil {
			d = fresh[key]
		}
		d.port.Store(p)
		kept[key] = d
	}
	for key, d := range s.doors {
		if kept[key] == nil || s.closed {
			d.Close()
		}
	}
	before, s.ports, s.servers, s.doors = s.ports, next, servers, kept
	for _, d := range fresh {
		if s.closed {
			d.Close()
			continue
		}
		s.running.Go(func() { s.accept(d) })
		s.log.Info("listening for a link", "link", d.port.Load().key(), "address", d.Addr().String())
	}
	return before
}

func (s *Set) serversTLS(full string) *tls.Config {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.servers[full]
}

// enter begins to serve a connection, unless the set ends or the port has enough of them.
func (s *Set) enter(p *port, c net.Conn) (ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.under[p.key()] >= maxConnections {
		return false
	}
	s.under[p.key()]++
	s.running.Go(func() {
		p.serve(s.ctx, c)
		s.leave(p)
	})
	return true
}

func (s *Set) leave(p *port) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.under[p.key()]--; s.under[p.key()] == 0 {
		delete(s.under, p.key())
	}
}

// add makes a link of two connections, which are its own then.
func (s *Set) add(p *port, full string, peer, ircd net.Conn) (*link, Refusal, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.stopped != nil {
		decided := s.stopped.decided
		s.mu.Unlock()
		<-decided
		s.mu.Lock()
	}
	if s.closed {
		return nil, RefusedHeld, errors.New("the daemon ends")
	}
	if s.barredLocked(p) {
		return nil, RefusedHeld, errHeld
	}
	l := newLink(p, p.conf, full, peer.RemoteAddr().String(), newSide(peer, &s.running), newSide(ircd, &s.running))
	l.number = s.numbers.Add(1)
	s.links = append(s.links, l)
	return l, "", nil
}

func (s *Set) remove(l *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.links = slices.DeleteFunc(s.links, func(x *link) bool { return x == l })
}

// token is a word of a fence that nobody else says.
func (s *Set) token() string {
	return fmt.Sprintf("%s%d", s.prefix, s.tokens.Add(1))
}

// ours reports whether a token is of this set.
func (s *Set) ours(token string) bool { return strings.HasPrefix(token, s.prefix) }

// Addrs tells where each link, by "pool/name", listens.
func (s *Set) Addrs() map[string]net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	addrs := map[string]net.Addr{}
	for _, d := range s.doors {
		addrs[d.port.Load().key()] = d.Addr()
	}
	return addrs
}

func (s *Set) all() []*link {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.links)
}

// Close ends all links, each by a FIN to both sides, and waits until they have taken what they were sent, or ctx is over. Links end with the
// daemon: peers see a split.
func (s *Set) Close(ctx context.Context) error {
	s.shut()
	for _, l := range s.all() {
		told, cancel := context.WithTimeout(context.Background(), soon)
		l.do(told, func() { l.end(EndShutdown, nil) })
		cancel()
	}
	return s.wait(ctx)
}

// shut lets nothing come any more.
func (s *Set) shut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, d := range s.doors {
		d.Close()
	}
	s.cancel()
}

// wait returns when nothing runs any more.
func (s *Set) wait(ctx context.Context) error {
	done := make(chan struct{})
	go func() { s.running.Wait(); close(done) }()
	select {
	case <-done:
		s.records.close()
		return nil
	case <-ctx.Done():
		return fmt.Errorf("end the server links: %w", context.Cause(ctx))
	}
}
