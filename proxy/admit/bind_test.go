package admit

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/internal/config"
	"github.com/ircferry/ircferry/proxy/loop"
)

// A listener may move to an address that shares some with its old one: nobody who comes meanwhile is turned away.
func TestListenerMovesToAnAddressThatOverlaps(t *testing.T) {
	h := newHouse(t, letGo)
	port := h.everywhere()
	here := fmt.Sprintf("127.0.0.1:%d", port)
	stop, stop2 := storm(here), storm(here)
	for _, to := range []string{"127.0.0.1", "", "0.0.0.0", "127.0.0.1", "0.0.0.0", "127.0.0.1", ""} {
		if err := h.listen(fmt.Sprintf("%s:%d", to, port), config.Listener{}); err != nil {
			t.Fatalf("to %q: %v", to, err)
		}
		c, err := net.Dial("tcp", here)
		if err != nil {
			t.Fatalf("at %q: %v", to, err)
		}
		c.Close()
		elsewhere, err := net.Dial("tcp", fmt.Sprintf("127.0.0.2:%d", port))
		if err == nil {
			elsewhere.Close()
		}
		if want := to != "127.0.0.1"; (err == nil) != want {
			t.Errorf("at %q 127.0.0.2 answers: %v, want %v", to, err == nil, want)
		}
	}
	for _, stop := range []func() (int, error){stop, stop2} {
		if n, err := stop(); err != nil {
			t.Errorf("after %d clients: %v", n, err)
		}
	}
}

// Who has begun a handshake with a listener that goes has a round trip to end it.
func TestListenerThatMovesWaitsForHandshakes(t *testing.T) {
	h := newHouse(t, nil)
	port := h.everywhere()
	begin := time.Now()
	if err := h.listen(fmt.Sprintf("127.0.0.1:%d", port), config.Listener{}); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took < handOverTime {
		t.Errorf("the old socket was closed after %v", took)
	}
}

// An address that is only written otherwise keeps its sockets, and with them who is in their queues.
func TestListenerOfTheSameAddressStays(t *testing.T) {
	h := newHouse(t, nil)
	port := h.everywhere()
	before := h.sockets()
	if err := h.listen(fmt.Sprintf("[::]:%d", port), config.Listener{}); err != nil {
		t.Fatal(err)
	}
	if after := h.sockets(); after != before {
		t.Errorf("sockets %v, before %v", after, before)
	}
}

// What cannot be bound changes nothing, says what is in the way, and takes no client from those who listen.
func TestListenerThatCannotBeBound(t *testing.T) {
	h := newHouse(t, letGo)
	port := h.everywhere()
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	here := fmt.Sprintf("127.0.0.1:%d", port)
	for _, c := range []struct{ name, address, want string }{
		{"taken by a stranger", other.Addr().String(), "another program listens there"},
		{"not an address of ours", "192.0.2.1:1", "no interface of this machine has it"},
		{"shared in one configuration", fmt.Sprintf("localhost:%d", port), "with another listener"},
		{"twice in one configuration", here, "is used twice"},
		{"not an interface", "[fe80::1%nosuch0]:1", "interface nosuch0"},
		{"no address at all", "127.0.0.1:70000", "listener bad: address 127.0.0.1:70000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			stop := storm(here)
			err := h.Apply([]config.Listener{{Name: "irc", Address: here}, {Name: "bad", Address: c.address}}, nil)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
			if n, err := stop(); err != nil {
				t.Errorf("after %d clients: %v", n, err)
			}
			if got := h.addr(); !got.Addr().IsUnspecified() {
				t.Errorf("the listener has moved to %s", got)
			}
		})
	}
}

// A configuration that is refused keeps nothing of what it had bound before.
func TestRefusedConfigurationGivesItsAddressesBack(t *testing.T) {
	h := newHouse(t, nil)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	good := netip.MustParseAddrPort(free.Addr().String())
	free.Close()
	if err := h.Apply([]config.Listener{{Name: "irc", Address: good.String()}, {Name: "bad", Address: "192.0.2.1:1"}}, nil); err == nil {
		t.Fatal("an address that is not ours was bound")
	}
	again, errno := loop.Socket(good.Addr()) // net.Listen would share it
	if errno != 0 {
		t.Fatal(errno)
	}
	defer loop.Close(again)
	if err := unix.Bind(again, &unix.SockaddrInet4{Port: int(good.Port()), Addr: good.Addr().As4()}); err != nil {
		t.Errorf("the address that could be bound is not free: %v", err)
	}
}

// A second daemon must not be let in beside us in silence.
func TestAddressInUseIsAnError(t *testing.T) {
	h, other := newHouse(t, nil), newHouse(t, nil)
	addr := h.mustListen("127.0.0.1:0", config.Listener{})
	if err := other.listen(addr.String(), config.Listener{}); err == nil {
		t.Fatal("a second daemon listens on the same address")
	}
}

func TestOverlap(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"127.0.0.1:1", "127.0.0.1:1", true},
		{"127.0.0.1:1", "127.0.0.1:2", false},
		{"127.0.0.1:1", "127.0.0.2:1", false},
		{"0.0.0.0:1", "127.0.0.1:1", true},
		{"[::]:1", "127.0.0.1:1", true},
		{"[::]:1", "0.0.0.0:1", true},
		{"[::]:1", "[::1]:1", true},
		{"0.0.0.0:1", "[::1]:1", false},
		{"[::]:0", "127.0.0.1:0", false},
	} {
		a, b := netip.MustParseAddrPort(c.a), netip.MustParseAddrPort(c.b)
		if overlap(a, b) != c.want || overlap(b, a) != c.want {
			t.Errorf("%s and %s: want %v", a, b, c.want)
		}
	}
}
