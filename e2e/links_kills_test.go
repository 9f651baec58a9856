//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
)

// What users and the peer see of a kill.
const (
	unseen   = "nothing"           // the move goes on to its end
	undone   = "nothing, reverted" // it is taken back
	splits   = "a split"           // users stay, the link ends and comes back
	ircdDies = "the ircd's end"    // as without ircferry
	allGone  = "ircferry's end"
)

// kill is somebody killed at a step of a move: before a line of an ircd is passed on, which is lost with lost.
type kill struct {
	move string // restart, replace
	at   string // what the ircd answers, on control or on the link
	who  string // source, destination, ferry, peer; in a restart both ircds are one
	lost bool
	sees string
	test bool // make test runs it: most others say nearly the same
}

// killsAtSteps are the steps in their order. Up to END a source that ends takes its users with it; behind COMMITTED the destination does.
func killsAtSteps() (all []kill) {
	for _, at := range []string{"CHAN", "LINK", "END", "RELEASED", "GREETING", fromLeaf, "PREPARED", "COMMITTED"} {
		for _, move := range []string{"restart", "replace"} {
			all = append(all, kill{move: move, at: at, who: "ferry", sees: allGone}, kill{move: move, at: at, who: "peer", sees: splits})
		}
	}
	all = append(all, kill{move: "replace", at: "IMPORTING", who: "ferry", sees: allGone}, kill{move: "replace", at: "IMPORTING", who: "peer", sees: splits})
	for _, move := range []string{"restart", "replace"} {
		all = append(all,
			kill{move: move, at: "END", who: "source", lost: true, sees: ircdDies, test: move == "restart"},
			kill{move: move, at: "END", who: "source", sees: unseen, test: move == "restart"},
			kill{move: move, at: "RELEASED", who: "source", sees: unseen},
			kill{move: move, at: "RELEASED", who: "source", lost: true, sees: unseen, test: move == "replace"},
			kill{move: move, at: "COMMITTED", who: "destination", lost: true, sees: unseen, test: move == "restart"},
			kill{move: move, at: "COMMITTED", who: "destination", sees: ircdDies})
	}
	for _, at := range []string{"GREETING", fromLeaf, `^:00B ENDBURST`, "PREPARED"} {
		all = append(all, kill{move: "restart", at: at, who: "destination", lost: true, sees: unseen},
			kill{move: "replace", at: at, who: "destination", lost: true, sees: undone})
	}
	return append(all, kill{move: "replace", at: "IMPORTING", who: "destination", lost: true, sees: undone})
}

func (k kill) String() string {
	name := fmt.Sprintf("%s, %s killed at %s", k.move, k.who, strings.TrimPrefix(k.at, "^"))
	if k.lost {
		name += " before it is heard"
	}
	return name
}

// TestLinksKills: whoever is killed at whatever step, a peer never hears a second burst, nobody is a ghost, and in the end all are linked again.
func TestLinksKills(t *testing.T) {
	t.Parallel()
	for _, k := range killsAtSteps() {
		if _, all := linkMoves(); !all && !k.test {
			continue
		}
		onLeaf(t, k.String(), func(_ *testing.T, n *linkNet) { k.happens(n) })
	}
}

func (k kill) happens(n *linkNet) {
	n.t.Helper()
	una, tom := n.login("una"), n.there("tom")
	una.says("JOIN #bay", " 366 ")
	tom.says("JOIN #bay", " 366 ")
	una.sees(":tom!")
	var w *talkers
	if k.sees == unseen || k.sees == undone {
		w = n.talk()
	}
	stop := n.supervise()
	defer stop()
	happened := k.arm(n)
	code, report := n.moves(k.move)
	if !happened() {
		n.t.Fatalf("nobody was killed; the move says %d %s", code, report)
	}
	k.check(n, una, tom, w, code, report)
	n.oneBurst()
	stop()
	if k.who == "ferry" {
		n.f.run(nil)
	}
	if k.who == "peer" {
		n.leaf.run()
	}
	n.meet(una, tom)
	n.oneBurst()
	n.root = n.again(n.root, n.login)
	n.root.says("OPER root rootpw", " 381 ")
	n.works()
}

// supervise starts each ircd anew when it has ended, as a service manager does, until stop.
func (n *linkNet) supervise() (stop func()) {
	quit, running := make(chan struct{}), sync.WaitGroup{}
	for _, hub := range n.hubs {
		proc := hub.proc
		running.Go(func() {
			for {
				select {
				case <-proc.done:
					hub.run()
					proc = hub.proc
				case <-quit:
					return
				}
			}
		})
	}
	return sync.OnceFunc(func() { close(quit); running.Wait() })
}

// arm has the kill happen, and answers whether it has.
func (k kill) arm(n *linkNet) (happened func() bool) {
	source, destination := 0, 0
	if k.move == "replace" {
		destination = 1
	}
	victims := map[string]func(){"source": n.hubs[source].proc.kill, "ferry": n.f.proc.kill, "peer": n.leaf.proc.kill,
		"destination": func() { n.hubs[destination].proc.kill() }} // of a restart: the one that is there by then
	act := func() bool { victims[k.who](); return !k.lost }
	if strings.HasPrefix(k.at, "^") {
		n.behind[destination].when(k.at, act)
		return n.behind[destination].done
	}
	tap := n.control[destination]
	if slices.Contains([]string{"CHAN", "LINK", "END", "RELEASED"}, k.at) {
		tap = n.control[source]
	}
	tap.at(k.at, act)
	return tap.done
}

