package ircd

import (
	"crypto/tls"
	"strings"
	"testing"

	"github.com/ircferry/ircferry/handoff/protocol"
	"github.com/ircferry/ircferry/internal/certs/certtest"
)

// Control over TCP with mutual TLS: who is known is let in, and a whole move goes over it.
func TestHandoffOverMutualTLS(t *testing.T) {
	server, ferryPair := certtest.SelfSigned(t, certtest.Options{}), certtest.SelfSigned(t, certtest.Options{})
	dialer := protocol.Dialer{TLS: &tls.Config{RootCAs: server.Roots(), ServerName: "irc.test", Certificates: []tls.Certificate{ferryPair.Cert}}}
	newSecureShip := func() *ship {
		srv, _ := startServer(t, Config{Name: "irc.test"})
		h, err := srv.StartHandoff(HandoffConfig{Control: "tcp:127.0.0.1:0", TLS: protocol.ServerTLS(server.Cert, ferryPair.Roots())})
		if err != nil {
			t.Fatal(err)
		}
		s := &ship{t: t, srv: srv, handoff: h}
		if s.c, err = dialer.Dial(t.Context(), h.Address()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.c.Close() })
		if s.hello, err = s.c.Hello(t.Context(), protocol.Hello{Name: coordinatorName}); err != nil {
			t.Fatal(err)
		}
		return s
	}
	a, b := newSecureShip(), newSecureShip()
	f := newFerry(t, a)
	alice := f.user("alice")
	whois := strings.Join([]string{alice.Ask("WHOIS alice"), alice.Ask("MODE alice")}, "")
	for _, want := range []string{" 671 alice alice :is using a secure connection [TLSv1.3/TLS_AES_128_GCM_SHA256]", " 276 alice alice :has client certificate fingerprint abcd"} {
		if !strings.Contains(whois, want) {
			t.Errorf("got  %s\nwant %s", whois, want)
		}
	}
	f.newMove(a, b).run()
	if moved := alice.Ask("WHOIS alice") + alice.Ask("MODE alice"); idleSeconds.ReplaceAllString(moved, "$1") != idleSeconds.ReplaceAllString(whois, "$1") {
		t.Errorf("got  %s\nwant %s", moved, whois)
	}

	for name, certs := range map[string][]tls.Certificate{"nobody": nil, "a stranger": {certtest.SelfSigned(t, certtest.Options{}).Cert}} {
		stranger := protocol.Dialer{TLS: dialer.TLS.Clone()}
		stranger.TLS.Certificates = certs
		c, err := stranger.Dial(t.Context(), b.handoff.Address())
		if err == nil { // TLS 1.3 tells at the first read
			_, err = c.Hello(t.Context(), protocol.Hello{Name: coordinatorName})
			c.Close()
		}
		if err == nil {
			t.Errorf("%s was let in", name)
		}
	}
}

// What is secret on control goes over no network in plaintext.
func TestHandoffInPlaintextStaysHere(t *testing.T) {
	srv, _ := startServer(t, Config{})
	if h, err := srv.StartHandoff(HandoffConfig{Control: "tcp:0.0.0.0:0"}); err == nil || !strings.Contains(err.Error(), "for loopback addresses only") {
		t.Errorf("%v, %v", h, err)
	}
	if _, err := srv.StartHandoff(HandoffConfig{Control: "tcp:127.0.0.1:0"}); err != nil {
		t.Error(err)
	}
}
