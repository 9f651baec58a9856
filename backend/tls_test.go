package backend

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pires/go-proxyproto"
	"github.com/pires/go-proxyproto/tlvparse"

	"github.com/ircferry/ircferry/handoff/protocol"
	"github.com/ircferry/ircferry/internal/certs/certtest"
	"github.com/ircferry/ircferry/internal/config"
)

const fingerprint = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

var (
	aliceTLS  = Client{U: "me.1", Addr: alice.Addr, Local: netip.MustParseAddrPort("192.0.2.80:6697"), TLS: &facts}
	facts     = TLSFacts{Version: "TLSv1.2", Cipher: "ECDHE-RSA-AES128-GCM-SHA256", SNI: "irc.example", ALPN: "irc", CertFP: fingerprint, CertCN: "alice"}
	bareTLS   = Client{U: "me.2", Addr: alice.Addr, Local: alice.Local, TLS: &bareFacts}
	bareFacts = TLSFacts{Version: "TLSv1.3"}
)

func TestOpenTellsOfTLS(t *testing.T) {
	for want, c := range map[string]Client{
		"":        alice,
		"TLSv1.3": bareTLS,
		"TLSv1.2/ECDHE-RSA-AES128-GCM-SHA256 " + fingerprint: aliceTLS,
	} {
		line := strings.TrimSuffix(string(protocol.AppendOpen(nil, openOf("k", c))), "\n")
		m, err := protocol.Parse([]byte(line))
		if err != nil {
			t.Fatal(err)
		}
		o, err := protocol.OpenOf(m)
		if got := strings.TrimSpace(o.TLS + " " + o.CertFP); err != nil || got != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
}

func TestWebIRCFlags(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "p")
	if err := os.WriteFile(secret, []byte(strings.Repeat("x", 256)), 0o600); err != nil {
		t.Fatal(err)
	}
	long := client("[2001:db8:1111:2222:3333:4444:5555:6666]:65535", "[::1]:65535")
	long.TLS = &facts
	all := []config.WebIRCFlag{config.WebIRCSecure, config.WebIRCPorts, config.WebIRCCertFP}
	for _, c := range []struct {
		name  string
		flags []config.WebIRCFlag
		c     Client
		want  string
	}{
		{"none", nil, aliceTLS, ""},
		{"all of a client with TLS", all, aliceTLS, " :secure local-port=6697 remote-port=4711 certfp-sha-256=" + fingerprint},
		{"all of a client without certificate", all, bareTLS, " :secure local-port=6667 remote-port=4711"},
		{"all of a client without TLS", all, alice, " :local-port=6667 remote-port=4711"},
		{"secure of a client without TLS", all[:1], alice, " :remote-port=4711"}, // InspIRCd does not see an empty one
		{"the longest", all, long, " :secure local-port=65535 remote-port=65535 certfp-sha-256=" + fingerprint},
	} {
		b := still(t, config.Backend{Address: "192.0.2.1:6667", Identity: config.IdentityWebIRC, WebIRCPasswordFile: secret, WebIRCFlags: c.flags})
		o, err := b.Open(c.c)
		if err != nil {
			t.Fatal(err)
		}
		line, ended := strings.CutSuffix(string(o.Preface), "\r\n")
		words := strings.SplitN(line, " ", 6)
		got := ""
		if len(words) == 6 {
			got = " " + words[5]
		}
		if got != c.want || !ended || len(o.Preface) > 512 {
			t.Errorf("%s: %d bytes, got %q, want %q", c.name, len(o.Preface), got, c.want)
		}
	}
}

// headerOf reads the PROXY header of a client by the library's reader, and its TLVs.
func headerOf(t *testing.T, id config.Identity, tlvs []config.ProxyTLV, c Client) (*proxyproto.Header, []proxyproto.TLV) {
	t.Helper()
	o, err := still(t, config.Backend{Address: "192.0.2.1:6667", Identity: id, ProxyTLVs: tlvs}).Open(c)
	if err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(bytes.NewReader(o.Preface))
	h, err := proxyproto.Read(in)
	if err != nil {
		t.Fatal(err)
	}
	if n := in.Buffered(); n > 0 {
		t.Errorf("%d bytes behind the header", n)
	}
	list, err := h.TLVs()
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "source", h.SourceAddr.String(), c.Addr.String())
	return h, list
}

