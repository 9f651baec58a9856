package admit

import (
	"net/netip"
	"sync"
	"time"

	"github.com/ircferry/ircferry/internal/config"
)

// limiter applies the limits of one listener. All loops that accept for it share it: its methods may be called from any goroutine,
// hold one mutex for a map access, and never block otherwise.
//
// A loop calls admit when it has accepted a client. For the peers that are to send a PROXY header it calls await, and admit when the header
// names a client. What was granted is in held, and goes back by release, once.
//
// Every address is counted, exempt or not and whatever the limits are, so that a reload can change both without counts that go
// wrong. An address nobody is connected from, and whose rate has recovered, is forgotten.
type limiter struct {
	mu      sync.Mutex
	limits  config.Limits
	epoch   time.Time
	open    int // connections that count against limits.Connections
	spare   int // those of balancers that do not, at most config.SpareConnections
	sources map[netip.Addr]source

	elsewhere map[netip.Addr]int // connections at other proxies

	sweepAt time.Duration // since epoch
	sweepIn int           // number of sources at which it is done earlier
}

// source is what is known of an address, or of an IPv6 network of 64 bits.
type source struct {
	open int32
	// full is when the rate's bucket will be full again (since epoch; the generic cell rate algorithm). A connection costs
	// Per/N of time, and as long as full is not over Per away it is let in: N at once, then one each Per/N.
	full time.Duration
}

const (
	sweepEvery = time.Minute
	sweepFrom  = 1024 // sources, about 100 KB
	// maxSources bounds the memory of a flood from ever new addresses at some megabytes, beside those that are connected. Over it the
	// addresses that have used the least of their rate are forgotten.
	maxSources = 1 << 16
)

func newLimiter(l config.Limits) *limiter {
	return &limiter{limits: l, epoch: time.Now(), sources: map[netip.Addr]source{}, sweepIn: sweepFrom}
}

// set changes the limits. Who is connected stays, also if there are more of them now than would be let in. Who had used up a longer
// period has used up the new one.
func (l *limiter) set(limits config.Limits, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if latest := now.Sub(l.epoch) + limits.PerIPRate.Per; limits.PerIPRate.Per < l.limits.PerIPRate.Per {
		for k, s := range l.sources {
			s.full = min(s.full, latest)
			l.sources[k] = s
		}
	}
	l.limits = limits
}

// held is what a connection has of a listener's limits.
type held uint8

const (
	heldConnection held = 1 << iota // one of limits.Connections
	heldSpare                       // one of config.SpareConnections
	heldAddress                     // one of its address, of limits.PerIP
	heldNothing                     // it was given back
)

// await counts a connection of which it is not known yet whether it is about a client, or answers RefusedConnections.
func (l *limiter) await() (held, Refusal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.spare < config.SpareConnections:
		l.spare++
		return heldSpare, Admitted
	case l.fullLocked():
		return 0, RefusedConnections
	}
	l.open++
	return heldConnection, Admitted
}

// admit counts a client from addr, whose connection has had what await has answered, or nothing. It answers what the connection has from
// now on, or why the client is refused: that does not count.
func (l *limiter) admit(had held, addr netip.Addr, now time.Time) (held, Refusal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if had&heldConnection == 0 && l.fullLocked() {
		return had, RefusedConnections
	}
	t := now.Sub(l.epoch)
	l.sweepLocked(t)
	key := sourceOf(addr)
	s := l.sources[key]
	if !l.exemptLocked(addr) {
		if l.limits.PerIP > 0 && int(s.open)+l.elsewhere[key] >= l.limits.PerIP {
			return had, RefusedPerIP
		}
		if r := l.limits.PerIPRate; r.N > 0 {
			full := max(s.full, t) + r.Per/time.Duration(r.N)
			if full > t+r.Per {
				return had, RefusedRate
			}
			s.full = full
		}
	}
	s.open++
	l.sources[key] = s
	if had&heldConnection == 0 {
		l.open++
	}
	if had&heldSpare != 0 {
		l.spare--
	}
	return heldConnection | heldAddress, Admitted
}

func (l *limiter) fullLocked() bool {
	return l.limits.Connections > 0 && l.open >= l.limits.Connections
}

// release takes back what a connection had; addr is the one that it was admitted with, if it was.
func (l *limiter) release(had held, addr netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if had&heldSpare != 0 {
		l.spare--
	}
	if had&heldConnection != 0 {
		l.open--
	}
	if l.spare < 0 || l.open < 0 {
		panic("admit: limiter released more often than admitted")
	}
	if had&heldAddress != 0 {
		l.releaseLocked(sourceOf(addr))
	}
}

func (l *limiter) releaseLocked(key netip.Addr) {
	s := l.sources[key]
	if s.open == 0 {
		panic("admit: limiter released an address more often than admitted")
	}
	s.open--
	if s.open == 0 && s.full == 0 { // never had a rate
		delete(l.sources, key)
		return
	}
	l.sources[key] = s
}

// counts is how many connections count, and how many are taken beside.
func (l *limiter) counts() (open, spare int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open, l.spare
}

func (l *limiter) exemptLocked(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	for _, p := range l.limits.Exempt {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// sourceOf is what counts as one source: an IPv4 address, or an IPv6 network of 64 bits, as that is the least that a customer gets.
func sourceOf(addr netip.Addr) netip.Addr {
	addr = addr.Unmap().WithZone("")
	if addr.Is4() {
		return addr
	}
	p, err := addr.Prefix(64)
	if err != nil {
		return netip.Addr{} // the zero address: all of these are one source
	}
	return p.Addr()
}

// sweepLocked forgets sources that do not matter any more, each minute, and earlier when there are twice as many as were left.
func (l *limiter) sweepLocked(t time.Duration) {
	if t < l.sweepAt && len(l.sources) < l.sweepIn {
		return
	}
	l.sweepAt = t + sweepEvery
	if len(l.sources) < sweepFrom/8 {
		return // what is expired in a small map costs nothing
	}
	// A new map: a Go map keeps the room of what was deleted.
	kept := make(map[netip.Addr]source)
	for k, s := range l.sources {
		if s.open > 0 || s.full > t {
			kept[k] = s
		}
	}
	l.sources = kept
	for away := l.limits.PerIPRate.Per / 64; len(l.sources) >= maxSources && away > 0; away *= 2 {
		for k, s := range l.sources {
			if s.open == 0 && s.full <= t+away {
				delete(l.sources, k)
			}
		}
		if away >= l.limits.PerIPRate.Per {
			break
		}
	}
	l.sweepIn = max(sweepFrom, 2*len(l.sources))
	if len(l.sources) < maxSources {
		l.sweepIn = min(l.sweepIn, maxSources)
	}
}
