//go:build e2e

package e2e

import (
	"crypto/tls"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/internal/ircclient"
)

// linkMoves is how many restarts and replaces there are with each pair: one, with the pairs that say most, unless make e2e-links asks for all.
func linkMoves() (moves int, all bool) {
	moves, err := strconv.Atoi(os.Getenv("IRCFERRY_LINKS_MOVES"))
	return max(moves, 1), err == nil
}

// TestLinksDirect tries networks without ircferry, so that a red test elsewhere is known to be about ircferry.
func TestLinksDirect(t *testing.T) {
	if _, all := linkMoves(); !all {
		t.Skip("make e2e-links runs it: it says nothing of ircferry")
	}
	eachPair(t, func(t *testing.T, v *inspVersion, p peer) {
		n := newNet(t, v, p, 1, true)
		n.works()
		n.works()
	})
}

// TestLinks: users talk on both sides of held links while the ircd is restarted and replaced, and nobody sees anything of it: no client, and no peer.
func TestLinks(t *testing.T) {
	moves, _ := linkMoves()
	eachPair(t, func(t *testing.T, v *inspVersion, p peer) { linksUnseen(t, v, p, moves) })
}

func linksUnseen(t *testing.T, v *inspVersion, p peer, moves int) {
	n := newNet(t, v, p, 2, false)
	n.works()
	before := n.state()
	w := n.talk()
	for range moves {
		r := n.hubs[0].restart(n.f)
		t.Logf("restart: pause p50 %.0f ms, max %.0f ms, of it %d ms InspIRCd's own start", r.PauseMS.P50, r.PauseMS.Max, n.hubs[0].starting.Milliseconds())
		w.talkOn(1000)
	}
	for k := range moves {
		n.f.replace(k)
		w.talkOn(1000)
	}
	extra := n.peerLines(w)
	w.closing(fmt.Sprintf("ircd=inspircd-%s peer=%s restarts=%d replaces=%d peer_lines=%d", v.release, p.name, moves, moves, extra))
	sameState(t, before, n.state())
	n.works()
}

// eachPair runs a test with each InspIRCd under each kind of peer.
func eachPair(t *testing.T, test func(t *testing.T, v *inspVersion, p peer)) {
	t.Helper()
	onBoth(t, func(t *testing.T, v *inspVersion) {
		for _, p := range peers() {
			t.Run(p.name, func(t *testing.T) {
				t.Parallel()
				switch {
				case p.services != nil && p.services.missing != "":
					t.Skip(p.services.missing)
				case p.cannotLink(v):
					noLink(t, v, p)
					closingLine(t, fmt.Sprintf("ircd=inspircd-%s peer=%s cannot link: protocol 1202 is too old for this ircd", v.release, p.name))
				default:
					test(t, v, p)
				}
			})
		}
	})
}

// peers are all that is linked in a test; those of make test are Anope and a leaf with a server behind it at once, and Atheme.
func peers() (some []peer) {
	kinds := allServices()
	anope, atheme := kinds[0], kinds[1]
	both := peer{name: "leaf+far+" + anope.String(), leaf: true, far: true, services: anope} // a hub with a child behind one of its links
	if _, all := linkMoves(); !all {
		return []peer{both, {name: atheme.String(), services: atheme}}
	}
	for _, k := range kinds {
		some = append(some, peer{name: k.String(), services: k})
	}
	below := peer{name: "leaf+far+" + anope.String() + "-behind", leaf: true, far: true, services: anope, behind: true}
	return append(some, both, below, peer{name: "leaf", leaf: true})
}

// cannotLink: Atheme 7.2, the newest, speaks protocol 1202, and InspIRCd 4 none before 1205.
func (p peer) cannotLink(v *inspVersion) bool {
	return p.services != nil && p.services.name == "atheme" && v.major == 4
}

// noLink proves it.
func noLink(t *testing.T, v *inspVersion, p peer) {
	t.Helper()
	hub, servers := v.newHub(t, "a", "")
	hub.run()
	s := p.services.start(t, newLinkTap(t, servers).port)
	eventually(t, 20*time.Second, "services are refused", func() bool { return strings.Contains(s.log(), "version 1202 which is too old") })
}

// works tries all that the network's users do across its links.
func (n *linkNet) works() {
	n.t.Helper()
	if n.services != nil {
		if n.withServices == nil {
			n.withServices = newServicesCast(n)
		}
		n.withServices.works()
	}
	if n.leaf != nil {
		if n.withLeaf == nil {
			n.withLeaf = newLeafCast(n)
		}
		n.withLeaf.works()
	}
}

// state is what no move may change.
func (n *linkNet) state() map[string][]string {
	if n.withLeaf == nil {
		return nil
	}
	return n.withLeaf.state()
}

// talk is of 50 users of the hub, and of 20 at the leaf with them, if there is one.
func (n *linkNet) talk() *talkers {
	n.t.Helper()
	const here, there = 50, 20
	clients := here
	if n.leaf != nil {
		clients += there
	}
	return startTalking(n.t, clients, 5, func(k int) (string, *tls.Config) {
		if k < here {
			return fmt.Sprintf("127.0.0.1:%d", n.port()), nil
		}
		return fmt.Sprintf("127.0.0.1:%d", n.away().port), nil
	}, n.welcomed)
}

// welcomed returns when services have said to a newcomer what they say to all.
func (n *linkNet) welcomed(c *ircclient.Client) error {
	if n.services == nil {
		return nil
	}
	if err := c.Send("PRIVMSG " + fmt.Sprintf(n.services.kind.status, c.Nick)); err != nil {
		return err
	}
	_, err := c.Await(fmt.Sprintf(n.services.kind.loggedOut, c.Nick)) // which no echo of the question is
	return err
}

// peerLines ends the talk and answers how many lines peers got that no ircd has said to them live. Whatever differs else fails.
func (n *linkNet) peerLines(w *talkers) (extra int) {
	n.t.Helper()
	w.stop()
	w.oracle.Settle(slack)
	n.quiet()
	for name := range n.taps {
		toPeer, toIRCd := n.streams(name)
		extra += len(toPeer.extra)
		if !toPeer.clean() {
			n.t.Errorf("to %s: %v", name, toPeer)
		}
		if !toIRCd.clean() {
			n.t.Errorf("from %s: %v", name, toIRCd)
		}
	}
	return extra
}