func TestProxyTLVs(t *testing.T) {
	all := []config.ProxyTLV{config.TLVCertFP, config.TLVAuthority, config.TLVSSL, config.TLVALPN}
	_, list := headerOf(t, config.IdentityProxyV2, all, aliceTLS)
	got := map[proxyproto.PP2Type]string{}
	for _, tlv := range list {
		got[tlv.Type] = string(tlv.Value)
	}
	if len(list) != 4 || got[proxyproto.PP2_TYPE_AUTHORITY] != "irc.example" || got[proxyproto.PP2_TYPE_ALPN] != "irc" || got[0xE0] != fingerprint {
		t.Errorf("got %q", got)
	}
	if list[3].Type != 0xE0 {
		t.Errorf("InspIRCd 4 needs the fingerprint behind PP2_TYPE_SSL, it is before %x", list[3].Type)
	}
	ssl, ok := tlvparse.FindSSL(list)
	version, _ := ssl.SSLVersion()
	cipher, _ := ssl.SSLCipher()
	cn, _ := ssl.ClientCN()
	if !ok || !ssl.ClientSSL() || !ssl.ClientCertConn() || !ssl.ClientCertSess() || ssl.Verified() ||
		version != "TLSv1.2" || cipher != "ECDHE-RSA-AES128-GCM-SHA256" || cn != "alice" {
		t.Errorf("got %+v", ssl)
	}

	resumed := facts
	resumed.Resumed, resumed.CertCN = true, "al\xffce"
	_, list = headerOf(t, config.IdentityProxyV2, all, Client{U: "me.1", Addr: alice.Addr, Local: alice.Local, TLS: &resumed})
	ssl, ok = tlvparse.FindSSL(list)
	if cn, _ := ssl.ClientCN(); !ok || ssl.ClientCertConn() || !ssl.ClientCertSess() || cn != "al\ufffdce" {
		t.Errorf("resumed: got %+v", ssl)
	}
	_, list = headerOf(t, config.IdentityProxyV2, all, bareTLS)
	ssl, ok = tlvparse.FindSSL(list)
	if len(list) != 1 || !ok || !ssl.ClientSSL() || ssl.ClientCertSess() || ssl.Verified() {
		t.Errorf("without certificate: got %d, %+v", len(list), ssl)
	}
}

// What was not asked for, what there is not, and what a client made too long is not said.
func TestProxyTLVsThatAreNotSaid(t *testing.T) {
	all := []config.ProxyTLV{config.TLVSSL, config.TLVAuthority, config.TLVALPN, config.TLVCertFP}
	for _, c := range []struct {
		name string
		id   config.Identity
		tlvs []config.ProxyTLV
		c    Client
	}{
		{"none wanted", config.IdentityProxyV2, nil, aliceTLS},
		{"no TLS", config.IdentityProxyV2, all, alice},
		{"version 1", config.IdentityProxyV1, all, aliceTLS},
	} {
		if _, list := headerOf(t, c.id, c.tlvs, c.c); len(list) > 0 {
			t.Errorf("%s: %d TLVs", c.name, len(list))
		}
	}
	long := TLSFacts{Version: "TLSv1.3", SNI: strings.Repeat("x", 256), ALPN: strings.Repeat("y", 256), CertCN: strings.Repeat("z", 70000)}
	h, list := headerOf(t, config.IdentityProxyV2, all, Client{Addr: alice.Addr, Local: alice.Local, TLS: &long})
	if out, err := h.Format(); err != nil || len(out) > 100 || len(list) != 1 {
		t.Errorf("%d bytes, %d TLVs, %v", len(out), len(list), err)
	}
}

// tlsPort serves TLS connections with f. Those that do not shake hands never get to it.
func tlsPort(t *testing.T, cfg *tls.Config, f func(*tls.Conn)) net.Addr {
	return listen(t, "tcp", "127.0.0.1:0", func(c net.Conn) {
		tc := tls.Server(c, cfg)
		if tc.Handshake() == nil {
			f(tc)
		}
	})
}

// ircOverTLS answers CAP LS and QUIT, and tells how many certificates it was shown.
func ircOverTLS(t *testing.T, cfg *tls.Config) (net.Addr, <-chan int) {
	shown := make(chan int, 10)
	cfg.ClientAuth = tls.RequestClientCert
	return tlsPort(t, cfg, func(c *tls.Conn) {
		shown <- len(c.ConnectionState().PeerCertificates)
		in := bufio.NewReader(c)
		for {
			line, err := in.ReadString('\n')
			if err != nil || strings.HasPrefix(line, "QUIT") {
				return
			}
			io.WriteString(c, ":irc.test CAP * LS :multi-prefix\r\n")
		}
	}), shown
}

