package handshake

import (
	"bytes"
	"crypto/tls"
	"testing"
	"time"

	"github.com/ircferry/ircferry/internal/certs/certtest"
)

// client is a Go client that remembers its sessions.
type client struct {
	*tls.Config
}

func newClient(server *certtest.Pair, version uint16) *client {
	return &client{&tls.Config{ServerName: "irc.test", RootCAs: server.Roots(), MaxVersion: version,
		ClientSessionCache: tls.NewLRUClientSessionCache(4)}}
}

// visit connects, talks and leaves, and answers how it was.
func (c *client) visit(t *testing.T, server *tls.Config) Facts {
	t.Helper()
	a, b := pair(t)
	done := serve(b, server)
	peer := tls.Client(a, c.Config)
	if err := peer.Handshake(); err != nil {
		t.Fatal(err)
	}
	e := must(t, done)
	if resumed := peer.ConnectionState().DidResume; resumed != e.Facts.Resumed {
		t.Errorf("resumed: client %v, server %v", resumed, e.Facts.Resumed)
	}
	talk(t, peer, e)
	return e.Facts
}

var versions = []uint16{tls.VersionTLS12, tls.VersionTLS13}

// A resumed handshake of TLS 1.2 writes no line to the key log: its master secret comes out of the ticket, in an encoding that crypto/tls
// may change. This test holds it.
func TestServerResumes(t *testing.T) {
	server := certtest.SelfSigned(t, certtest.Options{})
	for _, version := range versions {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			cfg := serverConfig(server, ServerOptions{Tickets: NewTickets()})
			c := newClient(server, version)
			for i := range 4 {
				if f := c.visit(t, cfg); f.Resumed != (i > 0) {
					t.Fatalf("visit %d: resumed %v", i, f.Resumed)
				}
			}
		})
	}
}

// All suites of TLS 1.2 have the master secret in the same place.
func TestServerResumesEachSuite(t *testing.T) {
	server := certtest.SelfSigned(t, certtest.Options{})
	cfg := serverConfig(server, ServerOptions{Tickets: NewTickets()})
	for _, suite := range suites12 {
		if tls.CipherSuiteName(suite)[:len("TLS_ECDHE_ECDSA")] != "TLS_ECDHE_ECDSA" {
			continue
		}
		t.Run(tls.CipherSuiteName(suite), func(t *testing.T) {
			c := newClient(server, tls.VersionTLS12)
			c.CipherSuites = []uint16{suite}
			if c.visit(t, cfg).Resumed || !c.visit(t, cfg).Resumed {
				t.Error("want a full and a resumed handshake")
			}
		})
	}
}

// A tls.Config that was not made by ServerConfig keeps its own keys, and sessions are resumed all the same.
func TestServerResumesWithAnyConfig(t *testing.T) {
	server := certtest.SelfSigned(t, certtest.Options{})
	for _, version := range versions {
		cfg := &tls.Config{Certificates: []tls.Certificate{server.Cert}}
		c := newClient(server, version)
		if c.visit(t, cfg).Resumed || !c.visit(t, cfg).Resumed {
			t.Errorf("%s: want a full and a resumed handshake", tls.VersionName(version))
		}
	}
}

func TestClientCertificate(t *testing.T) {
	server, alice := certtest.SelfSigned(t, certtest.Options{}), certtest.SelfSigned(t, certtest.Options{CN: "ali\nce", RSA: true})
	for _, version := range versions {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			cfg := serverConfig(server, ServerOptions{Tickets: NewTickets(), RequestCert: true})
			with, without := newClient(server, version), newClient(server, version)
			with.Certificates = []tls.Certificate{alice.Cert}
			for i := range 2 {
				f := with.visit(t, cfg)
				if f.CertFP != alice.Fingerprint() || f.CertCN != "alice" || f.Resumed != (i > 0) {
					t.Errorf("visit %d with a certificate: %+v", i, f)
				}
				if f := without.visit(t, cfg); f.CertFP != "" || f.CertCN != "" || f.Resumed != (i > 0) {
					t.Errorf("visit %d without: %+v", i, f)
				}
			}
		})
	}
}

// A ticket holds the client's chain of certificates, so it may be longer than a record.
func TestTicketsOfLongChains(t *testing.T) {
	server, alice := certtest.SelfSigned(t, certtest.Options{}), certtest.SelfSigned(t, certtest.Options{CN: "alice"})
	for _, version := range versions {
		for _, size := range []int{15 << 10, 16 << 10, 17 << 10, 34 << 10, 55 << 10} {
			long := alice.Cert
			for n := 0; n < size; n += len(long.Certificate[0]) {
				long.Certificate = append(long.Certificate, long.Certificate[0])
			}
			cfg := serverConfig(server, ServerOptions{Tickets: NewTickets(), RequestCert: true})
			c := newClient(server, version)
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &long, nil }
			for i := range 2 {
				if f := c.visit(t, cfg); f.Resumed != (i > 0) || f.CertFP != alice.Fingerprint() {
					t.Errorf("%s, chain of %d bytes, visit %d: %+v", tls.VersionName(version), size, i, f)
				}
			}
		}
	}
}