// moves is a restart in place or a replace, whatever becomes of it. What ends in the restart has ended already if somebody has killed it.
func (n *linkNet) moves(kind string) (code int, report string) {
	n.t.Helper()
	args := []string{"-o", "json", "drain", "main/a", "--to", "b"}
	if kind == "restart" {
		args = []string{"-o", "json", "restart", "main/a", "--exec", fmt.Sprintf("kill %d 2>/dev/null; true", n.hubs[0].proc.cmd.Process.Pid)}
	}
	report, code = n.f.ctl(args...)
	return code, report
}

// check compares what was seen with what had to be.
func (k kill) check(n *linkNet, una, tom *irc, w *talkers, code int, report string) {
	n.t.Helper()
	var r result
	_ = json.Unmarshal([]byte(report), &r)
	told := fmt.Sprintf("exit %d, state %q, error %q", code, r.State, r.Error)
	n.t.Logf("the move says: %s", told)
	switch k.sees {
	case unseen, undone:
		if k.sees == unseen && (code != 0 || r.State != "done") || k.sees == undone && (code == 0 || r.State != "reverted") {
			n.t.Errorf("the move was to be %s, and says %s:\n%s", k.sees, told, report)
		}
		w.talkOn(1000)
		extra := n.peerLines(w)
		w.closing(fmt.Sprintf("%s peer_lines=%d", k, extra))
		w.goAway()
	case splits:
		una.sees(":tom!tom@127.0.0.1 QUIT :")
		if una.gone() {
			n.t.Errorf("a user was closed: %s", report)
		}
		if strings.Contains(report, "given-up") != (code == 4) {
			n.t.Errorf("%s:\n%s", told, report)
		}
	case ircdDies, allGone:
		una.closed(slack)
		tom.sees(":una!una@127.0.0.1 QUIT :")
	}
}

// gone reports whether the connection has ended.
func (c *irc) gone() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err != nil
}

// again is a user who comes back if his connection has ended.
func (n *linkNet) again(user *irc, login func(string) *irc) *irc {
	n.t.Helper()
	if !user.gone() {
		return user
	}
	return login(user.nick)
}

// meet returns when both, come back if they were closed, are on #bay and both servers say so: they, and nobody twice, and nobody else.
func (n *linkNet) meet(una, tom *irc) {
	n.t.Helper()
	n.meetWith(n.again(una, n.login), n.again(tom, n.there), "tom una")
}

// meetWith is meet of two who are there, and others.
func (n *linkNet) meetWith(una, tom *irc, all string) {
	n.t.Helper()
	for _, c := range []*irc{una, tom} {
		c.send("JOIN #bay")
		c.fence()
	}
	var here, there string
	defer func() {
		if n.t.Failed() {
			n.t.Logf("una's server says %q, tom's %q", here, there)
		}
	}()
	eventually(n.t, slack, "both servers are of one mind", func() bool {
		here, there = n.names(una, "#bay")+", "+n.lusers(una), n.names(tom, "#bay")+", "+n.lusers(tom)
		return strings.HasPrefix(here, all+", ") && here == there
	})
}

// names is who is on a channel, sorted, without status.
func (n *linkNet) names(who *irc, channel string) string {
	n.t.Helper()
	var all []string
	for _, line := range who.ask("NAMES " + channel) {
		if head, names, ok := strings.Cut(line, " :"); ok && strings.Contains(head, " 353 ") {
			for _, name := range strings.Fields(names) {
				all = append(all, strings.TrimLeft(name, "@+%&~!"))
			}
		}
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// lusers is how many users and servers there are, by one of these.
func (n *linkNet) lusers(who *irc) string {
	n.t.Helper()
	for _, line := range who.ask("LUSERS") {
		if _, text, ok := strings.Cut(line, " 251 "+who.nick+" :"); ok {
			return text
		}
	}
	return ""
}

// oneBurst fails if a peer has been told on one connection of a burst twice, or of a user who is there already.
func (n *linkNet) oneBurst() {
	n.t.Helper()
	for name, tap := range n.taps {
		for _, c := range tap.of(name) {
			bursts, there := 0, map[string]bool{}
			for _, l := range c.lines {
				words := strings.Fields(l.text)
				if l.up || len(words) < 2 {
					continue
				}
				switch {
				case words[0] == ":"+hubSID && words[1] == "BURST" || words[0] == "BURST":
					bursts++
				case words[1] == "UID":
					if there[words[2]] {
						n.t.Errorf("%s was told twice of %s: %s", name, words[2], l.text)
					}
					there[words[2]] = true
				case words[1] == "QUIT":
					delete(there, words[0][1:])
				case words[1] == "KILL":
					delete(there, words[2])
				}
			}
			if bursts > 1 {
				n.t.Errorf("%s has had %d bursts on one connection", name, bursts)
			}
		}
	}
}
