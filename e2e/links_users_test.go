//go:build e2e

package e2e

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// TestLinksRealClients: what people run, on both sides of a leaf's link, shows nothing of restarts and replaces.
func TestLinksRealClients(t *testing.T) {
	t.Parallel()
	onLeaf(t, "stay", func(t *testing.T, n *linkNet) {
		c := observe(t, n.f)
		there := door{port: n.leaf.port}
		c.gather(weechat(t, n.f.port), irssi(t, n.f.port), weechatAt(t, "wes", there), irssiAt(t, "irx", there))
		c.begin()
		for k := range 4 {
			n.f.replace(k)
		}
		n.hubs[0].restart(n.f)
		c.nobodyNoticed()
	})
}

var introduced = regexp.MustCompile(`^:1AA UID (1AA\S{6}) \d+ (\S+) `)

// TestLinksNewIDs: no two users of the ircd ever have one id, whatever process of it gave them, and what a peer says to somebody who leaves while the ircd
// is away reaches nobody else.
func TestLinksNewIDs(t *testing.T) {
	t.Parallel()
	onLeaf(t, "after restarts", func(t *testing.T, n *linkNet) {
		una, tom := n.login("una"), n.there("tom")
		una.says("JOIN #bay", " 366 ")
		tom.says("JOIN #bay", " 366 ")
		una.sees(":tom!")
		newcomers := 0
		for round := range 3 {
			gone := n.login(fmt.Sprintf("gone%d", round))
			gone.says("JOIN #bay", " 366 ")
			tom.sees(":" + gone.nick + "!")
			n.control[0].at("RELEASED", func() bool {
				tom.send("PRIVMSG " + gone.nick + " :for nobody else\r\nPRIVMSG una :for una")
				_ = gone.conn.Close()
				return true
			})
			n.restarted()
			una.expect(" PRIVMSG una :for una")
			tom.sees(":" + gone.nick + "!" + gone.nick + "@127.0.0.1 QUIT :")
			for range 5 {
				newcomers++
				c := n.login(fmt.Sprintf("new%d", newcomers))
				c.send("PRIVMSG tom :here") // from then on the leaf knows the nick
				tom.sees(":" + c.nick + "!")
				tom.says("PRIVMSG "+c.nick+" :hello\r\nPING x", " PONG ")
				c.expect(" PRIVMSG " + c.nick + " :hello")
				if said := strings.Join(c.since(0), "\n"); strings.Contains(said, "nobody else") {
					t.Errorf("%s got what was another's:\n%s", c.nick, said)
				}
				if newcomers%2 == 0 {
					c.says("QUIT :bye", "ERROR :")
				}
			}
		}
		nicks := make(map[string]string)
		for _, l := range n.taps[leafName].of(leafName)[0].lines {
			if m := introduced.FindStringSubmatch(l.text); m != nil && !l.up {
				if other, taken := nicks[m[1]]; taken {
					t.Errorf("%s is the id of %s and of %s", m[1], other, m[2])
				}
				nicks[m[1]] = m[2]
			}
		}
		if len(nicks) < newcomers {
			t.Errorf("%d ids of %d newcomers were seen: this test says nothing", len(nicks), newcomers)
		}
	})
}
