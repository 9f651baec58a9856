//go:build e2e

package e2e

import (
	"strings"
	"testing"
)

// TestInspIRCdFromThreeToFour: the users of an InspIRCd 3 go to an InspIRCd 4, as in an upgrade, and see nothing of it; and back, after which all that
// they can ask for is as it was.
func TestInspIRCdFromThreeToFour(t *testing.T) {
	t.Parallel()
	three, four := inspVersions()[0], inspVersions()[1]
	three.need(t)
	four.need(t)
	a, b := three.start(t, "a"), four.start(t, "b")
	f := startFerry(t, nil, "", a.backend(), b.backend())
	c := newCast(t, f.port)
	f.toA()
	before := c.probe()
	c.fence()
	seenNothing := func(what string) {
		t.Helper()
		for nick, client := range c.clients {
			if lines, err := client.Fence(); err != nil || len(lines) > 0 {
				t.Errorf("%s: %s saw %v, %v", what, nick, lines, err)
			}
		}
	}
	plan, _ := f.ctl("drain", "main/a", "--to", "b", "--dry-run")
	t.Logf("what is told before:\n%s", plan)
	f.move("drain", "main/a", "--to", "b")
	f.ctl("undrain", "main/a")
	seenNothing("from 3 to 4")
	for _, s := range []struct{ nick, send, want string }{
		{"alice", "MODE alice", " 221 alice :+iwsHo"},
		{"alice", "MODE #sea b", " 367 alice #sea *!*@one.example alice "},
		{"bob", "WHOIS dave dave", " 317 bob dave "},
		{"carol", "ACCEPT *", " 281 carol :"},
		{"bob", "SILENCE", " 271 bob *!*@spam.example "},
		{"helen", "NAMES #sea", "helen"},
		{"alice", "CAP LIST", "multi-prefix"},
	} {
		if got := strings.Join(c.ask(s.nick, s.send), "\n"); !strings.Contains(got, s.want) {
			t.Errorf("with InspIRCd 4, %s> %s brought\n%s\nwant %q", s.nick, s.send, got, s.want)
		}
	}
	f.move("drain", "main/b", "--to", "a")
	f.ctl("undrain", "main/b")
	seenNothing("from 4 to 3")
	same(t, probes, before, c.probe())
	t.Run("alive", c.alive)
}
