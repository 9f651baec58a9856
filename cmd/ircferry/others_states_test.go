package main

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/ircferry/ircferry/admin"
	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff"
)

// twoBeforeTwo is two proxies of a cluster before the same two ircds.
func twoBeforeTwo(t *testing.T) (f *fleet, one, two *daemon) {
	t.Helper()
	f = newFleet(t)
	dir := t.TempDir()
	handoffs := map[string]string{"a": "unix:" + startIrcd(t, dir, "a").socket, "b": "unix:" + startIrcd(t, dir, "b").socket}
	one = startTestDaemon(t, f.member(testConfig(t, handoffs), 1, 2))
	two = startTestDaemon(t, f.member(testConfig(t, handoffs), 2, 2))
	awaitCluster(t, one, "both see each other", alive(2))
	awaitCluster(t, two, "both see each other", alive(2))
	return f, one, two
}

func adminOf(d *daemon, name string) backend.AdminState {
	b, _ := d.backends.Backend(name)
	return b.Admin()
}

func servedFrom(d *daemon) string {
	p, _ := d.backends.Pool("main")
	return p.Serving()
}

// A drain of one proxy does not leave the other choosing the drained ircd, and its new clients meet the users who were moved. While the move runs, nothing of it is told.
func TestADrainOfOneProxyHoldsForTheOther(t *testing.T) {
	_, one, two := twoBeforeTwo(t)
	alice := dialIRC(t, one.address(t), "alice")
	defer alice.Close()
	m, err := one.moves.Hold(handoff.Request{Kind: handoff.KindHold, Pool: "main", From: "a"})
	if err != nil {
		t.Fatal(err)
	}
	await(t, "alice is parked", func() bool { return m.Report().State == handoff.StateParked })
	one.others.Tell(withRoom(t))
	if a := adminOf(two, "main/a"); a != backend.Ready {
		t.Errorf("in the midst of a move the other proxy has a as %s", a)
	}
	if _, err := one.moves.Release("main", "a", "", ""); err != nil {
		t.Fatal(err)
	}
	ended(t, m)
	if r := drain(t, one, "a", "b"); r.Moved != 1 {
		t.Fatalf("%+v", r)
	}
	await(t, "the other proxy has a in drain and serves from b", func() bool { return adminOf(two, "main/a") == backend.Drain && servedFrom(two) == "b" })
	bob := dialIRC(t, two.address(t), "bob")
	defer bob.Close()
	if b, _ := two.backends.Backend("main/b"); b.Sessions() != 1 {
		t.Error("the other proxy's new client is not where the users are")
	}
	readyAgain(t, one, "a")
	await(t, "a is ready for the other, too", func() bool { return adminOf(two, "main/a") == backend.Ready })
	if servedFrom(two) != "b" {
		t.Error("the other proxy went back by itself")
	}
}

// A command says who could not be told, and he hears of it when he is back.
func TestWhoWasAwayHearsOfIt(t *testing.T) {
	_, one, two := twoBeforeTwo(t)
	two.others.stop(expired())
	done, err := client(t, one).Maint(withRoom(t), "main/b")
	if err != nil || !slices.Equal(done.Untold, []string{"ferry2"}) {
		t.Errorf("untold %v, %v", done.Untold, err)
	}
	b, _ := two.backends.Backend("main/b")
	if err := b.SetAdmin(backend.Drain); err != nil { // and has acted itself meanwhile, once
		t.Fatal(err)
	}
	if _, err := client(t, one).Ready(withRoom(t), "main/b"); err != nil {
		t.Fatal(err)
	}
	if err := two.others.start(two.cfg.Load().Config); err != nil {
		t.Fatal(err)
	}
	await(t, "the newer act holds at both", func() bool { return adminOf(two, "main/b") == backend.Ready && adminOf(one, "main/b") == backend.Ready })
	done, err = client(t, one).Maint(withRoom(t), "main/b")
	if err != nil || len(done.Untold) > 0 {
		t.Errorf("untold %v, %v", done.Untold, err)
	}
	if a := adminOf(two, "main/b"); a != backend.Maint {
		t.Errorf("the command has ended, and the other proxy has b as %s", a)
	}
	await(t, "the event says whose act it was", func() bool {
		text := ""
		two.events.Follow(t.Context(), 0, false, func(ev admin.Event) error { text += ev.Text + "\n"; return nil })
		return strings.Contains(text, "as proxy ferry1 has it")
	})
}

// Where two proxies serve a pool from two backends and both have users, the newer act decides, when the ircds have been asked.
func TestTwoServeFromTwo(t *testing.T) {
	_, one, two := twoBeforeTwo(t)
	two.others.stop(expired())
	alice, bob := dialIRC(t, one.address(t), "alice"), dialIRC(t, two.address(t), "bob")
	defer alice.Close()
	defer bob.Close()
	p, _ := two.backends.Pool("main")
	if err := p.SetServing("b"); err != nil {
		t.Fatal(err)
	}
	carol := dialIRC(t, two.address(t), "carol")
	defer carol.Close()
	p, _ = one.backends.Pool("main")
	for _, name := range []string{"b", "a"} { // as many acts or more on this side
		if err := p.SetServing(name); err != nil {
			t.Fatal(err)
		}
	}
	if err := two.others.start(two.cfg.Load().Config); err != nil {
		t.Fatal(err)
	}
	await(t, "the newer act decides, both having users", func() bool { return servedFrom(two) == "a" && servedFrom(one) == "a" })
}

// A drain that users of another proxy would see is refused, and says by which they came in.
func TestARefusalNamesTheOtherProxy(t *testing.T) {
	_, one, two := twoBeforeTwo(t)
	alice, bob := dialIRC(t, one.address(t), "alice"), dialIRC(t, two.address(t), "bob")
	defer alice.Close()
	defer bob.Close()
	awaitCluster(t, one, "bob is told", func(c *admin.Cluster) bool { return memberOf(c, "ferry2").Backends["main/a"] == 1 })
	var err error
	await(t, "the ircd says that somebody else's user is there", func() bool {
		_, err = client(t, one).Drain(withRoom(t), admin.DrainRequest{Backend: "main/a", To: "b"})
		return err != nil
	})
	var no *admin.Error
	if !errors.As(err, &no) || no.Code != admin.CodeRefused || !strings.Contains(no.Message, "came in 1 by proxy ferry2") || !strings.Contains(no.Hint, "each proxy moves its own users only") {
		t.Errorf("the refusal is %v", err)
	}
	for _, d := range []*daemon{one, two} {
		if a := adminOf(d, "main/a"); a != backend.Ready {
			t.Errorf("behind the refusal main/a is %s", a)
		}
	}
}
