//go:build e2e

package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/internal/certs/certtest"
)

// TestInspIRCdRestartOverControlWithTLS: the daemon as an operator configures it for an ircd on another machine: check has no error, users are
// parked, and pushed into the next process, by a control connection over TLS that knows both ends and tells a secret.
func TestInspIRCdRestartOverControlWithTLS(t *testing.T) {
	onBoth(t, inspIRCdRestartOverControlWithTLS)
}

func inspIRCdRestartOverControlWithTLS(t *testing.T, v *inspVersion) {
	v.needGnuTLS(t)
	a := v.new(t, "a")
	a.pass = "sesame"
	ca, key := certtest.SelfSigned(t, certtest.Options{Names: []string{"insp.test"}}).Write(t, a.dir, "ircd")
	ours := certtest.SelfSigned(t, certtest.Options{})
	cert, ourKey := ours.Write(t, a.dir, "ferry")
	port := freePort(t)
	writeFile(t, a.conf, readFile(a.conf)+fmt.Sprintf(`
<module name="ssl_gnutls">
<sslprofile name="Handoff" provider="gnutls" certfile="%s" keyfile="%s" hash="sha256">
<bind address="127.0.0.1" port="%d" type="handoff" sslprofile="Handoff">
<handoff fingerprint="%s" pass="sesame">
`, ca, key, port, ours.Fingerprint()))
	a.run()
	secret := filepath.Join(a.dir, "secret")
	writeFile(t, secret, "sesame\n")
	f := startFerry(t, nil, "", fmt.Sprintf("{name: a, handoff: \"tcp:127.0.0.1:%d\", handoff_pass_file: %s, tls: {ca: %s, server_name: insp.test, cert: %s, key: %s}}",
		port, secret, ca, cert, ourKey))
	check := start(t, nil, binary("ircferry"), "check", "--strict", "-c", f.configFile())
	if code := check.await(10 * time.Second); code != 0 {
		t.Errorf("ircferry check: exit %d\n%s", code, check.out.String())
	}
	writeFile(t, secret, "mellon\n")
	check = start(t, nil, binary("ircferry"), "check", "-c", f.configFile())
	if code := check.await(10 * time.Second); code == 0 || !strings.Contains(check.out.String(), "the secret in "+secret+" is not that of its configuration") {
		t.Errorf("ircferry check with a wrong secret: exit %d\n%s", code, check.out.String())
	}
	writeFile(t, secret, "sesame\n")
	ann := login(t, f.port, "127.0.9.9", "ann")
	ann.send("JOIN #sea")
	ann.expect(" 366 ")
	ann.fence()
	for range 2 {
		before := ann.count()
		a.restart(f)
		ann.fence()
		if seen := strings.Join(ann.since(before), "\n"); strings.Contains(seen, "ERROR") || strings.Contains(seen, " 001 ") {
			t.Errorf("ann saw\n%s", seen)
		}
	}
	ann.send("NAMES #sea")
	ann.expect(" 353 ann = #sea :@ann")
}
