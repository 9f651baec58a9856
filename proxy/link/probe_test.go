package link

import (
	"crypto/tls"
	"strings"
	"testing"

	"github.com/ircferry/ircferry/internal/certs/certtest"
	"github.com/ircferry/ircferry/internal/config"
)

// serving answers every connection with what an end says first, over TLS with a certificate.
func serving(t *testing.T, says string, pair *certtest.Pair) string {
	l := listen(t)
	if pair != nil {
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{pair.Cert}})
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				c.Write([]byte(says))
				if says != "" {
					c.Read(make([]byte, 1))
				}
				c.Close()
			}()
		}
	}()
	return l.Addr().String()
}

// What a check finds at the ends of links.
func TestProbe(t *testing.T) {
	pair, other := certtest.SelfSigned(t, certtest.Options{}), certtest.SelfSigned(t, certtest.Options{})
	known := func(p *certtest.Pair) *config.LinkTLS {
		return &config.LinkTLS{Fingerprints: []config.Fingerprint{config.Fingerprint(p.Fingerprint())}}
	}
	closed := listen(t)
	closed.Close()
	const capab = "CAPAB START 1205\n"
	for _, c := range []struct {
		name, address string
		tls           *config.LinkTLS
		severity      config.Severity
		want          string
	}{
		{"InspIRCd", serving(t, capab, nil), nil, config.SeverityOK, "takes servers, protocol 1205"},
		{"another protocol", serving(t, "CAPAB START 1300\n", nil), nil, config.SeverityWarning, "protocol 1300, and links can be held that"},
		{"no server", serving(t, ":irc.example NOTICE * :hello\n", nil), nil, config.SeverityWarning, "does not begin as InspIRCd does"},
		{"not allowed", serving(t, "", nil), nil, config.SeverityWarning, "allowmask"},
		{"nobody", closed.Addr().String(), nil, config.SeverityWarning, "nobody listens"},
		{"TLS", serving(t, capab, pair), known(pair), config.SeverityOK, "fingerprint " + pair.Fingerprint()},
		{"another certificate", serving(t, capab, pair), known(other), config.SeverityError, "it has " + pair.Fingerprint()},
		{"no TLS", serving(t, capab, nil), known(pair), config.SeverityError, "TLS handshake"},
	} {
		t.Run(c.name, func(t *testing.T) {
			pool := config.Pool{Backends: []config.Backend{{Name: "a", Servers: &config.Servers{Address: c.address, TLS: c.tls}}}}
			found := Probe(t.Context(), config.Config{Pools: map[string]config.Pool{"main": pool}})
			if len(found) != 1 || found[0].Severity != c.severity || found[0].Key != "pools.main.backends[0].servers" || !strings.Contains(found[0].Text, c.want) {
				t.Errorf("got  %v\nwant %s: %s", found, c.severity, c.want)
			}
		})
	}
	_, cert, key := pairFiles(t, "ferry.test")
	taken := listen(t)
	pool := config.Pool{Links: []config.Link{{Name: "one", Listen: "127.0.0.1:0", TLS: &config.LinkTLS{Cert: cert, Key: key}}, {Name: "two", Listen: taken.Addr().String()},
		{Name: "three", Listen: "203.0.113.1:1"}, {Name: "four", Listen: "127.0.0.1:0", Dial: serving(t, capab, nil)}}}
	var text []string
	for _, f := range Probe(t.Context(), config.Config{Pools: map[string]config.Pool{"main": pool}}) {
		text = append(text, f.String())
	}
	for i, want := range []string{"ok: pools.main.links[0]: one is shown our certificate with the fingerprint", "ok: pools.main.links[1]: " + taken.Addr().String() + " is listened on",
		"error: pools.main.links[2]: listen: ", "ok: pools.main.links[3]: "} {
		if len(text) != 4 || !strings.HasPrefix(text[i], want) {
			t.Errorf("got %s\nwant %s", strings.Join(text, "\n"), want)
		}
	}
}
