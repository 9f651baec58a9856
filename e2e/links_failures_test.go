//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// fromLeaf is a line of the leaf's burst that is replayed into an ircd.
const fromLeaf = `^:00B UID 00B`

// TestLinksReverted: whatever goes wrong before the point of no return leaves all as it was: the move is taken back, and neither a user nor the peer
// sees that there was one.
func TestLinksReverted(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		begin func(n *linkNet)
		told  string // in the move's error
	}{
		{"the fence does not come", func(n *linkNet) { n.behind[0].when(` PONG \S+ :?\S+ \S+$| PONG 00B \S+$`, never) }, leafName},
		{"the marker of the cut does not come", func(n *linkNet) { n.behind[0].when(marks.String(), never) }, leafName},
		{"the destination is killed while the link is replayed", func(n *linkNet) { n.behind[1].when(fromLeaf, n.killed(1)) }, ""},
		{"the destination is killed at the replay's end", func(n *linkNet) { n.behind[1].when(`^:00B ENDBURST`, n.killed(1)) }, ""},
		{"the destination is killed at PREPARED", func(n *linkNet) { n.control[1].at("PREPARED", n.killed(1)) }, ""},
		{"the destination does not answer the replay's fence", func(n *linkNet) {
			n.behind[1].when(fromLeaf, func() bool { n.hubs[1].proc.signal(syscall.SIGSTOP); return true })
		}, leafName},
	} {
		onLeaf(t, c.name, func(t *testing.T, n *linkNet) {
			w := n.talk()
			c.begin(n)
			out, code := n.f.ctl("-o", "json", "drain", "main/a", "--to", "b")
			var r result
			_ = json.Unmarshal([]byte(out), &r)
			if code == 0 || r.State != "reverted" || !strings.Contains(r.Error, c.told) {
				t.Errorf("exit %d, %s", code, out)
			}
			t.Logf("the move says: %s", r.Error)
			_ = n.hubs[1].proc.cmd.Process.Signal(syscall.SIGCONT)
			w.talkOn(1000)
			extra := n.peerLines(w)
			w.closing(fmt.Sprintf("reverted peer_lines=%d", extra))
			n.works()
		})
	}
}

// never is for a line that gets lost.
func never() bool { return false }

// killed kills a hub, and what a test waited for does not arrive.
func (n *linkNet) killed(k int) func() bool {
	return func() bool {
		n.control[k].refuse()
		n.hubs[k].proc.kill()
		return false
	}
}

// longer are those of onLeaf's tests that make e2e-links runs and make test has no time for: others say nearly the same.
var longer = []string{"the marker of the cut does not come", "the destination is killed at the replay's end", "the destination does not answer the replay's fence", "at PREPARED",
	"the ircd comes back with another name", "the ircd comes back with another id", "the ircd comes back without the link", "5 MB", "5 MB of services", "for longer than park", "a child killed", "stay"}

// onLeaf runs a test with a leaf, on each version; for make test on the first one, and not all.
func onLeaf(t *testing.T, name string, test func(t *testing.T, n *linkNet)) {
	t.Helper()
	onPeer(t, name, peer{name: "leaf", leaf: true}, test)
}

// onPeer is onLeaf with another peer.
func onPeer(t *testing.T, name string, p peer, test func(t *testing.T, n *linkNet)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		on := onFirst
		if _, all := linkMoves(); all {
			on = onBoth
		} else if slices.Contains(longer, name) {
			t.Skip("make e2e-links runs it: make test has no time for it")
		}
		hubs := 2
		if p.alone {
			hubs = 1
		}
		on(t, func(t *testing.T, v *inspVersion) { test(t, newNet(t, v, p, hubs, false)) })
	})
}

