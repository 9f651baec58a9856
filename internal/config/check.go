package config

import (
	"fmt"
	"maps"
	"net/netip"
	"runtime"
	"slices"
	"time"
)

// checker gathers findings; sys is what it asks of the machine.
type checker struct {
	sys   system
	found []Finding
}

func (c *checker) errorf(key, format string, args ...any) {
	c.found = append(c.found, Finding{Severity: SeverityError, Key: key, Text: fmt.Sprintf(format, args...)})
}

func (c *checker) warnf(key, format string, args ...any) {
	c.found = append(c.found, Finding{Severity: SeverityWarning, Key: key, Text: fmt.Sprintf(format, args...)})
}

// Verify says what cannot be (errors) or should not be (warnings) in a configuration on this machine. It reads files and limits,
// and changes and connects to nothing.
func Verify(cfg Config) []Finding { return verify(cfg, machine()) }

func verify(cfg Config, sys system) []Finding {
	c := &checker{sys: sys}
	taken := c.listeners(cfg)
	c.pools(cfg)
	taken = c.links(cfg, taken)
	c.cluster(cfg.Cluster, taken)
	c.hears(cfg)
	c.moves(cfg.Moves)
	c.paths(cfg)
	c.loops(cfg.Loops)
	c.descriptors(cfg)
	return c.found
}

// listeners returns the addresses that are taken then.
func (c *checker) listeners(cfg Config) (taken []bound) {
	if len(cfg.Listeners) == 0 {
		c.errorf("listeners", "there are none; name at least one, with name, address and pool")
	}
	names := map[string]string{}
	for i, l := range cfg.Listeners {
		key := fmt.Sprintf("listeners[%d]", i)
		c.name(key, l.Name, names)
		taken = c.listenAddress(key+".address", l.Address, taken)
		if _, ok := cfg.Pools[l.Pool]; !ok {
			c.errorf(key+".pool", "there is no pool %q%s", l.Pool, didYouMean(l.Pool, slices.Sorted(maps.Keys(cfg.Pools))))
		}
		c.proxyProtocol(key+".proxy_protocol", l.ProxyProtocol)
		c.listenerTLS(key+".tls", l.TLS)
		c.limits(key+".limits", l.Limits)
	}
	if cfg.HTTP.Address != "" {
		taken = c.listenAddress("http.address", cfg.HTTP.Address, taken)
		if host, err := netip.ParseAddrPort(cfg.HTTP.Address); err != nil || !host.Addr().IsLoopback() {
			c.warnf("http.address", "%q is reachable from other machines; metrics and health are read there without a password", cfg.HTTP.Address)
		}
	}
	return taken
}

func (c *checker) name(key, name string, seen map[string]string) {
	if err := checkName(name); err != nil {
		c.errorf(key+".name", "%v", err)
		return
	}
	if other, ok := seen[name]; ok {
		c.errorf(key+".name", "%q is the name of %s too", name, other)
	}
	seen[name] = key
}

func (c *checker) proxyProtocol(key string, p *ProxyProtocol) {
	if p == nil {
		return
	}
	if len(p.From) == 0 {
		c.errorf(key+".from", "nobody is trusted; list the networks of your load balancers, or leave proxy_protocol out")
	}
	for _, n := range p.From {
		if n.Bits() == 0 {
			c.warnf(key+".from", "%s trusts everybody: any client can claim any address", n)
		}
	}
}

func (c *checker) limits(key string, l Limits) {
	if l.Connections < 0 {
		c.errorf(key+".connections", "%d is negative; write 0 for no limit", l.Connections)
	}
	if l.PerIP < 0 {
		c.errorf(key+".per_ip", "%d is negative; write 0 for no limit", l.PerIP)
	}
	if l.Registration == 0 {
		c.warnf(key+".registration", "0: a client that says nothing is kept for ever")
	}
	for _, n := range l.Exempt {
		if n.Bits() == 0 {
			c.warnf(key+".exempt", "%s exempts everybody; write per_ip: 0 and per_ip_rate: 0 if you mean it", n)
		}
	}
}

// maxFreeze is protocol.MaxFreeze, which this package may not import.
const maxFreeze = Duration(time.Minute)

func (c *checker) moves(m Moves) {
	for _, x := range []struct {
		key string
		d   Duration
	}{{"moves.deadline", m.Deadline}, {"moves.max_pause", m.MaxPause}, {"moves.park", m.Park}} {
		if x.d == 0 {
			c.errorf(x.key, "0: no move could ever be made; write a duration")
		}
	}
	if m.MaxPause > m.Deadline {
		c.errorf("moves.max_pause", "%s is longer than moves.deadline, %s: the deadline would always come first", m.MaxPause, m.Deadline)
	}
	if m.MaxPause > maxFreeze {
		c.errorf("moves.max_pause", "%s: HANDOFF/1 lets an ircd stand still for at most %s", m.MaxPause, maxFreeze)
	}
	if m.Park != 0 && m.Park < m.MaxPause {
		c.warnf("moves.park", "%s is shorter than moves.max_pause, %s: parked sessions would be ended before a freeze is", m.Park, m.MaxPause)
	}
}

// maxLoops is far above what helps: sessions of one loop share one core.
const maxLoops = 256

func (c *checker) loops(n int) {
	switch {
	case n < 0:
		c.errorf("loops", "%d is negative; write 0 for one per core", n)
	case n > maxLoops:
		c.errorf("loops", "%d are too many; at most %d", n, maxLoops)
	case n > runtime.NumCPU():
		c.warnf("loops", "%d event loops on %d cores share them", n, runtime.NumCPU())
	}
}
