package cluster

import (
	"log"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

// maxStreams bounds the connections of the gossip that are open at once. Who has opened one may say nothing for streamTime.
const maxStreams = 64

// gate is memberlist's own transport, but that it lets in only who is in a network of allow, so many streams at a time, and knows which are open:
// memberlist compares networks with what a member says of itself, and does not wait for its streams.
type gate struct {
	*memberlist.NetTransport
	allow   *allowed
	refused *refusals
	drop    atomic.Pointer[func() bool] // a test's network loses the packets for which it is true; nil: none

	packets chan *memberlist.Packet
	streams chan net.Conn
	done    chan struct{}
	pumped  sync.WaitGroup

	mu     sync.Mutex
	open   map[*stream]struct{}
	closed bool
}

// allowed is the networks of allow, which a reload changes.
type allowed struct {
	nets atomic.Pointer[[]netip.Prefix]
}

func (a *allowed) set(nets []netip.Prefix) { a.nets.Store(&nets) }

func (a *allowed) has(addr netip.Addr) bool {
	nets := *a.nets.Load()
	addr = addr.Unmap().WithZone("")
	for _, n := range nets {
		if n.Contains(addr) {
			return true
		}
	}
	return len(nets) == 0
}

func newGate(bind netip.AddrPort, allow *allowed, refused *refusals, log *log.Logger) (*gate, error) {
	inner, err := memberlist.NewNetTransport(&memberlist.NetTransportConfig{BindAddrs: []string{bind.Addr().String()}, BindPort: int(bind.Port()), Logger: log})
	if err != nil {
		return nil, err
	}
	g := &gate{NetTransport: inner, allow: allow, refused: refused, packets: make(chan *memberlist.Packet), streams: make(chan net.Conn),
		done: make(chan struct{}), open: map[*stream]struct{}{}}
	g.pumped.Go(g.pump)
	return g, nil
}

// pump lets packets and streams in until the gate is shut, and then drops what is still to come, so that nobody waits to hand it over.
func (g *gate) pump() {
	for {
		select {
		case p := <-g.NetTransport.PacketCh():
			if lose := g.drop.Load(); !g.lets(p.From) || lose != nil && (*lose)() {
				continue
			}
			select {
			case g.packets <- p:
			case <-g.done:
				return
			}
		case c := <-g.NetTransport.StreamCh():
			s := g.admit(c)
			if s == nil {
				c.Close()
				continue
			}
			select {
			case g.streams <- s:
			case <-g.done:
				s.Close()
				return
			}
		case <-g.done:
			return
		}
	}
}

func (g *gate) lets(from net.Addr) bool {
	a, err := netip.ParseAddrPort(from.String())
	if err == nil && g.allow.has(a.Addr()) {
		return true
	}
	g.refused.note(RefusedNetwork, from.String(), "its address is in no network of cluster.allow")
	return false
}

// admit is nil for a stream that is not let in.
func (g *gate) admit(c net.Conn) *stream {
	if !g.lets(c.RemoteAddr()) {
		return nil
	}
	s, full := g.track(c, true)
	if full {
		g.refused.note(RefusedMany, c.RemoteAddr().String(), "too many connections of the gossip are open")
	}
	return s
}

// track keeps a stream among the open ones; nil: the gate is shut, or has too many that others have opened.
func (g *gate) track(c net.Conn, bounded bool) (s *stream, full bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed || bounded && len(g.open) >= maxStreams {
		return nil, !g.closed
	}
	s = &stream{Conn: c, gate: g}
	g.open[s] = struct{}{}
	return s, false
}

// PacketCh and the following implement memberlist.NodeAwareTransport.
func (g *gate) PacketCh() <-chan *memberlist.Packet { return g.packets }

func (g *gate) StreamCh() <-chan net.Conn { return g.streams }

func (g *gate) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	c, err := g.NetTransport.DialAddressTimeout(a, timeout)
	if err != nil {
		return nil, err
	}
	s, _ := g.track(c, false)
	if s == nil {
		c.Close()
		return nil, net.ErrClosed
	}
	return s, nil
}

// Shutdown closes the sockets and all streams, so that whoever reads one ends.
func (g *gate) Shutdown() error {
	g.mu.Lock()
	open := g.open
	first := !g.closed
	g.open, g.closed = map[*stream]struct{}{}, true
	g.mu.Unlock()
	if first {
		drained := make(chan struct{})
		go func() { // the inner transport waits until what it has read is taken
			defer close(drained)
			g.NetTransport.Shutdown() //nolint:errcheck // it has no error
		}()
		g.drain(drained)
		close(g.done)
	}
	g.pumped.Wait()
	for s := range open {
		s.Conn.Close()
	}
	return nil
}

func (g *gate) drain(until <-chan struct{}) {
	for {
		select {
		case <-g.NetTransport.PacketCh():
		case c := <-g.NetTransport.StreamCh():
			c.Close()
		case <-until:
			return
		}
	}
}

// stream is a connection of the gossip.
type stream struct {
	net.Conn
	gate *gate
}

func (s *stream) Close() error {
	s.gate.mu.Lock()
	delete(s.gate.open, s)
	s.gate.mu.Unlock()
	return s.Conn.Close()
}
