package main

import (
	"syscall"
	"testing"
	"time"

	"github.com/ircferry/ircferry/handoff"
	"github.com/ircferry/ircferry/internal/ircclient"
)

// An ircd that stands still for a while, as in a snapshot of its machine: its clients are held, notice a pause, and lose nothing.
func TestPauseOverAnIrcdThatStandsStill(t *testing.T) {
	d, addr, a, _ := pair(t, nil, nil)
	alice, bob := ircclient.TestUser(t, addr, "alice"), ircclient.TestUser(t, addr, "bob")
	m, err := d.moves.Pause(handoff.Request{Pool: "main", From: "a"})
	if err != nil {
		t.Fatal(err)
	}
	<-m.Parked()
	a.stop()
	alice.Write("PRIVMSG bob :one\r\nPRIVMSG bob :tw")
	alice.Write("o\r\n")
	a.signal(syscall.SIGCONT)
	if _, err := d.moves.Resume("main", "a"); err != nil {
		t.Fatal(err)
	}
	if r := ended(t, m); r.State != handoff.StateDone || r.Reverted != 2 || r.Attempted != 2 || r.HeldLines < 1 {
		t.Errorf("%+v", r)
	}
	bob.Expect("PRIVMSG bob :one", "PRIVMSG bob :two")
	if r := drain(t, d, "a", "b"); r.State != handoff.StateDone || r.Moved != 2 {
		t.Errorf("a drain after it: %+v", r)
	}
}

// It ends by itself, too.
func TestPauseEndsByItsTime(t *testing.T) {
	d, addr, _, _ := pair(t, nil, nil)
	alice := ircclient.TestUser(t, addr, "alice")
	m, err := d.moves.Pause(handoff.Request{Pool: "main", From: "a", Timeout: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	<-m.Parked()
	alice.Send("PRIVMSG alice :held")
	if r := ended(t, m); r.State != handoff.StateDone || r.TimedOut || r.Pause.Max < 250 {
		t.Errorf("%+v", r)
	}
	alice.Expect("PRIVMSG alice :held")
}
