package proxy

import "net/netip"

// Heavy is how many connections each address has, by the listener's name, of those that have more than half of its limits.per_ip; for other proxies.
func (p *Proxy) Heavy() map[string]map[netip.Addr]int { return p.listeners.Heavy() }

// Elsewhere says how many connections addresses have at other proxies: they count beside ours, until it is said anew.
func (p *Proxy) Elsewhere(counts map[string]map[netip.Addr]int) { p.listeners.Elsewhere(counts) }
