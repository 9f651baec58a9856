package proxy

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
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

// A reload may move a listener to an address that shares some with its old one: who is in stays. That nobody who comes meanwhile is
// turned away is a test of package admit.
func TestSessionsStayWhenTheirListenerMoves(t *testing.T) {
	r, d, port := everywhere(t, config.Listener{})
	ann, server := r.joined(d, "ann")
	for _, to := range []string{"127.0.0.1", ""} {
		if err := listenAt(r, fmt.Sprintf("%s:%d", to, port), config.Listener{}); err != nil {
			t.Fatalf("to %q: %v", to, err)
		}
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			t.Fatalf("at %q: %v", to, err)
		}
		c.Close()
	}
	ann.send("PRIVMSG #x :a\r\n")
	server.expect("PRIVMSG #x :a\r\n")
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

// After CloseAll nobody may come in, whatever a reload wants that comes in between it and Close.
func TestListenersStayClosedAfterCloseAll(t *testing.T) {
	r, _ := relay(t, config.Listener{})
	if err := r.CloseAll(ctxOf(t), "bye"); err != nil {
		t.Fatal(err)
	}
	if err := listenAt(r, "127.0.0.1:0", config.Listener{}); !errors.Is(err, ErrClosed) {
		t.Errorf("a reload after CloseAll answers %v, want ErrClosed", err)
	}
	if addrs := r.Addrs(); len(addrs) > 0 {
		t.Errorf("there are listeners: %v", addrs)
	}
}
