//go:build e2e

package e2e

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/internal/certs/certtest"
	settings "github.com/ircferry/ircferry/internal/config"
)

// hearingInspIRCd is a stock InspIRCd with three client ports beside its first: one for WEBIRC in plaintext, one for WEBIRC over TLS
// and one for PROXY v2 over TLS.
func hearingInspIRCd(t *testing.T, v *inspVersion) (proxy, plain, secure, secureProxy int, ca string) {
	t.Helper()
	v.needGnuTLS(t)
	proxy, conf := v.stockConfig(t)
	dir := filepath.Dir(conf)
	ca, key := certtest.SelfSigned(t, certtest.Options{Names: []string{"127.0.0.1"}, RSA: true}).Write(t, dir, "ircd")
	plain, secure, secureProxy = freePort(t), freePort(t), freePort(t)
	writeFile(t, conf, readFile(conf)+fmt.Sprintf(`
<module name="sslinfo"> <sslinfo hash="sha-256" localsecure="no">
<module name="ssl_gnutls">
<sslprofile name="clients" provider="gnutls" certfile="%s" keyfile="%s" hash="sha256">
<module name="cgiirc">
<cgihost type="webirc" password="webpass" mask="127.0.0.0/8">
<bind address="127.0.0.1" port="%d" type="clients">
<bind address="127.0.0.1" port="%d" type="clients" sslprofile="clients">
<bind address="127.0.0.1" port="%d" type="clients" sslprofile="clients" hook="haproxy">
`, ca, key, plain, secure, secureProxy))
	awaitPort(t, proxy, start(t, nil, v.wrapper(t, dir), "--config="+conf, "--nofork", "--runasroot"))
	return proxy, plain, secure, secureProxy, ca
}

// TestInspIRCdHearsOfTLS: what a stock InspIRCd shows of clients when it is told what the proxy knows: who uses TLS, and by which
// certificate, over which hop it believes it, and what it shows when it is told nothing.
func TestInspIRCdHearsOfTLS(t *testing.T) { onBoth(t, inspIRCdHearsOfTLS) }

func inspIRCdHearsOfTLS(t *testing.T, v *inspVersion) {
	proxy, plain, secure, secureProxy, ca := hearingInspIRCd(t, v)
	password := filepath.Join(shortDir(t), "password")
	writeFile(t, password, "webpass\n")
	const print = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
	over := func(port int, id settings.Identity, hop *settings.BackendTLS) settings.Backend {
		b := settings.Backend{Address: fmt.Sprintf("127.0.0.1:%d", port), Identity: id, TLS: hop}
		if id == settings.IdentityWebIRC {
			b.WebIRCPasswordFile = password
		}
		return b
	}
	flags := func(b settings.Backend, flags ...settings.WebIRCFlag) settings.Backend {
		b.WebIRCFlags = flags
		return b
	}
	tlvs := func(b settings.Backend, tlvs ...settings.ProxyTLV) settings.Backend { b.ProxyTLVs = tlvs; return b }
	hop := &settings.BackendTLS{CA: ca}
	all := []settings.WebIRCFlag{settings.WebIRCSecure, settings.WebIRCPorts, settings.WebIRCCertFP}
	withCert := &backend.TLSFacts{Version: "TLSv1.3", Cipher: "TLS_AES_128_GCM_SHA256", SNI: "irc.example", ALPN: "irc", CertFP: print, CertCN: "ann"}
	bare := &backend.TLSFacts{Version: "TLSv1.3", Cipher: "TLS_AES_128_GCM_SHA256"}
	for i, c := range []struct {
		name   string
		b      settings.Backend
		tls    *backend.TLSFacts
		secure bool
		print  bool
	}{
		{"WEBIRC with flags over TLS, certificate", flags(over(secure, settings.IdentityWebIRC, hop), all...), withCert, true, true},
		{"WEBIRC with flags over TLS, none", flags(over(secure, settings.IdentityWebIRC, hop), all...), bare, true, false},
		{"WEBIRC with flags over TLS, plaintext client", flags(over(secure, settings.IdentityWebIRC, hop), all...), nil, false, false},
		{"WEBIRC with secure over TLS, plaintext client", flags(over(secure, settings.IdentityWebIRC, hop), settings.WebIRCSecure), nil, false, false},
		{"WEBIRC over TLS, plaintext client", over(secure, settings.IdentityWebIRC, hop), nil, true, false}, // check warns
		{"WEBIRC with flags in plaintext", flags(over(plain, settings.IdentityWebIRC, nil), all...), withCert, false, false},
		{"PROXY with TLVs", tlvs(over(proxy, settings.IdentityProxyV2, nil), settings.TLVSSL, settings.TLVAuthority, settings.TLVALPN), bare, true, false},
		{"PROXY with TLVs, plaintext client", tlvs(over(proxy, settings.IdentityProxyV2, nil), settings.TLVSSL), nil, false, false},
		{"PROXY", over(proxy, settings.IdentityProxyV2, nil), withCert, false, false},
		{"PROXY over TLS", tlvs(over(secureProxy, settings.IdentityProxyV2, hop), settings.TLVSSL, settings.TLVCertFP), bare, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel() // a registration waits for a tick of a second
			nick := fmt.Sprintf("ann%d", i)
			client := through(t, c.b, backend.Client{U: "i.1", Addr: netip.MustParseAddrPort("203.0.113.7:40000"),
				Local: netip.MustParseAddrPort("198.51.100.1:6697"), TLS: c.tls})
			client.register(nick)
			before := client.count()
			client.send("WHOIS " + nick)
			client.expect(" 318 ")
			whois := strings.Join(client.since(before), "\n")
			if strings.Contains(whois, " 671 ") != c.secure || strings.Contains(whois, " 276 ") != c.print || c.print && !strings.Contains(whois, print) ||
				!strings.Contains(whois, "203.0.113.7") {
				t.Errorf("secure: want %t, fingerprint: want %t, but WHOIS says\n%s", c.secure, c.print, whois)
			}
		})
	}
}

// through opens a stream to a backend as the proxy does, and reads it as its client. Its checks find the backend up.
func through(t *testing.T, conf settings.Backend, client backend.Client) *irc {
	t.Helper()
	set, err := backend.NewSet(backend.Options{Instance: "i"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(set.Close)
	events := make(chan backend.Event, 10)
	set.Subscribe(func(e backend.Event) { events <- e })
	conf.Name, conf.Weight = "a", 100
	hour, second := settings.Duration(time.Hour), settings.Duration(10*time.Second)
	pool := settings.Pool{Topology: settings.Linked, Check: settings.Check{Type: settings.CheckIRC, Inter: hour, Rise: 1, Fall: 1, Timeout: second}, Backends: []settings.Backend{conf}}
	if err := set.Apply(map[string]settings.Pool{"main": pool}); err != nil {
		t.Fatal(err)
	}
	for e := range events {
		if e.Kind == backend.EventDown {
			t.Fatalf("the check says %s", e.Text)
		}
		if e.Kind == backend.EventUp {
			break
		}
	}
	b, _ := set.Backend("main/a")
	o, err := b.Open(client)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.DialTimeout("tcp", o.Addr.String(), slack)
	if err == nil && o.TLS != nil {
		conn = tls.Client(conn, o.TLS)
		err = conn.(*tls.Conn).HandshakeContext(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	c := &irc{t: t, conn: conn}
	t.Cleanup(func() { _ = conn.Close() })
	c.write(string(o.Preface))
	go c.read()
	return c
}
