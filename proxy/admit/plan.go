package admit

import (
	"fmt"
	"net/netip"

	"github.com/ircferry/ircferry/internal/config"
)

// planLocked finds the listener of each configured address: one that runs there, or a fresh one that is not bound yet.
func (s *Set) planLocked(cs []config.Listener) (next map[string]*Listener, fresh []*Listener, err error) {
	next = map[string]*Listener{}
	for _, c := range cs {
		if next[c.Address] != nil {
			return nil, nil, fmt.Errorf("listener %s: address %s is used twice", c.Name, c.Address)
		}
		l := s.listeners[c.Address]
		if l == nil {
			addr, err := resolve(c.Address)
			if err != nil {
				return nil, nil, fmt.Errorf("listener %s: %w", c.Name, err)
			}
			if l = s.boundLocked(addr); l == nil {
				l = &Listener{addr: addr}
				l.place.Store(&Place{config: c, listener: l})
				fresh = append(fresh, l)
			}
		}
		for _, other := range next {
			if overlap(l.addr, other.addr) {
				return nil, nil, fmt.Errorf("listener %s: address %s shares %s with another listener", c.Name, c.Address, other.addr)
			}
		}
		next[c.Address] = l
	}
	return next, fresh, nil
}

// boundLocked is the listener that runs at an address, however that was written.
func (s *Set) boundLocked(addr netip.AddrPort) *Listener {
	for _, l := range s.listeners {
		if addr.Port() != 0 && l.addr == addr {
			return l
		}
	}
	return nil
}

// leaving are the listeners of now that are not among those of next.
func leaving(now, next map[string]*Listener) (gone []*Listener) {
	kept := map[*Listener]bool{}
	for _, l := range next {
		kept[l] = true
	}
	for _, l := range now {
		if !kept[l] {
			gone = append(gone, l)
		}
	}
	return gone
}
