//go:build e2e

package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/ircferry/ircferry/handoff/protocol"
)

const otherfp = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"

// TestInspIRCdUsesTheCertificate: what goes by TLS and certificates in InspIRCd goes by what OPEN told, as if the client had come directly:
// connect classes, operators by fingerprint, SASL EXTERNAL; and so it does after a move.
func TestInspIRCdUsesTheCertificate(t *testing.T) { onBoth(t, inspIRCdUsesTheCertificate) }

func inspIRCdUsesTheCertificate(t *testing.T, v *inspVersion) {
	a := v.new(t, "a")
	servers := freePort(t)
	writeFile(t, a.conf, fmt.Sprintf(`<connect name="secure" allow="203.0.113.0/24" requiressl="yes" timeout="30" resolvehostnames="no" useident="no" localmax="3" fakelag="no" threshold="1000" commandrate="100000">
<connect name="port" allow="*" port="7777" timeout="30" resolvehostnames="no" useident="no" fakelag="no">
<oper name="certop" password="x" fingerprint="%s" autologin="`+v.either("yes", "relaxed")+`" sslonly="yes" host="*@*" type="NetAdmin">
<oper name="certonly" password="x" fingerprint="%[1]s" sslonly="yes" host="*@*" type="Helper">
<bind address="127.0.0.1" port="%d" type="servers">
<link name="services.test" ipaddr="127.0.0.1" port="1" allowmask="127.0.0.0/8" sendpass="p" recvpass="p">
<`+v.either("uline", "services")+` server="services.test">
`, certfp, servers)+readFile(a.conf))
	a.run()
	services := linkServices(t, servers, map[string]string{certfp: "tlsaccount"})
	a.linked()
	h := newHand(t, a)
	secure := func(certfp string) func(*protocol.Open) {
		return func(o *protocol.Open) {
			o.Remote, o.TLS, o.CertFP = netip.MustParseAddrPort("203.0.113.5:4000"), "TLSv1.3/TLS_AES_128_GCM_SHA256", certfp
		}
	}
	eye := h.open("i.1", "eye", nil)
	eye.ask("OPER root rootpw")
	plain := h.open("i.2", "plain", func(o *protocol.Open) { o.Remote = netip.MustParseAddrPort("203.0.113.5:4000") })
	other := h.open("i.3", "other", secure(otherfp))
	owner := h.open("i.4", "owner", secure(certfp))
	port := h.open("i.5", "port", func(o *protocol.Open) { o.Local = netip.MustParseAddrPort("192.0.2.1:7777") })
	all := []*rawStream{eye, plain, other, owner, port}

	// The limit of the class counts clients by their own address, not ircferry's.
	o := protocol.Open{SKey: h.hello.SKey, U: "i.6", Local: netip.MustParseAddrPort("192.0.2.1:6667")}
	secure("")(&o)
	fourth := h.dial(protocol.AppendOpen(nil, o), "i.6")
	h.ok(fourth.answer(protocol.VerbOpened))
	fourth.send("NICK fourth\r\nUSER fourth 0 * :fourth\r\n")
	if got := fourth.await("ERROR :"); !strings.Contains(got, v.either("No more connections allowed from your host", "No more local connections allowed from your host")) {
		t.Errorf("a fourth one of the address came in:\n%s", got)
	}

	check := func(when string) {
		t.Helper()
		for nick, class := range map[string]string{"plain": "users", "other": "secure", "owner": "secure", "port": "port", "eye": "users"} {
			if got := eye.ask("CHECK " + nick); !strings.Contains(got, "connectclass :"+class+"\r\n") {
				t.Errorf("%s, %s is not of class %s:\n%s", when, nick, class, got)
			}
		}
		if got := owner.ask("WHOIS owner"); !strings.Contains(got, " 313 owner owner ") || !strings.Contains(got, " 276 owner owner ") {
			t.Errorf("%s: not an operator by certificate:\n%s", when, got)
		}
		for s, want := range map[*rawStream]string{plain: " 491 ", other: " 491 ", owner: " 381 "} {
			s.ask("MODE " + strings.TrimPrefix(s.u, "i.") + " -o")
			if got := s.ask("OPER certonly x"); !strings.Contains(got, want) {
				t.Errorf("%s: OPER certonly of %s brought\n%s", when, s.u, got)
			}
			s.ask("CAP REQ sasl")
			want := map[*rawStream]string{plain: " 904 ", other: " 904 ", owner: " 903 owner "}[s]
			s.send("AUTHENTICATE EXTERNAL\r\n")
			s.await("AUTHENTICATE :+")
			s.send("AUTHENTICATE +\r\n")
			if got := s.await(" :SASL authentication "); !strings.Contains(got, want) {
				t.Errorf("%s: SASL EXTERNAL of %s brought\n%s", when, s.u, got)
			}
		}
		if got := eye.ask("WHOIS owner"); !strings.Contains(got, " 330 eye owner tlsaccount ") {
			t.Errorf("%s: no account:\n%s", when, got)
		}
		owner.ask("OPER certop x") // the type of before
	}
	check("after OPEN")

	tx, users, records := h.export(all...)
	h.ok(h.c.Release(t.Context(), tx, "Moving"))
	tx, p := h.prepare(records...)
	if len(p.Conflicts)+len(p.Warns) != 0 {
		t.Errorf("%+v", p)
	}
	for i, s := range all {
		all[i] = h.attach(tx, tx, s.u)
	}
	_, err := h.c.Commit(t.Context(), tx)
	h.ok(err)
	for _, s := range all {
		h.ok(s.answer(protocol.VerbLive))
	}
	eye, plain, other, owner = all[0], all[1], all[2], all[3]
	check("after a move")
	if got := services.fingerprint(users["i.3"].Get("id")); got != otherfp {
		t.Errorf("services were told the fingerprint %q of i.3, want %q", got, otherfp)
	}
}
