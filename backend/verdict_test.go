package backend

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ircferry/ircferry/internal/config"
)

// unhurried is an ircd's end of a connection in a bubble: as with a socket, what it writes does not wait for the reader.
type unhurried struct {
	net.Conn
	out chan []byte
}

func (u unhurried) Write(p []byte) (int, error) {
	u.out <- bytes.Clone(p)
	return len(p), nil
}

func (u unhurried) pump() {
	for p := range u.out {
		u.Conn.Write(p)
	}
	u.Conn.Close()
}

// asked is what a check by irc with ten seconds learns of an ircd that plays the script, and how long it takes, in a bubble.
func (s script) asked(t *testing.T, conf config.Backend, register bool) (op opinion, took time.Duration, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	us, there := net.Pipe()
	defer us.Close()
	ircd := unhurried{there, make(chan []byte, 1000)}
	go ircd.pump()
	go func() {
		defer close(ircd.out)
		s.serve(ircd, nil)
	}()
	who := anyCaller()
	who.register = register
	began := time.Now()
	op, err = askIRC(ctx, us, plan{conf: conf, password: "secretword"}, who)
	return op, time.Since(began), err
}

// What is concluded from what an ircd has said by the time that there is no more to come.
func TestWhatAnIrcdThatFallsSilentIsTakenFor(t *testing.T) {
	const ban, bad = ":irc.test 465 * :You are banned", ":irc.test 464 * :Invalid password"
	none, webirc := config.Backend{Identity: config.IdentityNone}, config.Backend{Identity: config.IdentityWebIRC}
	for _, c := range []struct {
		name     string
		ircd     script
		conf     config.Backend
		light    bool // no registration
		unsure   string
		doubt    string
		err      string
		deadline bool // the error is that of the time
	}{
		{name: "nothing", err: "read answer to CAP LS: ", deadline: true},
		{name: "a notice", ircd: script{accept: looking}, unsure: "it has only said NOTICE :*** Looking up your hostname"},
		{name: "please wait", ircd: script{accept: ":irc.test 020 * :Please wait"}, err: "read answer to CAP LS: ", deadline: true},
		{name: "half of the capabilities", ircd: script{ls: ":irc.test CAP * LS * :a"}, err: "read answer to CAP LS: ", deadline: true},
		{name: "capabilities", ircd: script{ls: caps}, unsure: "it did not register the check in time"},
		{name: "capabilities, behind a notice", ircd: script{accept: looking, ls: caps}, unsure: "it did not register the check in time"},
		{name: "a numeric", ircd: script{ls: ":irc.test 451 * :You have not registered"}, unsure: "it did not register the check in time"},
		{name: "a ban", ircd: script{ls: caps + "\n" + ban}, err: "to a new user from 192.0.2."},
		{name: "a word that is no answer", ircd: script{ls: ":irc.test WALLOPS :hm"}, err: "read answer to CAP LS: ", deadline: true},
		{name: "a nick that is not taken, at last another", ircd: script{ls: caps, user: ":irc.test 433 * %n :No\n:irc.test 433 * %n :No\n:irc.test 433 * %n :No\n" + welcome}},
		{name: "too many nicks", ircd: script{ls: caps, user: strings.Repeat(":irc.test 433 * %n :No\n", 4)}, unsure: "it took no nick: 433 No"},
		{name: "talk without an end", ircd: script{accept: strings.Repeat(looking+"\n", maxAnswerLines)}, err: "to CAP LS: after NOTICE :*** Looking up your hostname: too many lines"},
		{name: "nearly as much talk", ircd: script{accept: strings.Repeat(looking+"\n", maxAnswerLines-2), ls: caps, user: welcome}},
		{name: "light, capabilities", ircd: script{ls: caps}, light: true},
		{name: "light, half of them", ircd: script{ls: ":irc.test CAP * LS * :a"}, light: true, err: "read answer", deadline: true},
		{name: "light, a numeric", ircd: script{ls: ":irc.test 451 * :You have not registered"}, light: true},
		{name: "light, a nick is nothing to it", ircd: script{ls: ":irc.test 433 * * :No"}, light: true},
		{name: "light, please wait", ircd: script{accept: ":irc.test 020 * :Please wait"}, light: true, err: "read answer", deadline: true},
		{name: "light, a ban", ircd: script{ls: ban + "\n" + caps}, light: true, err: "to CAP LS: 465 You are banned"},
		{name: "light, a password", ircd: script{ls: bad + "\n" + caps}, light: true},
		{name: "light, the gateway's password", ircd: script{ls: bad + "\n" + caps}, conf: webirc, light: true, doubt: "it answers WEBIRC with 464 Invalid password"},
		{name: "light, the gateway is known", ircd: script{ls: caps}, conf: webirc, light: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if c.conf.Identity == "" {
					c.conf = none
				}
				op, took, err := c.ircd.asked(t, c.conf, !c.light)
				if op.unsure != c.unsure || op.doubt != c.doubt || op.asked == c.light {
					t.Errorf("it learns %+v", op)
				}
				if text := errText(err); c.err == "" && err != nil || !strings.Contains(text, c.err) || errors.Is(err, os.ErrDeadlineExceeded) != c.deadline || strings.Contains(text, "secretword") {
					t.Errorf("error %v, want %q", err, c.err)
				}
				if took >= 10*time.Second { // a tenth is for the way out
					t.Errorf("it took %v", took)
				}
			})
		})
	}
}

// The address that an ircd shows may stand in its welcome, or only in what it answers to WHOIS.
func TestAddressThatOnlyWhoisShows(t *testing.T) {
	const blind = ":irc.test 001 %n :Welcome"
	for _, believes := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			op, _, err := script{ls: caps, user: blind, believes: believes}.asked(t, config.Backend{Identity: config.IdentityWebIRC}, true)
			if err != nil || op.doubt != "" || (op.unsure == "") != believes {
				t.Errorf("believes %v: %+v, %v", believes, op, err)
			}
		})
	}
}

// Capabilities count whenever they are told.
func TestCapabilitiesThatAreToldLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		op, _, err := script{user: welcome + "\n" + caps}.asked(t, config.Backend{Identity: config.IdentityNone}, true)
		if err != nil || len(op.caps) != 1 || op.caps[0] != "multi-prefix" {
			t.Errorf("%+v, %v", op, err)
		}
	})
}

// How soon a backend is checked again, by what the last check has found.
func TestPaceOfChecks(t *testing.T) {
	const inter = 10 * time.Second
	for _, c := range []struct {
		name string
		b    *Backend
		want time.Duration
	}{
		{"up", &Backend{health: health{oper: Up}}, inter},
		{"back, and not up yet", &Backend{health: health{oper: Down}}, inDoubt},
		{"refuses", &Backend{lastErr: "x", lastReason: ReasonAnswer, health: health{oper: Up, bad: 1}}, inter},
		{"refuses again", &Backend{lastErr: "x", lastReason: ReasonAnswer, health: health{oper: Down, bad: 3}}, 3 * inter},
		{"refuses for long", &Backend{lastErr: "x", lastReason: ReasonAnswer, health: health{oper: Down, bad: 99}}, maxSlow * inter},
		{"our own lack", &Backend{lastErr: "x", lastReason: ReasonLocal, health: health{oper: Up}}, inter},
		{"silent", &Backend{lastErr: "x", lastReason: ReasonTimeout, health: health{oper: Up}}, inDoubt},
	} {
		if got := c.b.pace(inter); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	if got := (&Backend{lastErr: "x", lastReason: ReasonRefused}).pace(time.Second); got != time.Second {
		t.Errorf("in doubt %v, and else every second", got)
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
