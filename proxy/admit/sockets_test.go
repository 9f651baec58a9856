package admit

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/internal/config"
	"github.com/ircferry/ircferry/proxy/loop"
)

func fromLoopback() *config.ProxyProtocol {
	return &config.ProxyProtocol{From: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}
}

// A client is handed over with who it is, where it came in, and what is still to come.
func TestClientIsHandedOverWithItsFacts(t *testing.T) {
	h := newHouse(t, nil)
	for _, c := range []struct {
		name, address, from string
		l                   config.Listener
		header              bool
	}{
		{"one address", "127.0.0.1:0", "127.0.0.5", config.Listener{}, false},
		{"all addresses", ":0", "127.0.0.5", config.Listener{}, false},
		{"of a balancer", "127.0.0.1:0", "127.0.0.1", config.Listener{ProxyProtocol: fromLoopback()}, true},
		{"of no balancer", "127.0.0.1:0", "127.0.0.5", config.Listener{ProxyProtocol: fromLoopback()}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), h.mustListen(c.address, c.l).Port())
			conn := dialFrom(t, c.from, to)
			got := h.next()
			if got.Refusal != Admitted || got.Header != c.header || got.Addr.String() != conn.LocalAddr().String() || got.Local != to {
				t.Errorf("%+v, connected from %s to %s", got, conn.LocalAddr(), to)
			}
			if l := got.Token.Listener(); l.Name() != "irc" || l.Config().Address != c.address || l.TLS() != nil || got.Token.Place().Owner() != "owner of irc" {
				t.Errorf("came in by %s, which is owned by %v", l.Name(), got.Token.Place().Owner())
			}
			got.Token.Release(got.Addr.Addr())
		})
	}
}

// Linux copies the options of the listening socket; if it did not, clients would have none of them.
func TestClientSocketsHaveTheirOptions(t *testing.T) {
	h := newHouse(t, nil)
	h.mustListen("127.0.0.1:0", config.Listener{})
	c := h.come("127.0.0.1")
	for _, o := range inherited {
		if v, err := unix.GetsockoptInt(c.FD, o.Level, o.Name); err != nil || v != o.Value {
			t.Errorf("option %d/%d is %d (%v), want %d", o.Level, o.Name, v, err, o.Value)
		}
	}
	if v, err := unix.GetsockoptInt(c.FD, unix.SOL_SOCKET, unix.SO_PROTOCOL); err != nil || v != unix.IPPROTO_TCP {
		t.Errorf("protocol %d (%v)", v, err)
	}
}

// While accept rests clients wait in the kernel's queue, and come in when it goes on by itself.
func TestClientsWaitWhileAcceptRests(t *testing.T) {
	h := newHouse(t, nil)
	addr := h.mustListen("127.0.0.1:0", config.Listener{})
	h.take = func(c Client) {
		if h.loops[0].Paused() && h.loops[1].Paused() {
			t.Error("a client came in while accept rests")
		}
		h.clients <- c
	}
	slot := h.listeners["127.0.0.1:0"].slot
	h.onAll(func(x *Sockets) { x.Pause() })
	dialFrom(t, "127.0.0.1", addr)
	h.onAll(func(x *Sockets) { x.Accept(x.key(slot)) }) // an event of the same turn
	h.next()
	for _, x := range h.loops {
		if x.Pauses() != 1 {
			t.Errorf("rested %d times", x.Pauses())
		}
	}
}

// Who has connected to a listener that goes is taken in before it is closed.
func TestListenerThatGoesTakesItsQueueIn(t *testing.T) {
	h := newHouse(t, nil)
	addr := h.mustListen("127.0.0.1:0", config.Listener{})
	h.onAll(func(x *Sockets) { x.Pause() })
	const n = 100
	for range n {
		dialFrom(t, "127.0.0.1", addr)
	}
	if err := h.Apply(nil, nil); err != nil {
		t.Fatal(err)
	}
	if len(h.clients) != n { // Apply waits for the loops
		t.Errorf("%d of %d were taken in", len(h.clients), n)
	}
	for range n {
		h.next()
	}
	h.onAll(func(x *Sockets) {
		if len(x.open) > 0 {
			t.Error("a loop still knows its socket, whose descriptor may be another's by now")
		}
	})
}

// A socket may live on in another process when its listener goes: its events are not ours any more.
func TestListenerThatGoesIsNotWatched(t *testing.T) {
	h := newHouse(t, nil)
	addr := h.mustListen("127.0.0.1:0", config.Listener{})
	for _, fd := range h.listeners["127.0.0.1:0"].fds {
		other, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { loop.Close(other) })
	}
	if err := h.Apply(nil, nil); err != nil {
		t.Fatal(err)
	}
	before := h.events.Load()
	dialFrom(t, "127.0.0.1", addr)
	for range 2 {
		h.onAll(func(*Sockets) {})
	}
	if n := h.events.Load() - before; n > 0 {
		t.Errorf("%d events", n)
	}
}

// A client costs no memory of the Go heap on its way in: neither one that comes straight nor one of a balancer's.
func TestAcceptAllocatesNothing(t *testing.T) {
	h := newHouse(t, nil)
	limits := config.Limits{Connections: 1000, PerIP: 1000, PerIPRate: config.Rate{N: 1 << 20, Per: time.Hour}}
	for name, l := range map[string]config.Listener{"straight": {Limits: limits}, "balancer": {Limits: limits, ProxyProtocol: fromLoopback()}} {
		to := h.mustListen("127.0.0.1:0", l)
		lst := h.listeners["127.0.0.1:0"]
		h.onAll(func(x *Sockets) {
			x.loop.Unwatch(lst.fds[0]) // the test accepts itself
			x.loop.Unwatch(lst.fds[1])
		})
		taken := 0
		x := &Sockets{take: func(c Client) { taken++; letGo(c) }}
		sa := &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
		allocs := testing.AllocsPerRun(50, func() {
			fd, errno := loop.Socket(to.Addr())
			if errno != 0 {
				t.Fatal(errno)
			}
			if err := unix.Connect(fd, sa); err != nil && err != unix.EINPROGRESS {
				t.Fatal(err)
			}
			for _, own := range lst.fds {
				x.acceptSome(&socket{fd: own, lst: lst}, acceptBatch)
			}
			loop.Close(fd)
		})
		if allocs > 0 || taken < 50 {
			t.Errorf("%s: %v allocations for each of %d clients", name, allocs, taken)
		}
	}
}
