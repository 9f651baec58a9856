//go:build e2e

package e2e

import (
	"strings"
	"testing"
	"time"
)

// TestLinksPastFerry: Anope and a leaf are linked to the ircd itself. A restart is refused and tells what would be seen; if it is allowed, that is what is
// seen: the ircd lets no server in before its users are back, so that services meet them with their accounts and ask nobody, and who comes back is shown
// the quits of the leaf's users, and their joins when the leaf has linked anew.
func TestLinksPastFerry(t *testing.T) {
	t.Parallel()
	onPeer(t, "services and a leaf", peer{name: "anope", services: allServices()[0], leaf: true, past: true, alone: true}, func(_ *testing.T, n *linkNet) { n.restartedPast() })
}

func (n *linkNet) restartedPast() {
	c := newServicesCast(n)
	una, tom := n.login("una"), n.there("tom")
	una.says("JOIN #bay", " 366 ")
	tom.says("JOIN #bay", " 366 ")
	una.sees(":tom!")
	all := []*irc{c.alice, c.carol, una}
	out, code := n.f.ctl("restart", "main/a", "--exec", "true")
	if code != 5 {
		n.t.Errorf("exit %d:\n%s", code, out)
	}
	n.tells()
	begin := make(map[*irc]int)
	for _, user := range all {
		user.fence()
		user.skip()
		begin[user] = user.count()
	}
	tom.skip()
	committed := n.shut()
	r := n.hubs[0].restartWith(n.f, "--allow-visible")
	if r.State != "done" || r.Moved != r.Attempted {
		n.t.Errorf("%+v", r)
	}
	una.expect(":tom!tom@127.0.0.1 QUIT :" + hubName + " " + leafName)
	una.expect(":tom!tom@127.0.0.1 JOIN ")
	tom.expect(":una!una@127.0.0.1 QUIT :")
	tom.expect(":una!una@127.0.0.1 JOIN ")
	n.linkedAnew()
	for name, tap := range n.taps {
		for _, conn := range tap.of(name)[1:] {
			for _, l := range conn.lines {
				if !l.up && l.at.Before(*committed) {
					n.t.Errorf("%s was spoken to %v before the users were back: %s", name, committed.Sub(l.at), l.text)
				}
			}
		}
	}
	for _, user := range all[:2] {
		c.knows(user)
	}
	for _, user := range all {
		for _, line := range noFences(user.since(begin[user])) {
			if n.asExpected(user, line) {
				continue
			}
			n.t.Errorf("%s saw %q", user.nick, line)
		}
	}
	c.carol.says("PART "+sea, " PART :"+sea)
	c.carol.says("JOIN "+sea, " MODE "+sea+" +o :carol")
	c.newcomer()
	if n.names(una, "#bay") != "tom una" || n.names(tom, "#bay") != "tom una" || n.lusers(una) != n.lusers(tom) {
		n.t.Errorf("una's server says %q, %q, and tom's %q, %q", n.names(una, "#bay"), n.lusers(una), n.names(tom, "#bay"), n.lusers(tom))
	}
	n.oneBurst()
}

// asExpected reports whether a user may be told a line in such a restart: answers to his own questions, and what is said of tom.
func (n *linkNet) asExpected(user *irc, line string) bool {
	if user.nick == "una" {
		return strings.HasPrefix(line, ":tom!tom@127.0.0.1 QUIT :"+hubName+" "+leafName) || strings.HasPrefix(line, ":tom!tom@127.0.0.1 JOIN ")
	}
	words := strings.Fields(line)
	return strings.Contains(line, "STATUS "+user.nick) || len(words) > 2 && len(words[1]) == 3 && words[2] == user.nick // of knows
}

// tells is that the refusal is told long before: which servers would see it, and which of them are services.
func (n *linkNet) tells() {
	n.t.Helper()
	out, _ := n.f.ctl("status")
	for _, want := range []string{servicesName, leafName} {
		if !strings.Contains(out, want) {
			n.t.Errorf("status does not tell of %s:\n%s", want, out)
		}
	}
}

// shut keeps the users away from the new process until services have tried to link to it, and tells when they come.
func (n *linkNet) shut() (committed *time.Time) {
	committed = new(time.Time)
	before := n.uplink.tries()
	n.control[0].at("PREPARED", func() bool {
		eventually(n.t, slack, "services knock at the new process", func() bool { return n.uplink.tries() > before })
		n.control[0].at("COMMITTED", func() bool { *committed = time.Now(); return true })
		return true
	})
	return committed
}

// tries is how many connections have come that reached the other side.
func (p *linkTap) tries() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns)
}
