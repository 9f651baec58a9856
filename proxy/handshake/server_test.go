package handshake

import (
	"crypto/tls"
	"testing"

	"github.com/ircferry/ircferry/internal/certs/certtest"
)

// limits12 makes a client speak TLS 1.2 with one suite.
func limits12(suite uint16) func(*tls.Config) {
	return func(c *tls.Config) { c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{suite} }
}

func limits13(*tls.Config) {}

func TestServerFull(t *testing.T) {
	ecdsa, rsa := certtest.SelfSigned(t, certtest.Options{}), certtest.SelfSigned(t, certtest.Options{RSA: true})
	tests := []struct {
		name   string
		pair   *certtest.Pair
		limit  func(*tls.Config)
		cipher string
	}{
		{"1.3", ecdsa, limits13, "TLS_AES_128_GCM_SHA256"},
		{"1.3 RSA", rsa, limits13, "TLS_AES_128_GCM_SHA256"},
		{"1.2 ECDSA AES-128", ecdsa, limits12(tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256), "ECDHE-ECDSA-AES128-GCM-SHA256"},
		{"1.2 ECDSA AES-256", ecdsa, limits12(tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384), "ECDHE-ECDSA-AES256-GCM-SHA384"},
		{"1.2 ECDSA ChaCha20", ecdsa, limits12(tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256), "ECDHE-ECDSA-CHACHA20-POLY1305"},
		{"1.2 RSA AES-128", rsa, limits12(tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256), "ECDHE-RSA-AES128-GCM-SHA256"},
		{"1.2 RSA AES-256", rsa, limits12(tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384), "ECDHE-RSA-AES256-GCM-SHA384"},
		{"1.2 RSA ChaCha20", rsa, limits12(tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256), "ECDHE-RSA-CHACHA20-POLY1305"},
	}
	for _, tt := range tests {
		for _, tickets := range []*Tickets{nil, NewTickets()} {
			t.Run(tt.name, func(t *testing.T) {
				a, b := pair(t)
				done := serve(b, serverConfig(tt.pair, ServerOptions{Tickets: tickets}))
				cfg := &tls.Config{ServerName: "irc.test", RootCAs: tt.pair.Roots(), NextProtos: []string{"irc"}}
				tt.limit(cfg)
				peer := tls.Client(a, cfg)
				if err := peer.Handshake(); err != nil {
					t.Fatal(err)
				}
				e := must(t, done)
				want := Facts{Version: "TLSv1.3", Cipher: tt.cipher, SNI: "irc.test", ALPN: "irc"}
				if cfg.MaxVersion != 0 {
					want.Version = "TLSv1.2"
				}
				if e.Facts != want {
					t.Errorf("facts\n got %+v\nwant %+v", e.Facts, want)
				}
				talk(t, peer, e)
			})
		}
	}
}
