package certs

import (
	"crypto/tls"
	"testing"

	"github.com/ircferry/ircferry/internal/certs/certtest"
)

func TestChoice(t *testing.T) {
	pairs := map[string]*certtest.Pair{
		"default":   certtest.SelfSigned(t, certtest.Options{Names: []string{"irc.test", "192.0.2.1"}}),
		"rsa":       certtest.SelfSigned(t, certtest.Options{Names: []string{"irc.test"}, RSA: true}),
		"wild":      certtest.SelfSigned(t, certtest.Options{Names: []string{"*.Net.test"}}),
		"exact":     certtest.SelfSigned(t, certtest.Options{Names: []string{"a.net.test"}}),
		"home-made": certtest.SelfSigned(t, certtest.Options{Nameless: true, CN: "old.test"}),
		"alt":       certtest.SelfSigned(t, certtest.Options{Names: []string{"new.test"}, CN: "unused.test"}),
	}
	names := map[string]string{}
	var all []*tls.Certificate
	for _, n := range []string{"default", "rsa", "wild", "exact", "home-made", "alt"} {
		all = append(all, &pairs[n].Cert)
		names[pairs[n].Fingerprint()] = n
	}
	get := newChoice(all).get
	onlyRSA := []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}
	for _, c := range []struct {
		what   string
		client *tls.Config
		want   string
	}{
		{"no name", &tls.Config{}, "default"},
		{"its name", &tls.Config{ServerName: "irc.test"}, "default"},
		{"upper case", &tls.Config{ServerName: "IRC.Test"}, "default"},
		{"a name of nobody", &tls.Config{ServerName: "other.test"}, "default"},
		{"a client of RSA only", &tls.Config{ServerName: "irc.test", MaxVersion: tls.VersionTLS12, CipherSuites: onlyRSA}, "rsa"},
		{"a client of RSA only without a name", &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: onlyRSA}, "rsa"},
		{"a client of RSA only with a name of nobody", &tls.Config{ServerName: "other.test", MaxVersion: tls.VersionTLS12, CipherSuites: onlyRSA}, "rsa"},
		{"wildcard", &tls.Config{ServerName: "b.net.test"}, "wild"},
		{"exact before wildcard", &tls.Config{ServerName: "a.net.test"}, "exact"},
		{"two labels are not the wildcard's", &tls.Config{ServerName: "c.b.net.test"}, "default"},
		{"nor is none", &tls.Config{ServerName: "net.test"}, "default"},
		{"common name of one without alternative names", &tls.Config{ServerName: "old.test"}, "home-made"},
		{"common name of one with them", &tls.Config{ServerName: "unused.test"}, "default"},
		{"its alternative name", &tls.Config{ServerName: "new.test"}, "alt"},
	} {
		if got := names[served(t, get, c.client)]; got != c.want {
			t.Errorf("%s: got %q, want %q", c.what, got, c.want)
		}
	}
	// A dot at the end is one more way to write the same name; clients of crypto/tls cut it off before they ask.
	for ask, want := range map[string]string{"a.net.test.": "exact", "b.net.test.": "wild", ".": "default", "": "default", "*.net.test": "wild"} {
		got, err := get(&tls.ClientHelloInfo{ServerName: ask})
		if err != nil || got != &pairs[want].Cert {
			t.Errorf("%q: got another than %s, %v", ask, want, err)
		}
	}
	if _, err := newChoice(nil).get(&tls.ClientHelloInfo{}); err == nil {
		t.Error("no certificate, and no error")
	}
}
