package config

import (
	"strings"
	"testing"
)

func TestVerifyListenerTLS(t *testing.T) {
	good := Cert{Cert: "/etc/tls/irc.pem", Key: "/etc/tls/irc.key"}
	for _, c := range []struct {
		name  string
		certs []Cert
		want  string // "" for nothing
	}{
		{"one", []Cert{good}, ""},
		{"two", []Cert{good, {Cert: "/etc/tls/b.pem", Key: "/etc/tls/b.key"}}, ""},
		{"one key for two, as by certbot --reuse-key", []Cert{good, {Cert: "/etc/tls/b.pem", Key: good.Key}}, ""},
		{"both in one file", []Cert{{Cert: "/etc/tls/both.pem", Key: "/etc/tls/both.pem"}}, ""},
		{"none", nil, "error: listeners[0].tls.certs: there are none"},
		{"no certificate", []Cert{{Key: good.Key}}, "error: listeners[0].tls.certs[0].cert: is not there"},
		{"no key", []Cert{{Cert: good.Cert}}, "error: listeners[0].tls.certs[0].key: is not there"},
		{"relative", []Cert{{Cert: "irc.pem", Key: good.Key}}, `error: listeners[0].tls.certs[0].cert: "irc.pem" does not begin with /`},
		{"twice", []Cert{good, good}, "error: listeners[0].tls.certs[1]: /etc/tls/irc.pem is that of listeners[0].tls.certs[0] too"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := sound(t)
			p := cfg.Pools["main"]
			p.Backends = p.Backends[:1] // what ircds without the driver cannot hear is another test's
			cfg.Pools["main"] = p
			cfg.Listeners[0].TLS = &ListenerTLS{Certs: c.certs, MinVersion: TLS12, ClientCert: ClientCertRequest}
			var all []string
			for _, f := range verify(cfg, plenty()) {
				all = append(all, f.String())
			}
			if text := strings.Join(all, "\n"); c.want == "" && text != "" || !strings.Contains(text, c.want) {
				t.Errorf("got  %s\nwant %s", text, c.want)
			}
		})
	}
}

func TestListenerTLSDecodes(t *testing.T) {
	with := func(tls string) (Config, error) {
		return Parse("f", []byte("listeners: [{name: l, address: ':0', pool: p, tls: "+tls+"}]\npools: {p: {backends: [{name: a, handoff: 'unix:/x'}]}}"))
	}
	for text, want := range map[string]ListenerTLS{
		"{certs: [{cert: /a, key: /b}]}":    {Certs: []Cert{{"/a", "/b"}}, MinVersion: TLS12, ClientCert: ClientCertRequest},
		"{min_version: 1.3}":                {MinVersion: TLS13, ClientCert: ClientCertRequest},
		`{min_version: "1.3"}`:              {MinVersion: TLS13, ClientCert: ClientCertRequest},
		"{min_version: 1.2, certs: []}":     {Certs: []Cert{}, MinVersion: TLS12, ClientCert: ClientCertRequest},
		"{client_cert: none, certs: [{}]}":  {Certs: []Cert{{}}, MinVersion: TLS12, ClientCert: ClientCertNone},
		"{client_cert: request, certs: []}": {Certs: []Cert{}, MinVersion: TLS12, ClientCert: ClientCertRequest},
	} {
		c, err := with(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got := c.Listeners[0].TLS
		if got == nil || got.MinVersion != want.MinVersion || got.ClientCert != want.ClientCert || len(got.Certs) != len(want.Certs) {
			t.Errorf("%s: got %+v, want %+v", text, got, want)
			continue
		}
		for i := range want.Certs {
			if got.Certs[i] != want.Certs[i] {
				t.Errorf("%s: got %+v, want %+v", text, got, want)
			}
		}
	}
	for text, want := range map[string]string{
		"{min_version: 1.1}":                            `f:1:66: listeners[0].tls.min_version: "1.1" is not one of 1.2, 1.3`,
		"{min_version: TLSv1.2}":                        `"TLSv1.2" is not one of 1.2, 1.3`,
		"{client_cert: require}":                        `listeners[0].tls.client_cert: "require" is not one of none, request; did you mean "request"?`,
		"{cert: /a}":                                    `f:1:53: listeners[0].tls: unknown key "cert"; did you mean "certs"?`,
		"{certs: [{cert: /a, key: /b, chain: /c}]}":     `listeners[0].tls.certs[0]: unknown key "chain"`,
		"{certs: {cert: /a, key: /b}}":                  `listeners[0].tls.certs: keys with values where a list belongs`,
		"{certs: [/etc/tls/irc.pem]}":                   `listeners[0].tls.certs[0]: "/etc/tls/irc.pem" where keys with values belong`,
		"yes":                                           `listeners[0].tls: "yes" where keys with values belong`,
		"{certs: [{cert: /a, key: /b}], min_version: }": "listeners[0].tls.min_version: has no value",
	} {
		if _, err := with(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s:\ngot  %v\nwant %s", text, err, want)
		}
	}
}
