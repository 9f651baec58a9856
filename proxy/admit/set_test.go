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
