//go:build e2e

package e2e

import (
	"strings"
	"testing"
	"time"
)

// TestInspIRCdNative: the operator's first steps.
func TestInspIRCdNative(t *testing.T) {
	a := startInspIRCd(t, "a")
	f := startFerry(t, nil, trusted, a.backend())
	check := start(t, nil, binary("ircferry"), "check", "--strict", "-c", f.configFile())
	if code := check.await(10 * time.Second); code != 0 {
		t.Errorf("ircferry check: exit %d\n%s", code, check.out.String())
	}
	direct := login(t, f.port, "127.0.9.9", "ann")
	behind := dial(t, f.port, "127.0.0.2", "PROXY TCP4 203.0.113.7 192.0.2.1 40000 6667\r\n")
	behind.register("ben")
	for c, address := range map[*irc]string{direct: "127.0.9.9", behind: "203.0.113.7"} {
		before := c.count()
		c.send("WHOIS " + c.nick)
		c.expect(" 318 ")
		if whois := strings.Join(c.since(before), "\n"); !strings.Contains(whois, address) {
			t.Errorf("%s is %s, but WHOIS says:\n%s", c.nick, address, whois)
		}
	}
	for n := range 3 {
		r := a.restart(f)
		t.Logf("restart %d: %+v", n, r)
		direct.fence()
		behind.fence()
	}
}