// TestLinksRestartedTwice: the ircd that comes up is killed while the link is replayed into it, and started once more: nobody sees anything of either.
func TestLinksRestartedTwice(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(n *linkNet, kill func() bool){
		"while the link is replayed": func(n *linkNet, kill func() bool) { n.behind[0].when(fromLeaf, kill) },
		"at PREPARED":                func(n *linkNet, kill func() bool) { n.control[0].at("PREPARED", kill) },
	} {
		onLeaf(t, name, func(t *testing.T, n *linkNet) {
			w := n.talk()
			a := n.hubs[0]
			again := make(chan struct{})
			begin(n, func() bool {
				a.proc.kill()
				go func() { defer close(again); a.run() }()
				return false
			})
			r := a.restart(n.f)
			<-again
			t.Logf("%+v", r)
			w.talkOn(1000)
			extra := n.peerLines(w)
			w.closing(fmt.Sprintf("restarts=1 peer_lines=%d", extra))
			n.works()
		})
	}
}

// TestLinksGivenUp: what goes wrong with a link behind the point of no return costs that link: an ordinary split, of which the peer comes back. The users
// of both sides stay, and nobody is there who is not.
func TestLinksGivenUp(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		text [2]string // of the configuration that the ircd comes back with
		at   func(n *linkNet)
	}{
		{name: "the marker behind COMMIT does not come", at: func(n *linkNet) {
			n.behind[0].when(`^(:00B )?BURST `, func() bool { n.behind[0].when(marks.String(), never); return true })
		}},
		{name: "the ircd comes back with other modules", text: [2]string{`<module name="knock">`, ""}},
		{name: "the ircd comes back with another name", text: [2]string{`name="insp.example.org"`, `name="other.example.org"`}},
		{name: "the ircd comes back with another id", text: [2]string{`id="1AA"`, `id="2AA"`}},
		{name: "the ircd comes back without the link", text: [2]string{`<link name="leaf.example"`, `<link name="other.example"`}},
	} {
		onLeaf(t, c.name, func(t *testing.T, n *linkNet) {
			a := n.hubs[0]
			una, tom := n.login("una"), n.there("tom")
			una.says("JOIN #bay", " 366 ")
			tom.says("JOIN #bay", " 366 ")
			una.sees(":tom!")
			if c.at != nil {
				c.at(n)
			}
			for _, file := range []string{a.conf, a.dir + "/links.conf"} {
				if text := readFile(file); c.text[0] != "" && strings.Contains(text, c.text[0]) {
					writeFile(t, file, strings.ReplaceAll(text, c.text[0], c.text[1]))
				}
			}
			if code, out := n.restarted(); code != 4 || !strings.Contains(out, `"given-up"`) {
				t.Errorf("exit %d of a restart that has cost a link:\n%s", code, out)
			}
			if !n.behind[0].done() {
				t.Error("what this test waits for has not been")
			}
			una.sees(":tom!tom@127.0.0.1 QUIT :")
			tom.sees(":una!una@127.0.0.1 QUIT :")
			n.noGhost(una, "tom")
			n.noGhost(tom, "una")
			n.oneBurst()
			if c.text[0] != "" { // so that the leaf may not be able to link anew
				return
			}
			una.expect(":tom!tom@127.0.0.1 JOIN ")
			tom.expect(":una!una@127.0.0.1 JOIN ")
			n.works()
		})
	}
}

// restarted is a restart in place, whatever becomes of it.
func (n *linkNet) restarted() (code int, report string) {
	n.t.Helper()
	a := n.hubs[0]
	old, back := a.proc, make(chan struct{})
	go func() {
		defer close(back)
		<-old.done
		a.run()
	}()
	report, code = n.f.ctl("-o", "json", "restart", "main/a", "--exec", fmt.Sprintf("kill %d", old.cmd.Process.Pid))
	<-back
	return code, report
}

