package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ircferry/ircferry/internal/certs/certtest"
)

// findings is what Verify says of a pool with one backend, behind a listener.
func findings(t *testing.T, tls *ListenerTLS, b Backend) string {
	t.Helper()
	cfg := sound(t)
	cfg.Listeners[0].TLS = tls
	b.Name, b.Weight = "a", 100
	p := cfg.Pools["main"]
	p.Backends = []Backend{b}
	cfg.Pools["main"] = p
	c := &checker{sys: plenty()}
	c.pools(cfg)
	c.hears(cfg)
	var all []string
	for _, f := range c.found {
		all = append(all, f.String())
	}
	return strings.Join(all, "\n")
}

// What an ircd cannot be told of a client's TLS is said beforehand.
func TestVerifySaysWhatAnIrcdCannotHear(t *testing.T) {
	password := filepath.Join(t.TempDir(), "webirc")
	if err := os.WriteFile(password, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	overTLS := new(BackendTLS)
	secret := &ListenerTLS{MinVersion: TLS12, ClientCert: ClientCertRequest}
	noCerts := &ListenerTLS{MinVersion: TLS12, ClientCert: ClientCertNone}
	relay := func(id Identity, tls *BackendTLS) Backend {
		b := Backend{Address: "irc.example:6667", Identity: id, TLS: tls}
		if id == IdentityWebIRC {
			b.WebIRCPasswordFile = password
		}
		return b
	}
	flags := func(b Backend, flags ...WebIRCFlag) Backend { b.WebIRCFlags = flags; return b }
	tlvs := func(b Backend, tlvs ...ProxyTLV) Backend { b.ProxyTLVs = tlvs; return b }
	const (
		plain    = "listeners[0].tls: its clients look as if they had no TLS at main/a"
		secure   = "listeners[0]: its clients have no TLS, but over the TLS to main/a they look as if they had"
		certfp   = "listeners[0].tls.client_cert: request, but main/a cannot be told the fingerprint"
		onlyErgo = "listeners[0].tls: main/a are told of it by webirc_flags, but only Ergo believes that"
	)
	for _, c := range []struct {
		name     string
		listener *ListenerTLS
		b        Backend
		want     []string // all of it
	}{
		{"native", secret, Backend{Handoff: "unix:/x"}, nil},
		{"plaintext all the way", nil, relay(IdentityNone, nil), nil},
		{"no identity", secret, relay(IdentityNone, nil), []string{plain, certfp}},
		{"no certificates", noCerts, relay(IdentityNone, nil), []string{plain}},
		{"PROXY v1", secret, relay(IdentityProxyV1, nil), []string{plain, certfp}},
		{"PROXY v2", secret, relay(IdentityProxyV2, nil), []string{plain, certfp}},
		{"PROXY v2 with ssl", secret, tlvs(relay(IdentityProxyV2, nil), TLVSSL), []string{certfp}},
		{"PROXY v2 with both", secret, tlvs(relay(IdentityProxyV2, nil), TLVSSL, TLVCertFP), nil},
		{"TLS hop", secret, relay(IdentityNone, overTLS), []string{certfp}},
		{"TLS hop for plaintext clients", nil, relay(IdentityNone, overTLS), []string{secure}},
		{"TLS hop for plaintext clients, PROXY v2", nil, tlvs(relay(IdentityProxyV2, overTLS), TLVSSL), []string{secure}},
		{"TLS hop for plaintext clients, WEBIRC", nil, flags(relay(IdentityWebIRC, overTLS), WebIRCSecure), nil},
		{"WEBIRC", noCerts, relay(IdentityWebIRC, nil), []string{plain}},
		{"WEBIRC secure in plaintext", noCerts, flags(relay(IdentityWebIRC, nil), WebIRCSecure), []string{onlyErgo}},
		{"WEBIRC secure", secret, flags(relay(IdentityWebIRC, overTLS), WebIRCSecure), []string{certfp}},
		{"WEBIRC with all", secret, flags(relay(IdentityWebIRC, overTLS), WebIRCSecure, WebIRCPorts, WebIRCCertFP), nil},
		{"WEBIRC certfp in plaintext", secret, flags(relay(IdentityWebIRC, nil), WebIRCSecure, WebIRCCertFP),
			[]string{"pools.main.backends[0].webirc_flags: certfp is believed over TLS only", onlyErgo, certfp}},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := findings(t, c.listener, c.b)
			if n := strings.Count(text, "warning: "); n != len(c.want) || strings.Contains(text, "error: ") {
				t.Errorf("%d warnings, want %d:\n%s", n, len(c.want), text)
			}
			for _, want := range c.want {
				if !strings.Contains(text, "warning: "+want) {
					t.Errorf("got  %s\nwant %s", text, want)
				}
			}
		})
	}
}

