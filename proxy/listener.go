package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/internal/config"
	"github.com/ircferry/ircferry/proxy/loop"
)

// listener is a place where clients come in: one socket for each event loop, on one address.
type listener struct {
	slot   uint32
	conf   atomic.Pointer[config.Listener]
	addr   netip.AddrPort
	fds    []int // by worker; each belongs to its worker once it is posted
	limits *limiter
	tally  atomic.Pointer[tally]      // of its name
	tls    atomic.Pointer[tls.Config] // nil: plaintext
}

func (l *listener) name() string { return l.conf.Load().Name }

// localAddr is the address that the client reached.
func (l *listener) localAddr(fd int) netip.AddrPort {
	if l.addr.Addr().IsUnspecified() {
		return loop.LocalAddr(fd)
	}
	return l.addr
}

// SetListeners makes cs the listeners, at start and at each reload: all of them or, with an error, no change. A listener whose address
// stays keeps its sockets, and those that go are emptied before they are closed. Sessions stay in any case. A listener whose name has an entry in
// secure shakes hands with it (handshake.ServerConfig); the others are plaintext.
func (p *Proxy) SetListeners(cs []config.Listener, secure map[string]*tls.Config) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		if len(cs) == 0 {
			return nil
		}
		return ErrClosed
	}
	for _, c := range cs {
		if c.TLS != nil && secure[c.Name] == nil {
			return fmt.Errorf("listener %s: tls is configured and there is no certificate for it", c.Name)
		}
	}
	next, fresh, err := p.bindMissing(cs)
	if err != nil {
		return err
	}
	// Nothing can fail from here on.
	for _, c := range cs {
		l := next[c.Address]
		l.limits.set(c.Limits, time.Now())
		l.conf.Store(&c)
		l.tls.Store(secure[c.Name])
		l.tally.Store(p.tallyLocked(c.Name))
	}
	gone := p.listeners
	p.listeners = next
	for _, l := range fresh {
		for i, w := range p.workers {
			w.loop.Post(func() { w.addListener(l.slot, &accepting{l.fds[i], l}) })
		}
	}
	for address, l := range gone {
		if next[address] == nil {
			p.onAll(context.Background(), func(w *worker) { w.removeListener(l.slot) })
		}
	}
	return nil
}

// bindMissing finds or makes the listeners of cs, by configured address; fresh are those that it has made. With an error there are none.
func (p *Proxy) bindMissing(cs []config.Listener) (next map[string]*listener, fresh []*listener, err error) {
	next = map[string]*listener{}
	defer func() {
		if err != nil {
			p.closeFresh(fresh)
		}
	}()
	for _, c := range cs {
		if next[c.Address] != nil {
			return nil, fresh, fmt.Errorf("listener %s: address %s is used twice", c.Name, c.Address)
		}
		l := p.listeners[c.Address]
		if l == nil {
			if l, err = p.bind(c); err != nil {
				return nil, fresh, fmt.Errorf("listener %s: %w", c.Name, err)
			}
			fresh = append(fresh, l)
		}
		next[c.Address] = l
	}
	return next, fresh, nil
}

func (p *Proxy) closeFresh(ls []*listener) {
	for _, l := range ls {
		for _, fd := range l.fds {
			unix.Close(fd)
		}
	}
}

// bind makes the sockets of a listener, with the first of them alone on its address for a moment: with SO_REUSEPORT a second daemon
// would be let in beside us without a word.
func (p *Proxy) bind(c config.Listener) (*listener, error) {
	addr, err := resolve(c.Address)
	if err != nil {
		return nil, err
	}
	probe, addr, err := bindSocket(addr, false)
	if err != nil {
		return nil, err
	}
	unix.Close(probe)
	p.nextSlot++
	l := &listener{slot: p.nextSlot, addr: addr, limits: newLimiter(c.Limits)}
	l.conf.Store(&c)
	for range p.workers {
		fd, _, err := bindSocket(addr, true)
		if err == nil {
			// All that is in the queue when we are restarted slowly counts; the kernel caps it at net.core.somaxconn.
			err = unix.Listen(fd, 65535)
		}
		if err != nil {
			p.closeFresh([]*listener{l})
			return nil, fmt.Errorf("listen on %s: %w", addr, err)
		}
		l.fds = append(l.fds, fd)
	}
	return l, nil
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
		errs = append(errs, unix.SetsockoptInt(fd, o.level, o.name, o.value))
	}
	var sa unix.Sockaddr = &unix.SockaddrInet4{Port: int(addr.Port()), Addr: as4(addr.Addr())}
	if addr.Addr().Is6() {
		errs = append(errs, unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, v6Only(addr.Addr())))
		sa = &unix.SockaddrInet6{Port: int(addr.Port()), Addr: addr.Addr().As16()}
	}
	errs = append(errs, unix.Bind(fd, sa))
	if err := errors.Join(errs...); err != nil {
		unix.Close(fd)
		return -1, addr, fmt.Errorf("bind %s: %w", addr, err)
	}
	if addr.Port() == 0 {
		addr = netip.AddrPortFrom(addr.Addr(), loop.LocalAddr(fd).Port())
	}
	return fd, addr, nil
}

// inherited are the options of client sockets: Linux copies them from the listening one, so that a new client costs no call
// for them. A client's host that is silent is asked after two minutes and given up after five; the user timeout counts also for
// one that lives and does not read.
var inherited = []struct{ level, name, value int }{
	{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
	{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
	{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 120},
	{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 30},
	{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 6},
	{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 300_000},
}

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

// Addrs tells where each listener, by name, is bound.
func (p *Proxy) Addrs() map[string][]net.Addr {
	p.mu.Lock()
	defer p.mu.Unlock()
	addrs := map[string][]net.Addr{}
	for _, l := range p.listeners {
		addrs[l.name()] = append(addrs[l.name()], net.TCPAddrFromAddrPort(l.addr))
	}
	return addrs
}

// trusted reports whether a peer is one that must send a PROXY header.
func trusted(c *config.Listener, addr netip.Addr) bool {
	for _, from := range c.ProxyProtocol.From {
		if from.Contains(addr.Unmap()) {
			return true
		}
	}
	return false
}
