package backend

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/ircferry/ircferry/internal/config"
)

// Apply makes pools the configuration of the set, at start and at every reload: it builds the whole new value first (password files are
// read anew) and then swaps it in, or returns an error and changes nothing. A backend of the same pool and name goes on with its sessions,
// health and admin state; if where or what it is has changed, it is checked anew. A removed one takes no clients and is checked no
// more, and is forgotten when its last session ends. It is not for event loops: it waits for checks that have to end.
func (s *Set) Apply(pools map[string]config.Pool) error {
	change, err := s.Prepare(pools)
	if err != nil {
		return err
	}
	return change()
}

// Prepare builds the new value as Apply does and answers how to swap it in, which fails only if the set is closed. So who has more to change
// than pools can do all that may fail first.
func (s *Set) Prepare(pools map[string]config.Pool) (change func() error, err error) {
	plans, err := planAll(pools)
	if err != nil {
		return nil, fmt.Errorf("apply pools: %w", err)
	}
	return func() error { return s.apply(pools, plans) }, nil
}

func (s *Set) apply(pools map[string]config.Pool, plans map[string][]plan) error {
	s.applying.Lock()
	defer s.applying.Unlock()
	if s.closed {
		return errors.New("apply pools: the set is closed")
	}
	added, removed := s.swap(pools, plans)
	for _, b := range removed {
		b.stop()
		s.event(b, EventRemoved, fmt.Sprintf("%d sessions left", b.Sessions()))
	}
	for _, b := range added {
		s.event(b, EventAdded, "") // before its first check can tell anything
		b.start()
	}
	return nil
}

// swap puts the new value in the place of the old one. Nothing in it can fail.
func (s *Set) swap(pools map[string]config.Pool, plans map[string][]plan) (added, removed []*Backend) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := map[string]*Pool{}
	for _, name := range slices.Sorted(maps.Keys(pools)) {
		p := s.poolLocked(name)
		news, olds := p.become(pools[name], plans[name], s.reviveLocked)
		next[name], added, removed = p, append(added, news...), append(removed, olds...)
	}
	for name, p := range s.pools {
		if next[name] == nil {
			_, olds := p.become(config.Pool{}, nil, nil)
			removed = append(removed, olds...)
		}
	}
	s.pools = next
	for _, b := range removed {
		s.removeLocked(b)
	}
	return added, removed
}

// poolLocked returns the pool of that name, also one that was removed and still has sessions, or a new one.
func (s *Set) poolLocked(name string) *Pool {
	if p, ok := s.pools[name]; ok {
		return p
	}
	if p, ok := s.past[name]; ok {
		return p
	}
	return &Pool{set: s, name: name, serving: s.memory.servingOf(name)}
}

// reviveLocked returns a backend that was removed and still has sessions, or a new one.
func (s *Set) reviveLocked(p *Pool, name string) *Backend {
	b, ok := s.old[p.name+"/"+name]
	if !ok {
		b = newBackend(p, name)
		b.admin = s.memory.adminOf(b.full)
	}
	delete(s.old, b.full)
	b.removed.Store(false)
	b.mu.Lock()
	b.health.forget("not checked yet", time.Now())
	b.mu.Unlock()
	return b
}

func (s *Set) removeLocked(b *Backend) {
	b.removed.Store(true)
	if b.sessions.Load() > 0 {
		s.old[b.full], s.past[b.pool.name] = b, b.pool
		return
	}
	s.metrics.forget(b)
}

// become gives the pool its new backends; make is asked for those that it does not have.
func (p *Pool) become(conf config.Pool, plans []plan, make func(*Pool, string) *Backend) (added, removed []*Backend) {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := []*Backend{}
	for _, pl := range plans {
		b := p.findLocked(pl.conf.Name)
		if b == nil {
			b = make(p, pl.conf.Name)
			added = append(added, b)
		}
		b.replan(pl)
		next = append(next, b)
	}
	for _, b := range p.backends {
		if !slices.Contains(next, b) {
			removed = append(removed, b)
		}
	}
	p.conf, p.backends, p.turns = conf, next, map[*Backend]int{}
	return added, removed
}

// replan puts a new plan in the place of the old one. If it leads to another place, nothing that is known of the old one holds.
func (b *Backend) replan(next plan) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.plan.conf.Handoff != next.conf.Handoff || b.plan.conf.Address != next.conf.Address ||
		b.plan.check.Type != next.check.Type || !sameTLS(b.plan.conf, next.conf) {
		b.health.forget("not checked yet", time.Now())
		b.backoff, b.hello, b.helloAt, b.fresh = backoff{}, Hello{}, time.Time{}, true
		b.addr, b.known, b.failed = netip.AddrPort{}, nil, nil
		if !next.conf.Native() {
			b.addr = next.literal
		}
	} else if b.plan.proven != nil {
		next.proven = b.plan.proven
	}
	if b.version > 0 {
		b.Recheck()
	}
	b.plan = next
	b.proof.due = time.Time{} // a password may be another one now
	b.version++
}

// planAll resolves and reads whatever can fail.
func planAll(pools map[string]config.Pool) (map[string][]plan, error) {
	out := map[string][]plan{}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(pools)) {
		seen := map[string]bool{}
		for _, c := range pools[name].Backends {
			pl, err := planOf(pools[name], c)
			if err == nil && (c.Name == "" || seen[c.Name]) {
				err = errors.New("has no name, or that of another one of the pool")
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("backend %s/%s: %w", name, c.Name, err))
			}
			seen[c.Name] = true
			out[name] = append(out[name], pl)
		}
	}
	return out, errors.Join(errs...)
}

func planOf(p config.Pool, c config.Backend) (plan, error) {
	pl := plan{conf: c, check: p.CheckFor(c), proven: new(atomic.Bool)}
	pl.check.Rise, pl.check.Fall = max(pl.check.Rise, 1), max(pl.check.Fall, 1)
	if (c.Handoff == "") == (c.Address == "") {
		return pl, errors.New("needs either handoff or address")
	}
	var err error
	if c.Native() {
		if pl.network, pl.control, err = config.ParseHandoff(c.Handoff); err != nil {
			return pl, err
		}
		if pl.network == "tcp" {
			if err := pl.leadTo(pl.control); err != nil {
				return pl, err
			}
		}
		if err := pl.readTLS(pl.host); err != nil {
			return pl, err
		}
		if c.HandoffPassFile != "" {
			if pl.password, err = config.ReadPassword(c.HandoffPassFile); err != nil {
				return pl, err
			}
		}
		return pl, pl.plaintextOnly()
	}
	if err := pl.leadTo(c.Address); err != nil {
		return pl, err
	}
	if err := pl.readTLS(pl.host); err != nil {
		return pl, err
	}
	if c.Identity == config.IdentityWebIRC {
		pl.password, err = config.ReadPassword(c.WebIRCPasswordFile)
	}
	return pl, err
}

// leadTo reads where the plan leads over TCP.
func (pl *plan) leadTo(address string) (err error) {
	if pl.host, pl.port, err = net.SplitHostPort(address); err != nil {
		return fmt.Errorf("address %q: %w", address, err)
	}
	if a, err := netip.ParseAddrPort(address); err == nil {
		pl.literal = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	}
	return nil
}

// plaintextOnly refuses a control connection that would leave this machine without TLS.
func (pl plan) plaintextOnly() error {
	if pl.network == "unix" || pl.tls != nil || config.IsLoopback(pl.control) {
		return nil
	}
	return fmt.Errorf("handoff tcp:%s leaves this machine in plain text; give it tls, or use a unix socket or a loopback address", pl.control)
}