// What cannot be of a backend's tls, webirc_flags and proxy_tlvs.
func TestVerifyBackendTLS(t *testing.T) {
	dir := t.TempDir()
	password := filepath.Join(dir, "webirc")
	for path, text := range map[string]string{password: "x", dir + "/empty": "nothing"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, key := certtest.SelfSigned(t, certtest.Options{}).Write(t, dir, "ferry")
	_, otherKey := certtest.SelfSigned(t, certtest.Options{}).Write(t, dir, "other")
	open, openKey := certtest.SelfSigned(t, certtest.Options{}).Write(t, dir, "open")
	if err := os.Chmod(openKey, 0o644); err != nil {
		t.Fatal(err)
	}
	const at = "pools.main.backends[0]"
	relay := func(tls BackendTLS) Backend { return Backend{Address: "irc.example:6697", TLS: &tls} }
	control := func(where string, tls BackendTLS) Backend { return Backend{Handoff: where, TLS: &tls} }
	webirc := func(after string, flags ...WebIRCFlag) Backend {
		return Backend{Address: "irc.example:6697", TLS: new(BackendTLS), Identity: IdentityWebIRC, WebIRCPasswordFile: password, WebIRCAfter: after, WebIRCFlags: flags}
	}
	for _, c := range []struct {
		name string
		b    Backend
		want string // "" for nothing
	}{
		{"the system's roots", relay(BackendTLS{}), ""},
		{"own roots", relay(BackendTLS{CA: cert, ServerName: "irc.test"}), ""},
		{"no such ca", relay(BackendTLS{CA: dir + "/none"}), "error: " + at + ": tls.ca: open " + dir + "/none: no such file"},
		{"ca of nonsense", relay(BackendTLS{CA: dir + "/empty"}), "error: " + at + ": tls.ca: " + dir + "/empty has no certificate in it"},
		{"ca that is a directory", relay(BackendTLS{CA: dir}), "error: " + at + ": tls.ca: " + dir + " is no file"},
		{"certificate for a relay", relay(BackendTLS{Cert: cert, Key: key}), "error: " + at + ".tls.cert: an ircd takes a certificate on this connection for the client's"},

		{"control", control("tcp:127.0.0.1:9", BackendTLS{CA: cert, Cert: cert, Key: key}), ""},
		{"control over the network", control("tcp:192.0.2.1:9", BackendTLS{CA: cert, Cert: cert, Key: key}),
			"warning: " + at + ".handoff: tls is for the control connection; the clients' streams go to that machine in plain text"},
		{"control without certificate", control("tcp:127.0.0.1:9", BackendTLS{CA: cert}), "error: " + at + ".tls: a control connection wants to know both ends"},
		{"control with a certificate without key", control("tcp:127.0.0.1:9", BackendTLS{Cert: cert}), "error: " + at + ".tls: a control connection wants to know both ends"},
		{"control with another's key", control("tcp:127.0.0.1:9", BackendTLS{Cert: cert, Key: otherKey}), "error: " + at + ": tls.cert and tls.key: use " + cert + " with " + otherKey},
		{"key for everybody", control("tcp:127.0.0.1:9", BackendTLS{Cert: open, Key: openKey}), "warning: " + at + ".tls.key: " + openKey + " can be used by everybody (0644)"},
		{"control over a unix socket", control("unix:/x", BackendTLS{Cert: cert, Key: key}), "error: " + at + ".tls: a unix socket has no TLS"},

		{"flags without webirc", Backend{Address: "irc.example:6667", WebIRCFlags: []WebIRCFlag{WebIRCPorts}}, "error: " + at + ".webirc_flags: identity is not webirc"},
		{"flags for ngIRCd", webirc("user", WebIRCPorts), "error: " + at + ".webirc_flags: ngIRCd"},
		{"certfp alone", webirc("", WebIRCCertFP), "error: " + at + ".webirc_flags: certfp is not read of a client that is not secure"},
		{"a flag twice", webirc("", WebIRCSecure, WebIRCPorts, WebIRCSecure), "error: " + at + ".webirc_flags: secure stands twice"},
		{"TLVs without proxy-v2", Backend{Address: "irc.example:6667", Identity: IdentityProxyV1, ProxyTLVs: []ProxyTLV{TLVSSL}}, "error: " + at + ".proxy_tlvs: identity is not proxy-v2"},
		{"TLV certfp alone", Backend{Address: "irc.example:6667", Identity: IdentityProxyV2, ProxyTLVs: []ProxyTLV{TLVCertFP}}, "error: " + at + ".proxy_tlvs: certfp is not read without ssl"},
		{"a TLV twice", Backend{Address: "irc.example:6667", Identity: IdentityProxyV2, ProxyTLVs: []ProxyTLV{TLVSSL, TLVSSL}}, "error: " + at + ".proxy_tlvs: ssl stands twice"},
	} {
		t.Run(c.name, func(t *testing.T) {
			listener := &ListenerTLS{ClientCert: ClientCertNone}
			if c.b.TLS == nil {
				listener = nil
			}
			text := findings(t, listener, c.b)
			if c.want == "" && text != "" || !strings.Contains(text, c.want) || strings.Count(text, "\n") > 0 {
				t.Errorf("got  %s\nwant %s", text, c.want)
			}
			if strings.Contains(text, "PRIVATE KEY") {
				t.Errorf("a key is in %s", text)
			}
		})
	}
}

// The words of a list are known, and another is answered with the nearest.
func TestFlagsAreWords(t *testing.T) {
	for key, wrong := range map[string]string{"webirc_flags": "secur", "proxy_tlvs": "sll"} {
		text := "pools: {main: {backends: [{name: a, address: 'x:1', " + key + ": [" + wrong + "]}]}}"
		want := `pools.main.backends[0].` + key + `[0]: "` + wrong + `" is not one of `
		if _, err := Parse("f", []byte(text)); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "did you mean") {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}
