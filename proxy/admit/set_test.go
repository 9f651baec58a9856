package admit

import (
	"crypto/tls"
	"errors"
	"net"
	"testing"

	"github.com/ircferry/ircferry/internal/config"
)

// A set that was closed stays so: a reload that comes late must not let anybody in.
func TestClosedSetStaysClosed(t *testing.T) {
	h := newHouse(t, letGo)
	addr := h.mustListen("127.0.0.1:0", config.Listener{})
	applied := make(chan error)
	go func() { applied <- h.listen("127.0.0.2:0", config.Listener{}) }()
	h.Close()
	if err := <-applied; err != nil && !errors.Is(err, ErrClosed) {
		t.Errorf("a reload at the same time: %v", err)
	}
	for _, cs := range [][]config.Listener{{{Name: "irc", Address: "127.0.0.1:0"}}, nil} {
		if err := h.Apply(cs, nil); !errors.Is(err, ErrClosed) {
			t.Errorf("%d listeners after Close: %v, want ErrClosed", len(cs), err)
		}
	}
	h.Close()
	if addrs := h.Addrs(); len(addrs) > 0 {
		t.Errorf("listeners: %v", addrs)
	}
	if c, err := net.Dial("tcp", addr.String()); err == nil {
		c.Close()
		t.Error("a closed set accepts")
	}
}

// A listener with TLS and no certificate would let clients in whose handshake can only fail.
func TestListenerWithoutItsCertificateIsRefused(t *testing.T) {
	h := newHouse(t, nil)
	cs := []config.Listener{{Name: "ircs", Address: "127.0.0.1:0", TLS: &config.ListenerTLS{}}}
	if err := h.Apply(cs, nil); err == nil || len(h.Addrs()) > 0 {
		t.Errorf("%v, listeners %v", err, h.Addrs())
	}
	cfg := &tls.Config{}
	if err := h.Apply(cs, map[string]*tls.Config{"ircs": cfg}); err != nil {
		t.Fatal(err)
	}
	if l := h.listeners["127.0.0.1:0"]; l.TLS() != cfg {
		t.Error("clients shake hands with another configuration")
	}
}

// A reload changes the limits of a listener that stays, and what is told of it, for those who come from now on.
func TestReloadChangesAListenerThatStays(t *testing.T) {
	h := newHouse(t, nil)
	addr := h.mustListen("127.0.0.1:0", config.Listener{Limits: config.Limits{PerIP: 1}})
	first := h.come("127.0.0.1")
	if c := h.come("127.0.0.1"); c.Refusal != RefusedPerIP {
		t.Errorf("before: %v", c.Refusal)
	}
	if got := h.mustListen("127.0.0.1:0", config.Listener{Limits: config.Limits{PerIP: 2}, Pool: "other"}); got != addr {
		t.Errorf("the listener has moved from %s to %s", addr, got)
	}
	if c := h.come("127.0.0.1"); c.Refusal != Admitted {
		t.Errorf("after: %v", c.Refusal)
	}
	if pool := first.Token.Listener().Config().Pool; pool != "other" {
		t.Errorf("who is in is told of pool %q", pool)
	}
	for _, x := range h.loops {
		if x.Pauses() > 0 {
			t.Error("accept has rested")
		}
	}
}
