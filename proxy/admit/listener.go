package admit

import (
	"crypto/tls"
	"net/netip"
	"sync/atomic"

	"github.com/ircferry/ircferry/internal/config"
	"github.com/ircferry/ircferry/proxy/loop"
)

// Listener is a place where clients come in: one socket for each event loop, on one address. Any goroutine may call its methods.
type Listener struct {
	slot   uint32
	place  atomic.Pointer[Place]
	addr   netip.AddrPort
	fds    []int // by loop; each belongs to its loop once it is posted
	limits *limiter
	tls    atomic.Pointer[tls.Config]
}

// Place is a listener as it is configured. A reload that changes it replaces it whole; clients keep the one that they came in by, for their counts.
type Place struct {
	config   config.Listener
	listener *Listener
	owner    any // of the name, see NewSet
	id       uint32
}

// Config is the listener as it is configured now. It must not be changed.
func (l *Listener) Config() *config.Listener { return &l.place.Load().config }

// Name is the listener's name as it is configured now.
func (l *Listener) Name() string { return l.place.Load().config.Name }

// TLS is what clients of this listener shake hands with from now on; nil: they come in plaintext.
func (l *Listener) TLS() *tls.Config { return l.tls.Load() }

// localAddr is the address that the client reached.
func (l *Listener) localAddr(fd int) netip.AddrPort {
	if l.addr.Addr().IsUnspecified() {
		return loop.LocalAddr(fd)
	}
	return l.addr
}

// trusts reports whether a peer is one that must send a PROXY header.
func (p *Place) trusts(addr netip.Addr) bool {
	if p.config.ProxyProtocol == nil {
		return false
	}
	for _, from := range p.config.ProxyProtocol.From {
		if from.Contains(addr.Unmap()) {
			return true
		}
	}
	return false
}
