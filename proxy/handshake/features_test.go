package handshake

import (
	"bytes"
	"crypto/tls"
	"testing"

	"github.com/ircferry/ircferry/internal/certs/certtest"
)

// One read may end anywhere; one write of the peer is cut in any way.
func TestServerByTheByte(t *testing.T) {
	server := certtest.SelfSigned(t, certtest.Options{})
	for _, version := range versions {
		a, b := pair(t)
		cfg := serverConfig(server, ServerOptions{Tickets: NewTickets()})
		done := carry(b, 1, func(o Options) *Handshake { return Server(cfg, o) })
		peer := tls.Client(a, newClient(server, version).Config)
		if err := peer.Handshake(); err != nil {
			t.Fatal(err)
		}
		talk(t, peer, must(t, done))
	}
}

// What the client says right behind its Finished is not lost, however much of it was fed before the Result had arrived.
func TestRestIsComplete(t *testing.T) {
	server := certtest.SelfSigned(t, certtest.Options{})
	a, b := pair(t)
	done := serve(b, serverConfig(server, ServerOptions{}))
	said := bytes.Repeat([]byte("PRIVMSG #ferry :hello\r\n"), 4000)
	peer := tls.Client(a, newClient(server, tls.VersionTLS13).Config)
	go peer.Write(said)
	e := must(t, done)
	c := newCodec(&e.Params, e.rest, e.conn)
	var got []byte
	for len(got) < len(said) {
		p, err := c.next()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, p...)
	}
	if !bytes.Equal(got, said) {
		t.Error("not what was said")
	}
}

func TestServerHelloRetryAndKeyShares(t *testing.T) {
	server := certtest.SelfSigned(t, certtest.Options{})
	tests := []struct {
		name           string
		client, server []tls.CurveID
		used           tls.CurveID
		retry          bool
	}{
		{"post-quantum", nil, nil, tls.X25519MLKEM768, false},
		{"X25519", []tls.CurveID{tls.X25519}, nil, tls.X25519, false},
		{"server without post-quantum", nil, []tls.CurveID{tls.X25519}, tls.X25519, false},
		{"retry", nil, []tls.CurveID{tls.CurveP384}, tls.CurveP384, true},
		{"retry post-quantum", []tls.CurveID{tls.X25519, tls.X25519MLKEM768}, []tls.CurveID{tls.X25519MLKEM768}, tls.X25519MLKEM768, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := serverConfig(server, ServerOptions{Tickets: NewTickets(), RequestCert: true})
			cfg.CurvePreferences = tt.server
			c := newClient(server, 0)
			c.CurvePreferences = tt.client
			for range 2 { // full and resumed
				a, b := pair(t)
				done := serve(b, cfg)
				peer := tls.Client(a, c.Config)
				if err := peer.Handshake(); err != nil {
					t.Fatal(err)
				}
				if s := peer.ConnectionState(); s.CurveID != tt.used || s.HelloRetryRequest != tt.retry {
					t.Errorf("curve %v, retry %v", s.CurveID, s.HelloRetryRequest)
				}
				talk(t, peer, must(t, done))
			}
		})
	}
}

func TestExporter(t *testing.T) {
	server := certtest.SelfSigned(t, certtest.Options{})
	for _, version := range versions {
		a, b := pair(t)
		done := serve(b, serverConfig(server, ServerOptions{}))
		peer := tls.Client(a, newClient(server, version).Config)
		if err := peer.Handshake(); err != nil {
			t.Fatal(err)
		}
		e := must(t, done)
		state := peer.ConnectionState()
		want, err := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", []byte{}, 32)
		if err != nil || !e.Params.HasExporter || !bytes.Equal(e.Params.Exporter[:], want) {
			t.Errorf("%s: %x, want %x, %v", tls.VersionName(version), e.Params.Exporter, want, err)
		}
	}
}

func TestMinVersion(t *testing.T) {
	server := certtest.SelfSigned(t, certtest.Options{})
	a, b := pair(t)
	done := serve(b, serverConfig(server, ServerOptions{MinVersion: tls.VersionTLS13}))
	if err := tls.Client(a, newClient(server, tls.VersionTLS12).Config).Handshake(); err == nil {
		t.Error("TLS 1.2 was spoken")
	}
	failed(t, wait(t, done), reasonVersion)
}

func TestFactsOfHostileNames(t *testing.T) {
	for in, want := range map[string]string{"IRC.test": "irc.test", "a b": "", "x\r\nQUIT": "", "": "", "_a-1.test": "_a-1.test", "é.test": ""} {
		if got := hostName(in); got != want {
			t.Errorf("host name %q: %q", in, got)
		}
	}
	long := string(bytes.Repeat([]byte{'a'}, longestName+1))
	if hostName(long) != "" {
		t.Error("a name that is too long")
	}
	for in, want := range map[string]string{"alice": "alice", "a\r\nb\x00": "ab", "\xff\xfeé": "é", "a\u202eb": "ab"} {
		if got := printable(in); got != want {
			t.Errorf("common name %q: %q", in, got)
		}
	}
	if got := printable(long + "é"); len(got) > longestCN {
		t.Errorf("%d bytes", len(got))
	}
}
