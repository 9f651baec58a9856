package admit

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/proxy/loop"
)

// bind makes the sockets of a listener, one for each of n loops, with a probe alone on its address for a moment before: with SO_REUSEPORT a second daemon
// would be let in beside us without a word. Where sockets of ours that are about to go stand in the way of the probe, they are the proof: nobody else
// could have bound what they have, and a stranger's socket elsewhere on the address still stops those that share.
func (l *Listener) bind(n int, gone []*Listener) error {
	if !slices.ContainsFunc(gone, func(old *Listener) bool { return overlap(old.addr, l.addr) }) {
		probe, addr, err := bindSocket(l.addr, false)
		if err != nil {
			return err
		}
		unix.Close(probe)
		l.addr = addr
	}
	for range n {
		fd, addr, err := bindSocket(l.addr, true)
		if err != nil {
			return err
		}
		l.addr, l.fds = addr, append(l.fds, fd)
	}
	return nil
}

// overlap reports whether a client could reach both addresses by one: those of all addresses share with every one of their family, and
// the one of IPv6 with IPv4's too (v6Only).
func overlap(a, b netip.AddrPort) bool {
	if a.Port() == 0 || a.Port() != b.Port() {
		return false
	}
	holds := func(all, one netip.Addr) bool { return all.IsUnspecified() && (all.Is6() || one.Is4()) }
	return a.Addr() == b.Addr() || holds(a.Addr(), b.Addr()) || holds(b.Addr(), a.Addr())
}

// resolve turns the configured address into one to bind: no host is all addresses of both families.
func resolve(address string) (netip.AddrPort, error) {
	a, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("address %s: %w", address, err)
	}
	if a.IP == nil {
		return netip.AddrPortFrom(netip.IPv6Unspecified(), uint16(a.Port)), nil
	}
	ip := a.AddrPort()
	return netip.AddrPortFrom(ip.Addr().Unmap(), ip.Port()), nil
}

// bindSocket makes a bound socket that accepted ones inherit their options from, and says where it is bound.
func bindSocket(addr netip.AddrPort, share bool) (int, netip.AddrPort, error) {
	fd, errno := loop.Socket(addr.Addr())
	if errno == unix.EAFNOSUPPORT && addr.Addr() == netip.IPv6Unspecified() {
		addr = netip.AddrPortFrom(netip.IPv4Unspecified(), addr.Port())
		fd, errno = loop.Socket(addr.Addr())
	}
	if errno != 0 {
		return -1, addr, fmt.Errorf("socket for %s: %w", addr, errno)
	}
	errs := []error{unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)}
	if share {
		errs = append(errs, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
	}
	for _, o := range inherited {
		errs = append(errs, unix.SetsockoptInt(fd, o.Level, o.Name, o.Value))
	}
	var sa unix.Sockaddr = &unix.SockaddrInet4{Port: int(addr.Port()), Addr: as4(addr.Addr())}
	if addr.Addr().Is6() {
		errs = append(errs, unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, v6Only(addr.Addr())))
		zone, errno := loop.ZoneID(fd, addr.Addr())
		if errno != 0 {
			errs = append(errs, fmt.Errorf("interface %s: %w", addr.Addr().Zone(), errno))
		}
		sa = &unix.SockaddrInet6{Port: int(addr.Port()), Addr: addr.Addr().As16(), ZoneId: zone}
	}
	errs = append(errs, unix.Bind(fd, sa))
	if err := errors.Join(errs...); err != nil {
		unix.Close(fd)
		return -1, addr, fmt.Errorf("bind %s: %w", addr, wayOut(err, addr))
	}
	if addr.Port() == 0 {
		addr = netip.AddrPortFrom(addr.Addr(), loop.LocalAddr(fd).Port())
	}
	return fd, addr, nil
}

// inherited are the options of client sockets: Linux copies them from the listening one, so that a new client costs no call for them.
// Urgent bytes are bytes like others (RFC 6093 section 5): taken out of their place they would be counted by the kernel and never read.
var inherited = append([]loop.Option{{Level: unix.IPPROTO_TCP, Name: unix.TCP_NODELAY, Value: 1}, {Level: unix.SOL_SOCKET, Name: unix.SO_OOBINLINE, Value: 1}},
	loop.Watchful[:]...)

func as4(a netip.Addr) (b [4]byte) {
	if a.Is4() {
		b = a.As4()
	}
	return b
}

// v6Only: only the address of all addresses takes IPv4 as well.
func v6Only(a netip.Addr) int {
	if a.IsUnspecified() {
		return 0
	}
	return 1
}

// wayOut adds to an error of the kernel what can be done about it.
func wayOut(err error, addr netip.AddrPort) error {
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return fmt.Errorf("%w: another program listens there; ss -ltnp 'sport = :%d' names it", err, addr.Port())
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return fmt.Errorf("%w: no interface of this machine has it; ip address lists those that there are", err)
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w: ports below 1024 need CAP_NET_BIND_SERVICE (AmbientCapabilities= of the unit)", err)
	}
	return err
}