// A relay backend over TLS: its checks speak TLS, and a stream is told to. No certificate is shown.
func TestRealChecksOverTLS(t *testing.T) {
	pair := certtest.SelfSigned(t, certtest.Options{})
	ca, _ := pair.Write(t, t.TempDir(), "ircd")
	for _, check := range []config.CheckType{config.CheckTCP, config.CheckIRC} {
		addr, shown := ircOverTLS(t, &tls.Config{Certificates: []tls.Certificate{pair.Cert}})
		b, events := realSet(t, config.Backend{Address: addr.String(), TLS: &config.BackendTLS{CA: ca, ServerName: "irc.test"}},
			config.Check{Type: check, Inter: seconds(3600)})
		await(t, events, EventUp)
		if n := <-shown; n != 0 {
			t.Errorf("%s: %d certificates were shown", check, n)
		}
		o, err := b.Open(alice)
		if err != nil || o.TLS == nil || o.Native || o.Preface != nil {
			t.Fatalf("%+v %v", o, err)
		}
		conn, err := tls.Dial("tcp", o.Addr.String(), o.TLS)
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		if n := <-shown; n != 0 {
			t.Errorf("%s: %d certificates were shown by a stream", check, n)
		}
	}
}

// Each way in which TLS can fail is told with the way out, by a check as by Probe, and it is no secret of anybody.
func TestTLSThatFailsIsExplained(t *testing.T) {
	dir := t.TempDir()
	pair, expired := certtest.SelfSigned(t, certtest.Options{}), certtest.SelfSigned(t, certtest.Options{NotBefore: certtest.SelfSigned(t, certtest.Options{}).Leaf().NotBefore.AddDate(-1, 0, 0)})
	ca, _ := pair.Write(t, dir, "ircd")
	expiredCA, _ := expired.Write(t, dir, "expired")
	otherCA, _ := certtest.SelfSigned(t, certtest.Options{}).Write(t, dir, "other")
	good := func(t *testing.T) net.Addr {
		addr, _ := ircOverTLS(t, &tls.Config{Certificates: []tls.Certificate{pair.Cert}})
		return addr
	}
	for _, c := range []struct {
		name   string
		start  func(t *testing.T) net.Addr
		tls    config.BackendTLS
		reason Reason
		want   string
	}{
		{"other root", good, config.BackendTLS{CA: otherCA, ServerName: "irc.test"}, ReasonTLS, "its certificate leads to none of the certificates in " + otherCA},
		{"the system's roots", good, config.BackendTLS{ServerName: "irc.test"}, ReasonTLS, "of the system's roots; name its CA's certificate, or its own, as tls.ca"},
		{"other name", good, config.BackendTLS{CA: ca, ServerName: "irc.example"}, ReasonTLS, "irc.example: a name of its certificate must be that of the address, or tls.server_name"},
		{"the address is no name", good, config.BackendTLS{CA: ca}, ReasonTLS, "or tls.server_name"},
		{"expired", func(t *testing.T) net.Addr {
			addr, _ := ircOverTLS(t, &tls.Config{Certificates: []tls.Certificate{expired.Cert}})
			return addr
		}, config.BackendTLS{CA: expiredCA, ServerName: "irc.test"}, ReasonTLS, "certificate has expired"},
		{"no TLS", func(t *testing.T) net.Addr {
			return listen(t, "tcp", "127.0.0.1:0", func(c net.Conn) {
				io.WriteString(c, "NOTICE * :*** Looking up your hostname\r\n")
				io.Copy(io.Discard, c)
			})
		}, config.BackendTLS{CA: ca}, ReasonTLS, "there is no TLS; name its TLS port, or leave tls out"},
		{"old TLS", func(t *testing.T) net.Addr {
			addr, _ := ircOverTLS(t, &tls.Config{Certificates: []tls.Certificate{pair.Cert}, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10})
			return addr
		}, config.BackendTLS{CA: ca, ServerName: "irc.test"}, ReasonTLS, "version"},
		{"CBC", func(t *testing.T) net.Addr {
			addr, _ := ircOverTLS(t, &tls.Config{Certificates: []tls.Certificate{pair.Cert}, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}})
			return addr
		}, config.BackendTLS{CA: ca, ServerName: "irc.test"}, ReasonTLS, "handshake failure"},
		{"closes", func(t *testing.T) net.Addr {
			return listen(t, "tcp", "127.0.0.1:0", func(c net.Conn) { c.Read(make([]byte, 4096)) })
		}, config.BackendTLS{CA: ca}, ReasonClosed, "EOF"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conf := config.Backend{Name: "a", Weight: 100, Address: c.start(t).String(), TLS: &c.tls}
			pool := config.Pool{Topology: config.Linked, Check: config.Check{Timeout: seconds(5), Inter: seconds(3600)}, Backends: []config.Backend{conf}}
			pl, err := planOf(pool, conf)
			if err != nil {
				t.Fatal(err)
			}
			out := (&Backend{set: &Set{opt: Options{Dial: new(net.Dialer).DialContext}}}).checkRelay(t.Context(), pl)
			if out.err == nil || !strings.Contains(out.err.Error(), c.want) || ReasonOf(out.err) != c.reason {
				t.Errorf("check: %s: %v", ReasonOf(out.err), out.err)
			}
			found := Probe(t.Context(), config.Config{Pools: one(pool)})
			if len(found) != 1 || !strings.Contains(found[0].Text, c.want) || (found[0].Severity == config.SeverityError) != (c.reason == ReasonTLS) {
				t.Errorf("probe: %v", found)
			}
		})
	}
}

