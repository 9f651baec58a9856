package handshake

import (
	"crypto/tls"
	"testing"

	"github.com/ircferry/ircferry/internal/certs/certtest"
)

func TestClientFull(t *testing.T) {
	root := certtest.NewAuthority(t, "test root")
	ours := root.Issue(t, certtest.Options{CN: "the proxy"})
	for _, rsa := range []bool{false, true} {
		theirs := root.Issue(t, certtest.Options{RSA: rsa})
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			for _, mine := range []*tls.Certificate{nil, &ours.Cert} {
				t.Run(tls.VersionName(version), func(t *testing.T) {
					a, b := pair(t)
					done := shakeAsClient(b, ClientConfig(ClientOptions{RootCAs: root.Roots(), ServerName: "irc.test", Certificate: mine}))
					peer := tls.Server(a, &tls.Config{Certificates: []tls.Certificate{theirs.Cert}, MaxVersion: version, ClientAuth: tls.RequestClientCert})
					if err := peer.Handshake(); err != nil {
						t.Fatal(err)
					}
					e := must(t, done)
					if e.Facts.CertFP != theirs.Fingerprint() || !e.Params.Client {
						t.Errorf("facts %+v, client %v", e.Facts, e.Params.Client)
					}
					shown := peer.ConnectionState().PeerCertificates
					if (mine != nil) != (len(shown) > 0) {
						t.Errorf("certificate given %v, shown %d", mine != nil, len(shown))
					}
					talk(t, peer, e)
				})
			}
		}
	}
}

// A server that asks for no certificate sends its tickets beside its Finished, and one may want another key share.
func TestClientAgainstOtherServers(t *testing.T) {
	theirs := certtest.SelfSigned(t, certtest.Options{})
	for _, curves := range [][]tls.CurveID{nil, {tls.CurveP384}} {
		for _, version := range versions {
			a, b := pair(t)
			done := shakeAsClient(b, ClientConfig(ClientOptions{RootCAs: theirs.Roots(), ServerName: "irc.test"}))
			peer := tls.Server(a, &tls.Config{Certificates: []tls.Certificate{theirs.Cert}, MaxVersion: version, CurvePreferences: curves})
			if err := peer.Handshake(); err != nil {
				t.Fatal(err)
			}
			if retried := peer.ConnectionState().HelloRetryRequest; retried != (curves != nil && version == tls.VersionTLS13) {
				t.Errorf("retried %v", retried)
			}
			talk(t, peer, must(t, done))
		}
	}
}

// A session that a client of TLS 1.2 resumes leaves no master secret to take over: the cache of a configuration is not used.
func TestClientNeverResumes(t *testing.T) {
	theirs := certtest.SelfSigned(t, certtest.Options{})
	for _, version := range versions {
		cfg := newClient(theirs, version).Config
		server := &tls.Config{Certificates: []tls.Certificate{theirs.Cert}}
		for range 2 {
			a, b := pair(t)
			done := shakeAsClient(b, cfg)
			peer := tls.Server(a, server)
			if err := peer.Handshake(); err != nil {
				t.Fatal(err)
			}
			e := must(t, done)
			if e.Facts.Resumed {
				t.Error("resumed")
			}
			talk(t, peer, e)
		}
	}
}
