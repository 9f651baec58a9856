//go:build e2e

package e2e

import (
	"fmt"
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