// TestLinksPeerEnds: a peer that ends while it is held is an ordinary split when its ircd is back: not before, and without a ghost.
func TestLinksPeerEnds(t *testing.T) {
	t.Parallel()
	onLeaf(t, "killed", func(t *testing.T, n *linkNet) {
		una, tom := n.login("una"), n.there("tom")
		una.says("JOIN #bay", " 366 ")
		tom.says("JOIN #bay", " 366 ")
		una.sees(":tom!")
		n.control[0].at("RELEASED", func() bool { n.leaf.proc.kill(); return true })
		if code, out := n.restarted(); code != 4 || !strings.Contains(out, `"given-up"`) {
			t.Errorf("exit %d of a restart in which the peer has gone:\n%s", code, out)
		}
		una.sees(":tom!tom@127.0.0.1 QUIT :")
		if names := strings.Join(una.ask("NAMES #bay"), "\n"); strings.Contains(names, "tom") {
			t.Errorf("a ghost: %s", names)
		}
		n.leaf.run()
		tom = n.there("tom")
		tom.says("JOIN #bay", " 366 ")
		una.sees(":tom!tom@127.0.0.1 JOIN ")
		n.works()
	})
}

// TestLinksServicesEnd: services that end while they are held split when the ircd is back, and meet the users with their accounts when they are.
func TestLinksServicesEnd(t *testing.T) {
	t.Parallel()
	onPeer(t, "services killed", peer{name: "anope", services: allServices()[0]}, func(t *testing.T, n *linkNet) {
		n.works()
		alice := n.withServices.alice
		n.withServices.boss.send("PRIVMSG OperServ :UPDATE")
		eventually(t, slack, "services have saved their accounts", func() bool { return strings.Contains(readAll(n.services.dir+"/db/anope.db"), "carol") })
		begin := alice.count()
		n.control[0].at("RELEASED", func() bool { n.services.proc.kill(); return true })
		if code, out := n.restarted(); code != 4 || !strings.Contains(out, `"given-up"`) {
			t.Errorf("exit %d of a restart in which services have gone:\n%s", code, out)
		}
		alice.says("PRIVMSG NickServ :HELP", " 401 ")
		n.services.run()
		n.linkedAnew()
		n.withServices.knows(alice)
		n.withServices.knows(n.withServices.carol)
		n.withServices.round++
		n.withServices.newcomer()
		for _, line := range alice.since(begin) {
			if strings.Contains(line, " QUIT ") || strings.Contains(strings.ToLower(line), "identify") {
				t.Errorf("alice saw %q", line)
			}
		}
		n.oneBurst()
	})
}

// linkedAnew returns when services have linked again, and both bursts are through.
func (n *linkNet) linkedAnew() {
	n.t.Helper()
	ended := func(conn tapConn, up bool) bool {
		return slices.ContainsFunc(conn.lines, func(l tapLine) bool { return l.up == up && strings.HasSuffix(l.text, " ENDBURST") })
	}
	eventually(n.t, slack, "services have linked anew", func() bool {
		conns := n.uplink.of(servicesName) // also those that were refused
		last := conns[len(conns)-1]
		return len(conns) > 1 && ended(last, true) && ended(last, false)
	})
}

// noGhost fails if a channel has a user who has quit and not joined since.
func (n *linkNet) noGhost(who *irc, nick string) {
	n.t.Helper()
	names, there := n.names(who, "#bay"), false
	for _, line := range who.since(0) {
		if strings.HasPrefix(line, ":"+nick+"!") && (strings.Contains(line, " QUIT ") || strings.Contains(line, " JOIN ")) {
			there = strings.Contains(line, " JOIN ")
		}
	}
	if slices.Contains(strings.Fields(names), nick) && !there {
		n.t.Errorf("a ghost: %s sees %s", who.nick, names)
	}
}

