package admit

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
)

// Several proxies that clients may choose from each let in limits.per_ip from one address. So each tells the others which addresses have come near it, and counts
// what they say beside its own. It is soft: what came within the last seconds is not told yet, and who hears nothing counts for himself alone.

// maxHeavy bounds how many addresses of a listener are told: more at once are a flood, of which the heaviest matter.
const maxHeavy = 1000

// Heavy is how many connections each address has, by the listener's name, of those that have more than half of what the listener allows one.
func (s *Set) Heavy() map[string]map[netip.Addr]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]map[netip.Addr]int{}
	for _, l := range s.listeners {
		if heavy := l.limits.heavy(); len(heavy) > 0 {
			all[l.Name()] = heavy
		}
	}
	return all
}

// Elsewhere says how many connections addresses have at other proxies, by the listener's name, from now on.
func (s *Set) Elsewhere(counts map[string]map[netip.Addr]int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.listeners {
		l.limits.setElsewhere(counts[l.Name()])
	}
}

func (l *limiter) setElsewhere(counts map[netip.Addr]int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.elsewhere = counts
}

// heavy is a pass over all addresses under the lock: some milliseconds of a large server, once every few seconds, and only with other proxies.
func (l *limiter) heavy() map[netip.Addr]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	heavy := map[netip.Addr]int{}
	if l.limits.PerIP <= 0 {
		return heavy
	}
	for addr, s := range l.sources {
		if int(s.open) > l.limits.PerIP/2 {
			heavy[addr] = int(s.open)
		}
	}
	if len(heavy) > maxHeavy {
		addrs := slices.SortedFunc(maps.Keys(heavy), func(a, b netip.Addr) int { return cmp.Or(cmp.Compare(heavy[b], heavy[a]), a.Compare(b)) })
		for _, a := range addrs[maxHeavy:] {
			delete(heavy, a)
		}
	}
	return heavy
}
