//go:build e2e

package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ircferry/ircferry/internal/certs/certtest"
)

// TestInspIRCdKnowsTLSClients: clients come to the daemon by TLS, with and without a certificate, and without TLS. A stock InspIRCd behind a TLS
// hop knows who they are, and one with the module still does after moves.
func TestInspIRCdKnowsTLSClients(t *testing.T) { onBoth(t, inspIRCdKnowsTLSClients) }

func inspIRCdKnowsTLSClients(t *testing.T, v *inspVersion) {
	t.Run("stock", func(t *testing.T) {
		_, _, secure, _, ca := hearingInspIRCd(t, v)
		password := filepath.Join(shortDir(t), "password")
		writeFile(t, password, "webpass\n")
		s := newSecured(t)
		known := threeClients(t, s, startFerry(t, nil, s.text, fmt.Sprintf("{name: a, address: \"127.0.0.1:%d\", tls: {ca: %s}, identity: webirc, "+
			"webirc_password_file: %s, webirc_flags: [secure, ports, certfp]}", secure, ca, password)))
		known("at once")
	})
	t.Run("native", func(t *testing.T) {
		a, b, s := v.start(t, "a"), v.start(t, "b"), newSecured(t)
		f := startFerry(t, nil, s.text, a.backend(), b.backend())
		known := threeClients(t, s, f)
		known("at once")
		f.ctl("drain", "main/b", "--to", "a")
		f.ctl("undrain", "main/b")
		f.move("drain", "main/a", "--to", "b")
		f.ctl("undrain", "main/a")
		known("after a replace")
		b.restart(f)
		known("after a restart")
		f.move("drain", "main/b", "--to", "a")
		known("after a replace behind it")
	})
}

// threeClients registers ann, who has a certificate, ben, who has none, and cia, without TLS. known asks who they are.
func threeClients(t *testing.T, s *secured, f *ferry) (known func(when string)) {
	t.Helper()
	ours := certtest.SelfSigned(t, certtest.Options{CN: "ann"})
	all := []*irc{s.login(t, "ann", ours.Cert), s.login(t, "ben"), login(t, f.port, "127.0.0.1", "cia")}
	return func(when string) {
		t.Helper()
		for _, c := range all {
			secure, cert := c.nick != "cia", c.nick == "ann"
			before := c.count()
			c.send("WHOIS " + c.nick)
			c.expect(" 318 ")
			whois := strings.Join(c.since(before), "\n")
			if strings.Contains(whois, " 671 ") != secure || strings.Contains(whois, " 276 ") != cert || cert && !strings.Contains(whois, ours.Fingerprint()) {
				t.Errorf("%s, %s: TLS: want %t, certificate: want %t, but WHOIS says\n%s", when, c.nick, secure, cert, whois)
			}
		}
	}
}