// TestLinksChildEnds: a server behind a held one splits while the ircd is away: its users quit behind the ircd's return, the link itself stays, and they
// are there again when it has come back.
func TestLinksChildEnds(t *testing.T) {
	t.Parallel()
	onPeer(t, "a child killed", peer{name: "leaf+far", leaf: true, far: true}, func(t *testing.T, n *linkNet) {
		una, tom, lea := n.login("una"), n.there("tom"), login(t, n.leaf.port, "127.0.0.1", "lea")
		for _, user := range []*irc{una, tom, lea} {
			user.says("JOIN #bay", " 366 ")
		}
		una.sees(":tom!")
		una.sees(":lea!")
		n.control[0].at("RELEASED", func() bool {
			n.far.proc.kill()
			n.taps[leafName].saw(leafName, true, 0, ` SQUIT `+farSID+` `)
			return true
		})
		if code, out := n.restarted(); code != 0 {
			t.Errorf("exit %d:\n%s", code, out)
		}
		una.sees(":tom!tom@127.0.0.1 QUIT :")
		if names := n.names(una, "#bay"); names != "lea una" {
			t.Errorf("on #bay are %s", names)
		}
		n.far.run()
		n.meetWith(una, n.again(tom, n.there), "lea tom una")
		n.works()
		if conns := len(n.taps[leafName].of(leafName)); conns != 1 {
			t.Errorf("the leaf has had %d connections", conns)
		}
		n.hubs[0].restart(n.f) // what the dead server had said of itself is not told for the one that is there now
		n.oneBurst()
		n.works()
	})
}

// TestLinksFerryKilled: ircferry is killed while it holds a link: the peer sees a split, and comes back when ircferry is. Nobody who was
// there before is a ghost.
func TestLinksFerryKilled(t *testing.T) {
	t.Parallel()
	onLeaf(t, "while the ircd restarts", func(t *testing.T, n *linkNet) {
		una, tom := n.login("una"), n.there("tom")
		una.says("JOIN #bay", " 366 ")
		tom.says("JOIN #bay", " 366 ")
		una.sees(":tom!")
		a := n.hubs[0]
		go n.f.ctl("restart", "main/a", "--exec", fmt.Sprintf("kill %d", a.proc.cmd.Process.Pid))
		<-a.proc.done
		n.f.proc.kill()
		tom.sees(":una!una@127.0.0.1 QUIT :")
		a.run()
		n.f.run(nil)
		n.meetWith(n.login("una"), tom, "tom una")
		n.root = n.login("root")
		n.root.says("OPER root rootpw", " 381 ")
		n.works()
	})
}

// TestLinksMuchMeanwhile: five megabytes from a peer while the ircd is away arrive behind its return, in order, and all of them.
func TestLinksMuchMeanwhile(t *testing.T) {
	t.Parallel()
	onLeaf(t, "5 MB", func(t *testing.T, n *linkNet) {
		const lines = 12_500
		una, tom := n.login("una"), n.there("tom")
		una.says("JOIN #bay", " 366 ")
		tom.says("JOIN #bay", " 366 ")
		una.sees(":tom!")
		a := n.hubs[0]
		old, back := a.proc, make(chan struct{})
		go func() {
			defer close(back)
			<-old.done
			for k := range lines {
				tom.send(fmt.Sprintf("PRIVMSG #bay :%06d %s", k, strings.Repeat("x", 390)))
				if k%20 == 19 { // InspIRCd reads 10 KiB in a turn of its loop, which turns once a second when nobody else says anything
					tom.fence()
				}
			}
			a.run()
		}()
		begin := una.count()
		n.f.move("restart", "main/a", "--exec", fmt.Sprintf("kill %d", old.cmd.Process.Pid))
		<-back
		live := time.Now()
		una.sees(fmt.Sprintf(":%06d ", lines-1))
		t.Logf("all there %v after the move's end", time.Since(live).Round(time.Millisecond))
		for k, line := range una.since(begin) {
			if !strings.Contains(line, fmt.Sprintf(" PRIVMSG #bay :%06d x", k)) {
				t.Fatalf("line %d is %.80q", k, line)
			}
		}
		n.works()
	})
}