// A reload may begin or end to ask for certificates, or a client come to another listener, with tickets of before. Whoever shows a certificate is
// known by it wherever they are asked for, and nowhere else.
func TestTicketsOfListenersThatAskAndThatDoNot(t *testing.T) {
	server, alice := certtest.SelfSigned(t, certtest.Options{}), certtest.SelfSigned(t, certtest.Options{CN: "alice"})
	for _, version := range versions {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			tickets := NewTickets()
			asks, asksNot := serverConfig(server, ServerOptions{Tickets: tickets, RequestCert: true}), serverConfig(server, ServerOptions{Tickets: tickets})
			with, without := newClient(server, version), newClient(server, version)
			with.Certificates = []tls.Certificate{alice.Cert}
			for i, visit := range []struct {
				cfg     *tls.Config
				resumed bool
			}{{asksNot, false}, {asksNot, true}, {asks, false}, {asks, true}, {asks, true}} {
				want := ""
				if visit.cfg == asks {
					want = alice.Fingerprint()
				}
				if f := with.visit(t, visit.cfg); f.CertFP != want || f.Resumed != visit.resumed {
					t.Errorf("visit %d: %+v, want resumed %v and %q", i, f, visit.resumed, want)
				}
				if f := without.visit(t, visit.cfg); f.CertFP != "" || f.Resumed != visit.resumed {
					t.Errorf("visit %d without a certificate: %+v", i, f)
				}
			}
			if f := with.visit(t, asksNot); f.CertFP != "" || f.Resumed {
				t.Errorf("back where nobody is asked: %+v", f)
			}
		})
	}
}

// clock is a time that tests set.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func TestTicketsRotate(t *testing.T) {
	server := certtest.SelfSigned(t, certtest.Options{})
	for _, version := range versions {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			now := clock{time.Now()}
			tickets := newTickets(now.now)
			cfg := serverConfig(server, ServerOptions{Tickets: tickets})
			old, idle := newClient(server, version), newClient(server, version)
			idle.visit(t, cfg)
			old.visit(t, cfg)
			for i := range 5 { // it comes back each time before its key is forgotten
				now.at = now.at.Add(2 * ticketKeyAge)
				if !old.visit(t, cfg).Resumed {
					t.Fatalf("after %d keys: not resumed", 2*i+2)
				}
			}
			if idle.visit(t, cfg).Resumed {
				t.Error("resumed by a key that is too old")
			}
			if n := len(tickets.keys); n < 1 || n > ticketKeyKept {
				t.Errorf("%d keys are kept", n)
			}
		})
	}
}

func TestTicketsOldKeysOpen(t *testing.T) {
	server := certtest.SelfSigned(t, certtest.Options{})
	for _, version := range versions {
		now := clock{time.Now()}
		tickets := newTickets(now.now)
		cfg := serverConfig(server, ServerOptions{Tickets: tickets})
		c := newClient(server, version)
		c.visit(t, cfg)
		first := tickets.keys[0].key
		for range 2 {
			now.at = now.at.Add(ticketKeyAge)
			tickets.Export()
		}
		if tickets.keys[0].key == first || tickets.keys[2].key != first {
			t.Fatal("the first key is not the third now")
		}
		if !c.visit(t, cfg).Resumed {
			t.Errorf("%s: not resumed by the second last key", tls.VersionName(version))
		}
	}
}

func TestTicketsPassToSuccessor(t *testing.T) {
	server := certtest.SelfSigned(t, certtest.Options{})
	for _, version := range versions {
		tickets, successor := NewTickets(), NewTickets()
		c := newClient(server, version)
		c.visit(t, serverConfig(server, ServerOptions{Tickets: tickets}))
		cfg := serverConfig(server, ServerOptions{Tickets: successor}) // made before the keys come
		if err := successor.Import(tickets.Export()); err != nil {
			t.Fatal(err)
		}
		if !c.visit(t, cfg).Resumed {
			t.Errorf("%s: the successor does not resume", tls.VersionName(version))
		}
	}
}

func TestTicketsImportRefuses(t *testing.T) {
	now := clock{time.Now()}
	tickets := newTickets(now.now)
	good := tickets.Export()
	kept := tickets.keys[0].key
	for _, bad := range [][]byte{nil, {}, {1}, {1, 0}, {1, 1}, {2, 1}, good[:len(good)-1], append(append([]byte{}, good...), 0),
		append([]byte{9}, good[1:]...), append([]byte{1, 4}, make([]byte, 4*40)...)} {
		if tickets.Import(bad) == nil {
			t.Errorf("took %d bytes", len(bad))
		}
	}
	if tickets.keys[0].key != kept {
		t.Error("a refused import has changed the keys")
	}
	// Keys that are all too old, or from the future, leave keys to work with.
	now.at = now.at.Add(10 * ticketKeyAge)
	if err := tickets.Import(good); err != nil || len(tickets.keys) != 1 || tickets.keys[0].key == kept {
		t.Errorf("old keys: %v, %d kept", err, len(tickets.keys))
	}
	now.at = now.at.Add(-20 * ticketKeyAge)
	if err := tickets.Import(good); err != nil || tickets.keys[0].made.After(now.at) {
		t.Errorf("keys from the future: %v, made %v", err, tickets.keys[0].made)
	}
}

// Keys that came all at once are not more than those that we make one after the other.
func TestTicketsKeepThree(t *testing.T) {
	now := clock{time.Unix(1_800_000_000, 0)}
	tickets := newTickets(now.now)
	one := tickets.Export()[2:]
	if err := tickets.Import(append([]byte{ticketFormat, 3}, bytes.Repeat(one, 3)...)); err != nil {
		t.Fatal(err)
	}
	now.at = now.at.Add(ticketKeyAge)
	tickets.Export()
	if n := len(tickets.keys); n != ticketKeyKept {
		t.Errorf("%d keys are kept", n)
	}
}

func TestWithoutTicketsNothingIsResumed(t *testing.T) {
	server := certtest.SelfSigned(t, certtest.Options{})
	for _, version := range versions {
		c, cfg := newClient(server, version), serverConfig(server, ServerOptions{})
		for visit := range 2 {
			if c.visit(t, cfg).Resumed {
				t.Errorf("%s: resumed at visit %d", tls.VersionName(version), visit)
			}
		}
	}
}
