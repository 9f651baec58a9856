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
	a, b := startEmbedded(t, "a"), startEmbedded(t, "b")
	secure := newSecured(t)
	f := startFerry(t, nil, secure.text, a.backend(), b.backend())
	eye := login(t, f.port, "127.0.0.1", "eye")
	eye.send("JOIN " + channel)
	eye.expect(" 366 ")

	clients := append([]realClient{weechat(t, f.port), irssi(t, f.port), sic(t, f.port)}, secure.clients(t)...)
	for _, c := range clients {
		c.reportOnFailure(t)
		eye.sees(":" + c.nick + "!")
	}
	for _, c := range clients {
		c.talk()
	}
	said := eyeTalks(t, eye)
	before, seen := map[string]map[string]int{}, eye.count()
	for _, c := range clients {
		before[c.nick] = c.settles(t, eye, said)
	}

	f.hasSecure(2)
	begin := time.Now()
	moveTenTimes(t, f, a)
	f.hasSecure(2)

	for _, c := range clients {
		eye.sees(fmt.Sprintf(":%s %d", c.nick, saidLines))
		eventually(t, 60*time.Second, c.nick+" shows the last line", func() bool { return times(c.log(), "eye")[saidLines] > 0 })
		t.Logf("%s has all after %.0f s", c.nick, time.Since(begin).Seconds())
		for line, n := range c.strange() {
			if n > before[c.nick][line] {
				t.Errorf("%s showed during the moves: %s", c.nick, line)
			}
		}
		wantEachOnce(t, c.nick+"'s log", times(c.log(), "eye"))
		wantEachOnce(t, "the lines of "+c.nick, times(strings.Join(eye.since(0), "\n"), c.nick))
	}
	for _, line := range eye.since(seen) {
		if !strings.Contains(line, " PRIVMSG "+channel+" :") {
			t.Errorf("the observer saw %q", line)
		}
	}
}

// moveTenTimes drains to and fro under the running conversation; the tenth move is a restart of a.
func moveTenTimes(t *testing.T, f *ferry, a *embedded) {
	t.Helper()
	begin := time.Now()
	for n := range 9 {
		from, to := "a", "b"
		if n%2 == 1 {
			from, to = to, from
		}
		r := f.move("drain", "main/"+from, "--to", to)
		t.Logf("move %d: drain %s to %s: %d sessions, pause p50 %.0f ms, max %.0f ms", n+1, from, to, r.Moved, r.PauseMS.P50, r.PauseMS.Max)
		f.ctl("undrain", "main/"+from)
		// The moves are spread over the conversation.
		eventually(t, time.Minute, "the next move is due", func() bool { return time.Since(begin) > time.Duration(n+1)*2*time.Second })
	}
	f.move("drain", "main/b", "--to", "a")
	f.ctl("undrain", "main/b")
	r := a.restart(f)
	t.Logf("restart of a: %d sessions, pause max %.0f ms", r.Moved, r.PauseMS.Max)
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
