//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestRealClientsStayThroughTenMoves is the promise seen from the user's chair: nine drains to and fro and a restart, and no client
// shows anything of it, while every numbered line arrives once, in both directions. Two of the clients use TLS.
func TestRealClientsStayThroughTenMoves(t *testing.T) {
	t.Parallel() // most of it is the time between moves
	a, b := startEmbedded(t, "a"), startEmbedded(t, "b")
	secure := newSecured(t)
	f := startFerry(t, nil, secure.text, a.backend(), b.backend())
	c := observe(t, f)
	c.gather(append(secure.clients(t), weechat(t, f.port), irssi(t, f.port), sic(t, f.port))...)
	c.begin()
	f.hasSecure(2)
	moveTenTimes(t, f, a)
	f.hasSecure(2)
	c.nobodyNoticed()
}

// moveTenTimes drains to and fro under the running conversation; the tenth move is a restart of a.
func moveTenTimes(t *testing.T, f *ferry, a *embedded) {
	t.Helper()
	begin := time.Now()
	for n := range 9 {
		f.replace(n)
		// The moves are spread over the conversation.
		eventually(t, time.Minute, "the next move is due", func() bool { return time.Since(begin) > time.Duration(n+1)*2*time.Second })
	}
	f.toA()
	r := a.restart(f)
	t.Logf("restart of a: %d sessions, pause max %.0f ms", r.Moved, r.PauseMS.Max)
}

// conversation is real clients on a channel with an observer of ours; all of them say numbered lines.
type conversation struct {
	t       *testing.T
	eye     *irc
	clients []realClient

	before map[string]map[string]int // strange lines of each client when the moves began
	seen   int                       // lines that the observer had got by then
}

// observe begins a conversation with the observer, who is on the channel before anybody else.
func observe(t *testing.T, f *ferry) *conversation {
	t.Helper()
	c := &conversation{t: t, eye: login(t, f.port, "127.0.0.1", "eye"), before: map[string]map[string]int{}}
	c.eye.send("JOIN " + channel)
	c.eye.expect(" 366 ")
	return c
}

// gather waits until clients that were just started are on the channel.
func (c *conversation) gather(clients ...realClient) {
	c.t.Helper()
	c.clients = clients
	for _, one := range clients {
		one.reportOnFailure(c.t)
		c.eye.sees(":" + one.nick + "!")
	}
}

// begin has everybody talk, and returns when all are at it.
func (c *conversation) begin() {
	c.t.Helper()
	for _, one := range c.clients {
		one.talk()
	}
	said := eyeTalks(c.t, c.eye)
	c.seen = c.eye.count()
	for _, one := range c.clients {
		c.before[one.nick] = one.settles(c.t, c.eye, said)
	}
}

// nobodyNoticed waits for the last lines: every line was heard once by everybody, and nothing else was seen since begin.
func (c *conversation) nobodyNoticed() {
	c.t.Helper()
	for _, one := range c.clients {
		c.eye.sees(fmt.Sprintf(":%s %d", one.nick, saidLines))
		eventually(c.t, 60*time.Second, one.nick+" shows the last line", func() bool { return times(one.log(), "eye")[saidLines] > 0 })
		for line, n := range one.strange() {
			if n > c.before[one.nick][line] {
				c.t.Errorf("%s showed during the moves: %s", one.nick, line)
			}
		}
		wantEachOnce(c.t, one.nick+"'s log", times(one.log(), "eye"))
		wantEachOnce(c.t, "the lines of "+one.nick, times(strings.Join(c.eye.since(0), "\n"), one.nick))
	}
	for _, line := range c.eye.since(c.seen) {
		if !strings.Contains(line, " PRIVMSG "+channel+" :") {
			c.t.Errorf("the observer saw %q", line)
		}
	}
}

// wantEachOnce fails for every number from 1 to saidLines that is not there exactly once.
func wantEachOnce(t *testing.T, what string, count map[int]int) {
	t.Helper()
	for n := 1; n <= saidLines; n++ {
		if count[n] != 1 {
			t.Errorf("%s: line %d is there %d times", what, n, count[n])
		}
	}
}
