package config

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// system is what Verify asks of the machine; a test puts its own in.
type system struct {
	descriptors func() uint64 // how many this process may have; 0: not known
	group       func(name string) error
	writable    func(dir string) error
	zone        func(name string) bool // whether there is such an interface, by name or number
}

func machine() system {
	return system{
		descriptors: func() uint64 {
			var r syscall.Rlimit
			if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r) != nil {
				return 0
			}
			return r.Cur
		},
		group:    func(name string) error { _, err := user.LookupGroup(name); return err },
		writable: writable,
		zone: func(name string) bool {
			if n, err := strconv.Atoi(name); err == nil {
				_, err := net.InterfaceByIndex(n)
				return err == nil
			}
			_, err := net.InterfaceByName(name)
			return err == nil
		},
	}
}

// writable says whether this process may make files in dir.
func writable(dir string) error {
	const wOK, xOK = 2, 1
	return syscall.Access(dir, wOK|xOK)
}

func (c *checker) paths(cfg Config) {
	c.state(cfg.State)
	key := "admin.socket"
	switch dir := filepath.Dir(cfg.Admin.Socket); {
	case !filepath.IsAbs(cfg.Admin.Socket):
		c.errorf(key, "%q does not begin with /", cfg.Admin.Socket)
	case len(cfg.Admin.Socket) > maxUnixPath:
		c.errorf(key, "%q: the kernel takes at most %d bytes in the path of a unix socket", cfg.Admin.Socket, maxUnixPath)
	case missing(dir) && strings.HasPrefix(dir, "/run/"):
		c.warnf(key, "there is no directory %s; the systemd unit makes it (RuntimeDirectory), without systemd make it yourself", dir)
	case missing(dir):
		c.errorf(key, "there is no directory %s", dir)
	default:
		if err := c.sys.writable(dir); err != nil {
			c.errorf(key, "no socket can be made in %s by uid %d: %v", dir, os.Geteuid(), err)
		}
	}
	if cfg.Admin.Group != "" {
		if err := c.sys.group(cfg.Admin.Group); err != nil {
			c.errorf("admin.group", "%v", err)
		}
	}
}

// state looks at the state directory, or if it is not there yet at the place where it would be made.
func (c *checker) state(dir string) {
	const key = "state"
	if !filepath.IsAbs(dir) {
		c.errorf(key, "%q does not begin with /", dir)
		return
	}
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		c.errorf(key, "%s is no directory", dir)
		return
	}
	if err == nil && info.Mode().Perm()&0o077 != 0 {
		c.warnf(key, "%s can be read by others (%04o); journals hold what users said: chmod 0700", dir, info.Mode().Perm())
	}
	at := dir
	for missing(at) && at != "/" {
		at = filepath.Dir(at)
	}
	if err := c.sys.writable(at); err != nil {
		c.errorf(key, "%s cannot be written by uid %d: %s: %v", dir, os.Geteuid(), at, err)
	}
}

func missing(path string) bool {
	_, err := os.Stat(path)
	return os.IsNotExist(err)
}

// Descriptors that are no session's: standard streams, listeners and loops come on top, each by its number.
const (
	ownDescriptors   = 16  // arena, admin socket, http, state lock, log, runtime; what comes and goes has the reserve
	perLoop          = 2   // epoll, eventfd
	perBackend       = 2   // check, control connection of a move
	perLink          = 5   // listener, peer, ircd; in a move the new ircd, and one that is refused
	ofCluster        = 32  // gossip, RPC, and a connection to and from some others
	perSession       = 2   // client, backend
	perSessionInMove = 1   // the new stream beside the old one
	fewClients       = 256 // fewer is a limit that nobody has chosen for a server
	descriptorWayOut = "raise LimitNOFILE of the unit (ulimit -n), or lower connections"
)

