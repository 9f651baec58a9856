//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestLinksServicesSayMuch: services say five megabytes while the ircd is away. All of it arrives behind its return, in order; or it is more than hold:
// then that link is given up, named and counted, the users stay, and services come back and know them.
func TestLinksServicesSayMuch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, link string
		kept       bool
	}{
		{"5 MB of services", "", true},
		{"5 MB of services, more than hold", ", hold: 1MiB", false},
	} {
		onPeer(t, c.name, peer{name: "anope", services: allServices()[0], link: c.link}, func(_ *testing.T, n *linkNet) { n.servicesSayMuch(c.kept) })
	}
}

func (n *linkNet) servicesSayMuch(kept bool) {
	const much = 5 << 20
	n.works() // from here on somebody has an account
	alice, una := n.withServices.alice, n.login("una")
	answer := una.helped(1)
	size := 0
	for _, line := range answer {
		size += len(line) + 1 // on the link it has ids in place of masks, and is a little shorter
	}
	questions := much*6/5/size + 1
	begin, said := una.count(), n.uplink.count(servicesName)
	n.services.proc.signal(syscall.SIGSTOP)
	for k := range questions {
		if una.send("PRIVMSG ChanServ :HELP"); k%100 == 99 {
			una.fence()
		}
	}
	una.fence()
	a := n.hubs[0]
	old, back := a.proc, make(chan struct{})
	go func() {
		defer close(back)
		<-old.done
		_ = n.services.proc.cmd.Process.Signal(syscall.SIGCONT)
		eventually(n.t, slack, "services have answered, or were given up", func() bool {
			conn := n.uplink.of(servicesName)[0]
			return len(conn.lines)-said >= questions*len(answer) || conn.ended
		})
		a.run()
	}()
	out, code := n.f.ctl("-o", "json", "restart", "main/a", "--exec", fmt.Sprintf("kill %d", old.cmd.Process.Pid))
	<-back
	if una.gone() || alice.gone() {
		n.t.Fatalf("users were closed: exit %d\n%s", code, out)
	}
	if kept {
		n.arrive(una, begin, questions, answer, much, code, out)
	} else {
		n.tooMuch(alice, code, out)
	}
	n.oneBurst()
}

// arrive waits until all answers are there, in order and nothing else.
func (n *linkNet) arrive(una *irc, begin, questions int, answer []string, much, code int, out string) {
	n.t.Helper()
	if code != 0 {
		n.t.Errorf("exit %d:\n%s", code, out)
	}
	live := time.Now()
	var got []string
	eventually(n.t, slack, "all answers have arrived", func() bool {
		got = noFences(una.since(begin))
		return len(got) >= questions*len(answer)
	})
	size := 0
	for k, line := range got {
		if size += len(line); line != answer[k%len(answer)] {
			n.t.Fatalf("line %d is %q, not %q", k, line, answer[k%len(answer)])
		}
	}
	n.t.Logf("%d lines of %d bytes, all there %v after the move's end", len(got), size, time.Since(live).Round(time.Millisecond))
	if size < much {
		n.t.Errorf("services have said %d bytes only", size)
	}
	n.works()
}

// tooMuch is a link that was given up because its peer has said more than hold.
func (n *linkNet) tooMuch(alice *irc, code int, out string) {
	n.t.Helper()
	for _, want := range []string{`"given-up"`, servicesName, "more than 1MiB", "raise hold of the link"} {
		if !strings.Contains(out, want) {
			n.t.Errorf("the report does not tell %q", want)
		}
	}
	if code != 4 {
		n.t.Errorf("exit %d:\n%s", code, out)
	}
	given := metricsAt(n.t, n.http)[`ircferry_link_given_up_total{cause="kept",link="`+servicesName+`",pool="main"}`]
	if given != 1 {
		n.t.Errorf("given up %v times, by the metric", given)
	}
	before := alice.count()
	n.linkedAnew()
	n.withServices.knows(alice)
	n.withServices.knows(n.withServices.carol)
	for _, line := range alice.since(before) {
		if strings.Contains(line, "NickServ") && strings.Contains(strings.ToLower(line), "identify") {
			n.t.Errorf("alice was told %q", line)
		}
	}
}

// helped is what ChanServ answers to so many questions for help.
func (c *irc) helped(questions int) []string {
	c.t.Helper()
	begin := c.count()
	for range questions {
		c.send("PRIVMSG ChanServ :HELP")
	}
	c.send("PRIVMSG NickServ :STATUS " + c.nick) // answered behind it
	c.expect(":STATUS " + c.nick + " 0")
	lines := noFences(c.since(begin))
	return lines[:len(lines)-1]
}

// noFences is lines without the answers of fences.
func noFences(lines []string) (rest []string) {
	for _, line := range lines {
		if !strings.Contains(line, " PONG ") {
			rest = append(rest, line)
		}
	}
	return rest
}

// TestLinksIrcdStaysAway: the ircd does not come back within the park time: users and links end, each with one reason, and when it is there after all,
// everybody may come at once: nobody is awaited, and nobody is a ghost.
func TestLinksIrcdStaysAway(t *testing.T) {
	t.Parallel()
	onPeer(t, "for longer than park", peer{name: "leaf", leaf: true, alone: true, ferry: "moves: {max_pause: 2s, park: 4s}\n"}, func(t *testing.T, n *linkNet) {
		una, tom := n.login("una"), n.there("tom")
		una.says("JOIN #bay", " 366 ")
		tom.says("JOIN #bay", " 366 ")
		una.sees(":tom!")
		a := n.hubs[0]
		code, out := n.moves("restart")
		if code == 0 || !strings.Contains(out, `"failed"`) || !strings.Contains(out, `"given-up"`) {
			t.Errorf("exit %d:\n%s", code, out)
		}
		una.closed(slack)
		if lines := una.since(0); !strings.HasPrefix(lines[len(lines)-1], "ERROR :") {
			t.Errorf("una's last line is %q", lines[len(lines)-1])
		}
		tom.sees(":una!una@127.0.0.1 QUIT :")
		n.oneBurst()
		if files, err := os.ReadDir(n.f.dir + "/state"); err != nil || len(files) == 0 {
			t.Errorf("the journal is not kept: %v %v", files, err)
		}
		began := time.Now()
		a.run()
		n.meet(una, tom)
		if took := time.Since(began); took > 30*time.Second {
			t.Errorf("the ircd has kept everybody out for %v, as if they were to come back", took)
		}
		n.root = n.again(n.root, n.login)
		n.root.says("OPER root rootpw", " 381 ")
		n.works()
		n.oneBurst()
	})
}
