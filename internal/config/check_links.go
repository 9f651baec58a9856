package config

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
)

// What a link may keep of its peer: less than a line helps nobody, more than this is not what memory is for.
const (
	minHold Size = 64 << 10
	maxHold Size = 4 << 30
)

// links says what cannot be of the pools' server links. taken are the addresses that listeners have; it returns those that are taken then.
func (c *checker) links(cfg Config, taken []bound) []bound {
	for _, name := range slices.Sorted(maps.Keys(cfg.Pools)) {
		p, names := cfg.Pools[name], map[string]string{}
		key := "pools." + name
		for i, b := range p.Backends {
			c.servers(fmt.Sprintf("%s.backends[%d]", key, i), b, p)
		}
		for i, l := range p.Links {
			lkey := fmt.Sprintf("%s.links[%d]", key, i)
			c.name(lkey, l.Name, names)
			if l.Listen == "" {
				c.errorf(lkey+".listen", "is not there; write the host:port at which the peer, or with dial the ircd, connects to us")
			} else {
				taken = c.listenAddress(lkey+".listen", l.Listen, taken)
			}
			c.linkBackends(lkey, l, p)
			c.linkSides(lkey, l)
			if l.Hold < minHold || l.Hold > maxHold {
				c.errorf(lkey+".hold", "%s is not from %s to %s", l.Hold, minHold, maxHold)
			}
		}
	}
	return taken
}

// servers says what cannot be of the place where an ircd takes links.
func (c *checker) servers(key string, b Backend, p Pool) {
	s := b.Servers
	switch {
	case s == nil:
		return
	case !b.Native():
		c.errorf(key+".servers", "%s has no handoff: its users and links cannot be moved, so let its peers connect to it directly", b.Name)
		return
	case len(p.Links) == 0:
		c.warnf(key+".servers", "the pool has no links that could go there")
	}
	key += ".servers"
	if err := checkHostPort(s.Address, false); err != nil {
		c.errorf(key+".address", "%v", err)
		return
	}
	c.leadsTo(key+".address", s.Address)
	c.dialTLS(key, s.Address, s.TLS)
}

func (c *checker) linkBackends(key string, l Link, p Pool) {
	if len(p.LinkBackends(l)) == 0 {
		c.errorf(key, "no backend of the pool has servers, the address at which its ircd takes links; write it for those whose link this is")
	}
	for _, name := range l.Backends {
		i := slices.IndexFunc(p.Backends, func(b Backend) bool { return b.Name == name })
		switch {
		case i < 0:
			var names []string
			for _, b := range p.Backends {
				names = append(names, b.Name)
			}
			c.errorf(key+".backends", "there is no backend %q in the pool%s", name, didYouMean(name, names))
		case p.Backends[i].Servers == nil:
			c.errorf(key+".backends", "backend %s has no servers, the address at which its ircd takes links", name)
		}
	}
	c.twice(key+".backends", l.Backends)
}

// linkSides looks at the peer's side, and at who may connect.
func (c *checker) linkSides(key string, l Link) {
	far := slices.ContainsFunc(l.Allow, func(p netip.Prefix) bool { return !p.Addr().IsLoopback() })
	for _, p := range l.Allow {
		if p.Bits() == 0 {
			c.warnf(key+".allow", "%s lets everybody try the link's password; name the addresses that connect", p)
		}
	}
	if l.Dial == "" {
		c.listenTLS(key+".tls", l.TLS)
		if far && l.TLS == nil {
			c.warnf(key, "from other machines the peer's password and what its users say come in plain text; give it tls")
		}
		return
	}
	if err := checkHostPort(l.Dial, false); err != nil {
		c.errorf(key+".dial", "%v", err)
		return
	}
	c.leadsTo(key+".dial", l.Dial)
	c.dialTLS(key, l.Dial, l.TLS)
	if far {
		c.warnf(key+".allow", "with dial it is the ircd that connects, in plain text: let it be on this machine")
	}
}

// listenTLS looks at the TLS of a side that is a server.
func (c *checker) listenTLS(key string, t *LinkTLS) {
	if t == nil {
		return
	}
	c.pemPath(key+".cert", t.Cert)
	c.pemPath(key+".key", t.Key)
	if t.CA+t.ServerName != "" {
		c.errorf(key, "ca and server_name are for who dials; a peer that connects is known by fingerprints")
	}
	if len(t.Fingerprints) == 0 {
		c.warnf(key+".fingerprints", "there are none: the link's password alone says who the peer is")
	}
	c.linkKey(key, t)
	if t.Cert != "" && t.Key != "" {
		if _, err := t.pair(); err != nil {
			c.errorf(key, "%v", err)
		}
	}
}

// dialTLS looks at the TLS of a side that is a client.
func (c *checker) dialTLS(key, address string, t *LinkTLS) {
	if t == nil {
		if !IsLoopback(address) {
			c.warnf(key, "%s: the link's password and what users say leave this machine in plain text; give it tls", address)
		}
		return
	}
	if len(t.Fingerprints) > 0 && t.CA+t.ServerName != "" {
		c.errorf(key+".tls", "fingerprints, and ca or server_name too; a certificate is known by the one or the other")
	}
	c.linkKey(key+".tls", t)
	host, _, _ := net.SplitHostPort(address)
	if _, err := t.DialConfig(host); err != nil {
		c.errorf(key, "%v", err)
	}
}

func (c *checker) linkKey(key string, t *LinkTLS) {
	if info, err := os.Stat(t.Key); err == nil && info.Mode().Perm()&0o007 != 0 {
		c.warnf(key+".key", "%s can be used by everybody (%04o); chmod 0600 is enough", t.Key, info.Mode().Perm())
	}
}
