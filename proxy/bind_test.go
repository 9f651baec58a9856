package proxy

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/ircferry/ircferry/internal/config"
)

// everywhere is a rig whose listener is on all addresses, and its port.
func everywhere(t *testing.T, l config.Listener) (*rig, *ircd, uint16) {
	t.Helper()
	plaintextOnly(t)
	l.Address = ":0"
	r, d := relay(t, l)
	return r, d, netip.MustParseAddrPort(r.addr()).Port()
}

func listenAt(r *rig, address string, l config.Listener) error {
	l.Name, l.Address, l.Pool = "irc", address, "main"
	return r.SetListeners([]config.Listener{l}, nil)
}

// clients connects without a pause until stop is called, which answers how many got in and the first that did not.
func clients(address string) (stop func() (int, error)) {
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

// A reload may move a listener to an address that shares some with its old one: who is in stays, and nobody who comes meanwhile is
// turned away.
func TestListenerMovesToAnAddressThatOverlaps(t *testing.T) {
	r, d, port := everywhere(t, config.Listener{})
	ann, server := r.joined(d, "ann")
	here := fmt.Sprintf("127.0.0.1:%d", port)
	stop, stop2 := clients(here), clients(here)
	for _, to := range []string{"127.0.0.1", "", "0.0.0.0", "127.0.0.1", "0.0.0.0", "127.0.0.1", ""} {
		if err := listenAt(r, fmt.Sprintf("%s:%d", to, port), config.Listener{}); err != nil {
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
	ann.send("PRIVMSG #x :a\r\n")
	server.expect("PRIVMSG #x :a\r\n")
}

// An address that is only written otherwise keeps its sockets, and with them who is in their queues.
func TestListenerOfTheSameAddressStays(t *testing.T) {
	r, _, port := everywhere(t, config.Listener{})
	var before []int
	for _, l := range r.listeners {
		before = l.fds
	}
	if err := listenAt(r, fmt.Sprintf("[::]:%d", port), config.Listener{}); err != nil {
		t.Fatal(err)
	}
	for _, l := range r.listeners {
		if fmt.Sprint(l.fds) != fmt.Sprint(before) {
			t.Errorf("sockets %v, before %v", l.fds, before)
		}
	}
}

// Who is in counts against the limits of the listener after it has moved, and is given back when he leaves.
func TestLimitsGoOnWhenAListenerMoves(t *testing.T) {
	one := config.Listener{Limits: config.Limits{PerIP: 1}}
	r, d, port := everywhere(t, one)
	ann, server := r.joined(d, "ann")
	if err := listenAt(r, fmt.Sprintf("127.0.0.1:%d", port), one); err != nil {
		t.Fatal(err)
	}
	r.dial()
	r.ended("limit_per_ip")
	ann.Close()
	server.expectEnd()
	server.Close()
	r.ended("client_closed")
	r.joined(d, "bob")
}

// What cannot be bound changes nothing, says what is in the way, and takes no client from those who listen.
func TestListenerThatCannotBeBound(t *testing.T) {
	r, _, port := everywhere(t, config.Listener{})
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
	} {
		t.Run(c.name, func(t *testing.T) {
			stop := clients(here)
			err := r.SetListeners([]config.Listener{{Name: "irc", Address: here, Pool: "main"}, {Name: "bad", Address: c.address, Pool: "main"}}, nil)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
			if n, err := stop(); err != nil {
				t.Errorf("after %d clients: %v", n, err)
			}
			if got := netip.MustParseAddrPort(r.addr()); !got.Addr().IsUnspecified() {
				t.Errorf("the listener has moved to %s", got)
			}
		})
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
