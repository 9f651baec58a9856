package proxy

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"slices"
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
// stays keeps its sockets, also if it is written otherwise now. One that moves to an address that shares some with those of before is bound
// beside them, so that at no moment nobody listens; those that go are emptied before they are closed. Sessions stay in any case. A
// listener whose name has an entry in secure shakes hands with it (handshake.ServerConfig); the others are plaintext.
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
	next, fresh, err := p.planLocked(cs)
	if err == nil {
		err = p.openLocked(next, fresh)
	}
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
	gone := leaving(p.listeners, next)
	p.listeners = next
	for _, l := range fresh {
		for i, w := range p.workers {
			w.loop.Post(func() { w.addListener(l.slot, &accepting{fd: l.fds[i], lst: l}) })
		}
	}
	p.handOver(gone, fresh)
	for _, l := range gone {
		p.onAll(context.Background(), func(w *worker) { w.removeListener(l.slot) })
	}
	return nil
}

// handOverTime is what a client has to end its TCP handshake with a listener that goes: a round trip around the world.
const handOverTime = 300 * time.Millisecond

// handOver lets nobody begin with a listener that goes and whose clients a fresh one has from now on, and waits for those who have begun. A SYN
// that is dropped meanwhile comes again after a second, and finds the fresh one.
func (p *Proxy) handOver(gone, fresh []*listener) {
	begun := false
	for _, l := range gone {
		if slices.ContainsFunc(fresh, func(f *listener) bool { return overlap(l.addr, f.addr) }) {
			begun = true
			p.onAll(context.Background(), func(w *worker) { w.deafenListener(l.slot) })
		}
	}
	if begun {
		time.Sleep(handOverTime)
	}
}

// planLocked finds the listener of each configured address: one that runs there, or a fresh one that is not bound yet.
func (p *Proxy) planLocked(cs []config.Listener) (next map[string]*listener, fresh []*listener, err error) {
	next = map[string]*listener{}
	for _, c := range cs {
		if next[c.Address] != nil {
			return nil, nil, fmt.Errorf("listener %s: address %s is used twice", c.Name, c.Address)
		}
		l := p.listeners[c.Address]
		if l == nil {
			addr, err := resolve(c.Address)
			if err != nil {
				return nil, nil, fmt.Errorf("listener %s: %w", c.Name, err)
			}
			if l = p.boundLocked(addr); l == nil {
				l = &listener{addr: addr}
				l.conf.Store(&c)
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
func (p *Proxy) boundLocked(addr netip.AddrPort) *listener {
	for _, l := range p.listeners {
		if addr.Port() != 0 && l.addr == addr {
			return l
		}
	}
	return nil
}

// openLocked binds the fresh listeners of next, and lets them listen when all are bound: until then no client is theirs to lose.
func (p *Proxy) openLocked(next map[string]*listener, fresh []*listener) (err error) {
	gone := leaving(p.listeners, next)
	defer func() {
		if err != nil {
			p.closeFresh(fresh)
		}
	}()
	for _, l := range fresh {
		name := l.conf.Load().Name
		l.limits = newLimiter(l.conf.Load().Limits)
		for _, old := range gone {
			if old.name() == name {
				l.limits = old.limits // who is in goes on to count
			}
		}
		if err := p.bind(l, gone); err != nil {
			return fmt.Errorf("listener %s: %w", name, err)
		}
	}
	for _, l := range fresh {
		for _, fd := range l.fds {
			// All that is in the queue when we are restarted slowly counts; the kernel caps it at net.core.somaxconn.
			if err := unix.Listen(fd, 65535); err != nil {
				return fmt.Errorf("listener %s: listen on %s: %w", l.name(), l.addr, wayOut(err, l.addr))
			}
		}
	}
	return nil
}

// leaving are the listeners of now that are not among those of next.
func leaving(now, next map[string]*listener) (gone []*listener) {
	kept := map[*listener]bool{}
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

func (p *Proxy) closeFresh(ls []*listener) {
	for _, l := range ls {
		for _, fd := range l.fds {
			unix.Close(fd)
		}
	}
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
