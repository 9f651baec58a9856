package admit

import (
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ircferry/ircferry/internal/config"
	"github.com/ircferry/ircferry/proxy/loop"
)

// patience bounds every single wait; nothing takes a fraction of it unless it is broken, or the machine is very busy.
const patience = 30 * time.Second

// house is a Set on loops of its own. Who comes in is sent to clients, with its connection open, or is let go by take.
type house struct {
	*Set
	t       testing.TB
	clients chan Client
	take    func(Client) // nil: to clients
	events  atomic.Int64 // of all sockets
	rests   atomic.Int64 // whose time was over
}

// handler is the owner of one loop.
type handler struct {
	h       *house
	loop    *loop.Loop
	sockets *Sockets
}

func (x *handler) Ready(k loop.Key, _ loop.Events) {
	x.h.events.Add(1)
	x.sockets.Accept(k)
}
func (x *handler) Expired(loop.Key) {
	x.h.rests.Add(1)
	x.sockets.Resume()
}
func (x *handler) TurnOver() {}
func (x *handler) Panicked(_ loop.Key, v any, stack []byte) {
	x.h.t.Errorf("panic in the loop: %v\n%s", v, stack)
}

func newHouse(t testing.TB, take func(Client)) *house {
	t.Helper()
	h := &house{t: t, clients: make(chan Client, 1<<16), take: take}
	var all []*Sockets
	for range 2 {
		x := &handler{h: h}
		l, err := loop.New(x)
		if err != nil {
			t.Fatal(err)
		}
		x.loop, x.sockets = l, NewSockets(l, 7, h.arrived)
		all = append(all, x.sockets)
		go l.Run()
		t.Cleanup(func() { l.Stop(); <-l.Done() })
	}
	h.Set = NewSet(all, func(name string) any { return "owner of " + name })
	t.Cleanup(h.Close)
	return h
}

func (h *house) arrived(c Client) {
	if h.take != nil {
		h.take(c)
		return
	}
	h.clients <- c
}

// letGo is a take that ends every client at once.
func letGo(c Client) {
	c.Token.Release(c.Addr.Addr())
	loop.Close(c.FD)
}

func (h *house) listen(address string, l config.Listener) error {
	l.Name, l.Address = "irc", address
	return h.Apply([]config.Listener{l}, nil)
}

func (h *house) mustListen(address string, l config.Listener) netip.AddrPort {
	h.t.Helper()
	if err := h.listen(address, l); err != nil {
		h.t.Fatal(err)
	}
	return h.addr()
}

func (h *house) addr() netip.AddrPort {
	h.t.Helper()
	return netip.MustParseAddrPort(h.Addrs()["irc"][0].String())
}

// everywhere listens on all addresses, on this port.
func (h *house) everywhere() uint16 { return h.mustListen(":0", config.Listener{}).Port() }

func (h *house) next() Client {
	h.t.Helper()
	select {
	case c := <-h.clients:
		h.t.Cleanup(func() { loop.Close(c.FD) })
		return c
	case <-time.After(patience):
		h.t.Fatal("no client came in")
		return Client{}
	}
}

// eventually waits for something that has no event of its own.
func (h *house) eventually(what string, ok func() bool) {
	h.t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			h.t.Fatalf("no %s", what)
		}
	}
}

// dialFrom connects from one of our own addresses.
func dialFrom(t testing.TB, from string, to netip.AddrPort) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: patience}
	c, err := d.Dial("tcp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// come is a client from an address, as it was handed over.
func (h *house) come(from string) Client {
	h.t.Helper()
	dialFrom(h.t, from, h.addr())
	return h.next()
}

// storm connects without a pause until stop is called, which answers how many got in and the first that did not.
func storm(address string) (stop func() (int, error)) {
	end, ended := make(chan struct{}), make(chan error)
	n := 0
	go func() {
		for {
			select {
			case <-end:
				ended <- nil
				return
			default:
			}
			c, err := net.Dial("tcp", address)
			if err == nil {
				_, err = c.Write([]byte("NICK x\r\n")) // a reset would be told by now
				c.Close()
			}
			if err != nil {
				<-end
				ended <- err
				return
			}
			n++
		}
	}()
	return func() (int, error) { close(end); return n, <-ended }
}

// sockets are the descriptors of all listeners.
func (h *house) sockets() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []int
	for _, l := range h.listeners {
		all = append(all, l.fds...)
	}
	return fmt.Sprint(all)
}