// descriptors reckons whether the connections that the listeners allow fit.
func (c *checker) descriptors(cfg Config) {
	have := int(c.sys.descriptors())
	if have <= 0 {
		return
	}
	base := ownDescriptors + ReservedDescriptors(have) + len(cfg.Listeners) + perLoop*max(cfg.Loops, 1)
	for _, p := range cfg.Pools {
		base += perBackend*len(p.Backends) + perLink*len(p.Links)
	}
	if cfg.Cluster != nil {
		base += ofCluster
	}
	connections, unlimited := 0, len(cfg.Listeners) == 0
	for _, l := range cfg.Listeners {
		connections += max(l.Limits.Connections, 0)
		if l.ProxyProtocol != nil && l.Limits.Connections > 0 {
			base += perSession * SpareConnections
		}
		unlimited = unlimited || l.Limits.Connections == 0
	}
	fit := max(have-base, 0)
	switch {
	case fit/perSession == 0:
		c.errorf("listeners", "%d descriptors are not enough for this configuration itself; %s", have, descriptorWayOut)
	case connections*perSession > fit:
		c.errorf("listeners", "limits.connections allow %d, which needs %d descriptors (%d a session, %d for the rest), but this process may have %d, enough for %d; %s",
			connections, connections*perSession+base, perSession, base, have, fit/perSession, descriptorWayOut)
		c.found[len(c.found)-1].Bearable = true // clients beyond them wait; an ircd's users do not if the daemon does not start
	case unlimited && fit/perSession < fewClients:
		c.warnf("listeners", "limits.connections is 0, no limit, but this process may have %d descriptors, enough for %d clients (%d a session, %d for the rest); "+
			"further ones wait in the kernel's queue; raise LimitNOFILE of the unit (ulimit -n)", have, fit/perSession, perSession, base)
	case connections*(perSession+perSessionInMove) > fit:
		c.warnf("listeners", "limits.connections allow %d, but %d descriptors are enough to move only %d at once (%d a session in a move); %s",
			connections, have, fit/(perSession+perSessionInMove), perSession+perSessionInMove, descriptorWayOut)
	}
}

// bound is an address that something of ours listens on.
type bound struct {
	key  string
	host string // "" for all
	port string
}

// listenAddress checks one address to listen on against those that are taken, and returns them with it.
func (c *checker) listenAddress(key, address string, taken []bound) []bound {
	if err := checkHostPort(address, true); err != nil {
		c.errorf(key, "%v", err)
		return taken
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		c.errorf(key, "%v", err)
		return taken
	}
	if a, err := netip.ParseAddr(host); err == nil {
		if err := c.zone(a); err != nil {
			c.errorf(key, "%q: %v", address, err)
		}
		host = a.String()
		if a.IsUnspecified() && a.Is6() {
			host = ""
		}
	}
	if port == "0" {
		return taken // the kernel chooses one that is free
	}
	for _, t := range taken {
		if t.port != port {
			continue
		}
		if overlap(t.host, host) {
			c.errorf(key, "%q is taken by %s too", address, t.key)
		}
	}
	return append(taken, bound{key, host, port})
}

// zone looks for the interface of an address that needs one (RFC 4007 section 11).
func (c *checker) zone(a netip.Addr) error {
	switch {
	case a.Zone() == "" && a.Is6() && a.IsLinkLocalUnicast():
		return fmt.Errorf("an address of one link is nothing without the interface of the link; write [%s%%eth0]", a)
	case a.Zone() == "" || c.sys.zone(a.Zone()):
		return nil
	}
	return fmt.Errorf("this machine has no interface %s; ip link lists those that there are", a.Zone())
}

// overlap reports whether two hosts share an address: "" is all of them, 0.0.0.0 all of IPv4.
func overlap(a, b string) bool {
	const all4 = "0.0.0.0"
	is4 := func(s string) bool { return !strings.Contains(s, ":") }
	return a == b || a == "" || b == "" || (a == all4 && is4(b)) || (b == all4 && is4(a))
}

// IsLoopback reports whether host:port stays on this machine.
func IsLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	if a, err := netip.ParseAddr(host); err == nil {
		return a.IsLoopback()
	}
	return host == "localhost"
}

// NeedsRestart names the keys that differ between the running and a new configuration and that a running daemon cannot change. A
// reload goes on without them and says so.
func NeedsRestart(running, next Config) []string {
	var keys []string
	add := func(key string, same bool) {
		if !same {
			keys = append(keys, key)
		}
	}
	add("loops", running.Loops == next.Loops)
	add("state", running.State == next.State)
	add("admin", running.Admin == next.Admin)
	add("http", running.HTTP == next.HTTP)
	return keys
}