// controlPort is a control listener with mutual TLS.
func controlPort(t *testing.T, pair, peer *certtest.Pair) net.Addr {
	return tlsPort(t, &tls.Config{Certificates: []tls.Certificate{pair.Cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: peer.Roots()}, func(c *tls.Conn) {
		in := bufio.NewScanner(c)
		for in.Scan() {
			if strings.HasPrefix(in.Text(), "HELLO ") {
				c.Write(goodHello("e").Message().Append(nil))
			}
		}
	})
}

// The control connection over TLS: kept, asked and dialled anew; its streams are plaintext. Who we are is shown whatever roots the
// ircd names.
func TestRealControlOverMutualTLS(t *testing.T) {
	dir := t.TempDir()
	ircd, ferry := certtest.SelfSigned(t, certtest.Options{Names: []string{"127.0.0.1"}}), certtest.SelfSigned(t, certtest.Options{})
	ca, _ := ircd.Write(t, dir, "ircd")
	cert, key := ferry.Write(t, dir, "ferry")
	strangerCert, strangerKey := certtest.SelfSigned(t, certtest.Options{CN: "stranger"}).Write(t, dir, "stranger")
	addr := controlPort(t, ircd, ferry)
	conf := config.Backend{Handoff: "tcp:" + addr.String(), TLS: &config.BackendTLS{CA: ca, Cert: cert, Key: key}}
	b, events := realSet(t, conf, config.Check{Inter: seconds(3600), Rise: 1, Fall: 1})
	await(t, events, EventUp)
	if o, err := b.Open(aliceTLS); err != nil || o.TLS != nil || !o.Native {
		t.Errorf("%+v %v", o, err)
	}
	control, h, err := b.DialControl(t.Context(), "me")
	if err != nil || h.SKey != "secretkey" {
		t.Fatalf("%v %v", h, err)
	}
	control.Close()
	conf.Name, conf.Weight = "a", 100
	if found := Probe(t.Context(), config.Config{Pools: one(config.Pool{Backends: []config.Backend{conf}})}); len(found) != 1 || found[0].Severity != config.SeverityOK {
		t.Errorf("probe: %v", found)
	}

	conf.TLS = &config.BackendTLS{CA: ca, Cert: strangerCert, Key: strangerKey}
	found := Probe(t.Context(), config.Config{Pools: one(config.Pool{Backends: []config.Backend{conf}})})
	if len(found) != 1 || !strings.Contains(found[0].Text, "it may not know our certificate, "+strangerCert) {
		t.Errorf("probe as a stranger: %v", found)
	}
	_, events = realSet(t, conf, config.Check{Inter: seconds(3600), Rise: 1, Fall: 1})
	if e := await(t, events, EventDown); !strings.Contains(e.Text, "our certificate, "+strangerCert) {
		t.Errorf("down: %s", e.Text)
	}
}

// Nothing is applied of a configuration whose files cannot be used, and of one that can the new files count.
func TestApplyReadsTheFilesAnew(t *testing.T) {
	dir := t.TempDir()
	one1, two := certtest.SelfSigned(t, certtest.Options{}), certtest.SelfSigned(t, certtest.Options{})
	ca, _ := one1.Write(t, dir, "ca")
	addr, shown := ircOverTLS(t, &tls.Config{Certificates: []tls.Certificate{two.Cert}})
	s, err := NewSet(Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	events := make(chan Event, 100)
	s.Subscribe(func(e Event) { events <- e })
	pools := one(config.Pool{Topology: config.Linked, Check: config.Check{Timeout: seconds(5), Inter: seconds(3600), Rise: 1, Fall: 1},
		Backends: []config.Backend{{Name: "a", Weight: 1, Address: addr.String(), TLS: &config.BackendTLS{CA: ca, ServerName: "irc.test"}}}})
	if err := s.Apply(pools); err != nil {
		t.Fatal(err)
	}
	if e := await(t, events, EventDown); !strings.Contains(e.Text, ca) {
		t.Errorf("down: %s", e.Text)
	}
	if err := os.WriteFile(ca, []byte("half a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(pools); err == nil || !strings.Contains(err.Error(), "backend main/a: tls.ca: "+ca+" has no certificate in it") {
		t.Errorf("a broken file: %v", err)
	}
	two.Write(t, dir, "ca")
	if err := s.Apply(pools); err != nil {
		t.Fatal(err)
	}
	await(t, events, EventUp)
	<-shown
}

// A backend that is to have TLS from now on is another place: what was known of it does not hold.
func TestApplyForgetsWhatWasKnownWithoutTLS(t *testing.T) {
	addr := listen(t, "tcp", "127.0.0.1:0", func(c net.Conn) {
		io.WriteString(c, "NOTICE * :*** Looking up your hostname\r\n")
		io.Copy(io.Discard, c)
	})
	conf := config.Backend{Address: addr.String()}
	check := config.Check{Timeout: seconds(5), Inter: seconds(3600), Rise: 1, Fall: 3}
	b, events := realSet(t, conf, check)
	await(t, events, EventUp)
	for _, tls := range []*config.BackendTLS{{}, {}, {ServerName: "irc.test"}} { // the second changes nothing: then nothing is told
		conf.Name, conf.Weight, conf.TLS = "a", 100, tls
		if err := b.set.Apply(one(config.Pool{Topology: config.Linked, Check: check, Backends: []config.Backend{conf}})); err != nil {
			t.Fatal(err)
		}
	}
	if e := await(t, events, EventDown); !strings.Contains(e.Text, "there is no TLS") {
		t.Errorf("down: %s", e.Text)
	}
}

// Plaintext control leaves the machine for nobody, and a certificate of ours goes to no ircd that would take it for a client's.
func TestPlansThatCannotBe(t *testing.T) {
	cert, key := certtest.SelfSigned(t, certtest.Options{}).Write(t, t.TempDir(), "ferry")
	for _, c := range []struct {
		want string
		conf config.Backend
	}{
		{"leaves this machine in plain text; give it tls", config.Backend{Handoff: "tcp:192.0.2.1:9"}},
		{"is not a control address", config.Backend{Handoff: "nonsense"}},
		{"a unix socket has none", config.Backend{Handoff: "unix:/x", TLS: &config.BackendTLS{Cert: cert, Key: key}}},
		{"wants to know both ends", config.Backend{Handoff: "tcp:192.0.2.1:9", TLS: new(config.BackendTLS)}},
		{"wants to know both ends", config.Backend{Handoff: "tcp:192.0.2.1:9", TLS: &config.BackendTLS{Cert: cert}}},
		{"wants to know both ends", config.Backend{Handoff: "tcp:192.0.2.1:9", TLS: &config.BackendTLS{Key: key}}},
		{"would take it for the certificate", config.Backend{Address: "192.0.2.1:9", TLS: &config.BackendTLS{Cert: cert, Key: key}}},
	} {
		if _, err := planOf(config.Pool{}, c.conf); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got  %v\nwant %s", err, c.want)
		}
	}
	pl, err := planOf(config.Pool{}, config.Backend{Handoff: "tcp:192.0.2.1:9", TLS: &config.BackendTLS{Cert: cert, Key: key}})
	if err != nil || pl.tls == nil || pl.tls.ServerName != "192.0.2.1" || pl.streamTLS() != nil {
		t.Errorf("%+v %v", pl, err)
	}
}

// A handshake that never ends is over with the check's time.
func TestTLSCheckIsBounded(t *testing.T) {
	addr := listen(t, "tcp", "127.0.0.1:0", func(c net.Conn) { io.Copy(io.Discard, c) })
	pl, err := planOf(config.Pool{}, config.Backend{Address: addr.String(), TLS: new(config.BackendTLS)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := pl.secure(ctx, conn); err == nil {
		t.Error("shaken hands with nobody")
	}
	if _, err := conn.Write([]byte("x")); err == nil {
		t.Error("the connection is still open")
	}
}
