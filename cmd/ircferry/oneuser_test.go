package main

import (
	"strings"
	"testing"

	"github.com/ircferry/ircferry/handoff"
	"github.com/ircferry/ircferry/internal/ircclient"
)

// A client that is closed while it is parked, for a line without an end, costs nobody but itself: the others go on, and see it quit.
func TestOneClientEndsWhileParked(t *testing.T) {
	t.Parallel() // it takes ten seconds until parked clients are read
	d, addr, a, _ := pair(t, nil, nil)
	var crowd []*ircclient.Tester
	for _, nick := range []string{"alice", "bob", "carol", "mallory"} {
		c := ircclient.TestUser(t, addr, nick)
		c.Join("#x")
		crowd = append(crowd, c)
	}
	m, err := d.moves.Hold(handoff.Request{Kind: handoff.KindRestart, Pool: "main", From: "a"})
	if err != nil {
		t.Fatal(err)
	}
	<-m.Parked()
	a.kill()
	mallory := crowd[3]
	await(t, "the end of mallory", func() bool {
		mallory.Client.Write([]byte(strings.Repeat("x", 1<<10)))
		return mallory.Err() != nil
	})
	a.start()
	if _, err := d.moves.Release("main", "a", "", "test"); err != nil {
		t.Fatal(err)
	}
	r := ended(t, m)
	if r.State != handoff.StateDone || r.Moved != 3 || len(r.Named) != 1 || r.Named[0].Nick != "mallory" || r.Ended.Sub(r.Started) > patience/2 {
		t.Fatalf("%+v", r)
	}
	for i, c := range crowd[:3] {
		if line := c.Await(" QUIT "); line.Nick() != "mallory" {
			t.Errorf("%d does not see mallory leave: %q", i, line.Text)
		}
		crowd[(i+1)%3].Send("PRIVMSG #x :still here")
		c.Await("still here")
	}
}
