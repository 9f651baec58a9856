//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
)

// TestLinksUpgraded: ircferry itself is upgraded while users talk across its links, between that an upgrade fails, and behind it the ircd is restarted, replaced
// and the next upgrade comes: no client and no peer sees anything of it.
func TestLinksUpgraded(t *testing.T) { eachPair(t, linksUpgraded) }

func linksUpgraded(t *testing.T, v *inspVersion, p peer) {
	n := newNet(t, v, p, 2, false)
	n.works()
	before := n.state()
	w := n.talk()
	upgrades := 0
	upgrade := func() {
		t.Helper()
		if u := n.f.upgrade(); u.Links != len(n.taps) {
			t.Errorf("%d server links came along, of %d", u.Links, len(n.taps))
		}
		upgrades++
		w.talkOn(500)
	}
	for range 5 {
		upgrade()
	}
	if out, code := n.f.ctl("upgrade", "--binary", "/bin/true"); code != 1 {
		t.Errorf("an upgrade to what is no ircferry: exit %d, %s", code, out)
	}
	w.talkOn(500)
	n.hubs[0].restart(n.f)
	upgrade()
	n.f.replace(0)
	upgrade()
	extra := n.peerLines(w)
	w.closing(fmt.Sprintf("ircd=inspircd-%s peer=%s upgrades=%d restarts=1 replaces=1 peer_lines=%d", v.release, p.name, upgrades, extra))
	sameState(t, before, n.state())
	n.works()
}

// TestLinksKept: ircferry is killed again and again while users talk across its links, and between that restarted, upgraded, and its ircd restarted: no client and no
// peer sees anything of it.
func TestLinksKept(t *testing.T) {
	p := peers()[0]
	p.kept = true
	onBoth(t, func(t *testing.T, v *inspVersion) {
		if p.services.missing != "" {
			t.Skip(p.services.missing)
		}
		linksKept(t, v, p)
	})
}

func linksKept(t *testing.T, v *inspVersion, p peer) {
	n := newNet(t, v, p, 2, false)
	n.works()
	before := n.state()
	w := n.talk()
	kills := 0
	kill := func(s syscall.Signal) {
		t.Helper()
		// 50 users who talk, and three descriptors of each link.
		pid := n.kept.await("the keeper has everything", func(st keptStatus) bool { return st.Keeper.Up && st.Keeper.Descriptors >= 2*50+3*len(n.taps) }).PID
		n.linksProtected()
		n.kept.end(pid, s)
		n.kept.run()
		kills++
		w.talkOn(500)
	}
	for range 3 {
		kill(syscall.SIGKILL)
	}
	kill(syscall.SIGUSR1)
	n.hubs[0].restart(n.f)
	kill(syscall.SIGKILL)
	n.f.upgrade()
	kill(syscall.SIGKILL)
	n.f.replace(0)
	kill(syscall.SIGKILL)
	extra := n.peerLines(w)
	w.closing(fmt.Sprintf("ircd=inspircd-%s peer=%s kills=%d upgrades=1 restarts=1 replaces=1 peer_lines=%d", v.release, p.name, kills, extra))
	sameState(t, before, n.state())
	n.works()
}

// linksProtected waits until all links would outlive a kill: they are raw, and with the keeper.
func (n *linkNet) linksProtected() {
	n.t.Helper()
	eventually(n.t, slack, "the links are protected", func() bool {
		out, code := n.f.ctl("-o", "json", "status")
		return code == 0 && strings.Count(out, `"protected": true`)+strings.Count(out, `"protected":true`) == len(n.taps)
	})
}
