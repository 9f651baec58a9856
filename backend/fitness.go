package backend

import "time"

// load is what leastconn compares.
func (b *Backend) load() int64 { return b.sessions.Load() + b.picked.Load() }

// fitness is what Choose asks of one backend.
type fitness int

const (
	unfit   fitness = iota // not wanted, or down
	waiting                // to be known in a moment: first check, HELLO, the end of a backoff
	fit
)

// fitness says whether a client can be sent here now.
func (b *Backend) fitness(now time.Time) fitness {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.admin != Ready || b.removed.Load() || b.plan.conf.Weight == 0:
		return unfit
	case !b.health.checked:
		return waiting
	case b.health.oper == Down:
		return unfit
	case !b.addr.IsValid() || b.backoff.waits(now):
		return waiting
	}
	return fit
}

// holds reports whether the users of this backend are about to be moved: a native one that is drained while it is alive. As long as it
// has users nobody is sent elsewhere, because the two ircds are two networks.
func (b *Backend) holds() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.admin == Drain && !b.removed.Load() && b.plan.conf.Native() && b.health.oper == Up && b.sessions.Load() > 0
}
