package backend

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ircferry/ircferry/internal/config"
)

// script is an ircd's side of a registration: what it says when it is connected to, to CAP LS, and to USER. %n is the client's nick, %i the
// address that WEBIRC has claimed, if it is believed.
type script struct {
	accept, ls, user string
	believes         bool
}

// play serves the script, and counts the users that it has welcomed.
func (s script) play(t *testing.T, users *atomic.Int64) net.Addr {
	t.Helper()
	return listen(t, "tcp", "127.0.0.1:0", func(c net.Conn) { s.serve(c, users) })
}

func (s script) serve(c net.Conn, users *atomic.Int64) {
	nick, ip := "*", "127.0.0.1"
	say := func(lines string) (closed bool) {
		for l := range strings.SplitSeq(lines, "\n") {
			if l != "" {
				fmt.Fprint(c, strings.NewReplacer("%n", nick, "%i", ip).Replace(l)+"\r\n")
			}
		}
		return strings.Contains(lines, "ERROR")
	}
	if say(s.accept) {
		return
	}
	for in := bufio.NewScanner(c); in.Scan(); {
		words := strings.Fields(in.Text())
		switch {
		case words[0] == "WEBIRC" && s.believes:
			ip = words[4]
		case words[0] == "CAP" && words[1] == "LS":
			if say(s.ls) {
				return
			}
		case words[0] == "NICK":
			nick = words[1]
		case words[0] == "USER":
			if strings.Contains(s.user, " 001 ") && users != nil {
				users.Add(1)
			}
			if say(s.user) {
				return
			}
		case words[0] == "WHOIS":
			say(":irc.test 311 %n %n ferry host.example * :ircferry check\n:irc.test 378 %n %n :is connecting from *@%i %i\n:irc.test 318 %n %n :End of /WHOIS list.")
		case words[0] == "QUIT":
			say("ERROR :Closing link")
			return
		}
	}
}

const (
	looking = ":irc.test NOTICE * :*** Looking up your hostname"
	caps    = ":irc.test CAP * LS :multi-prefix"
	welcome = ":irc.test 001 %n :Welcome to the network %n!ferry@%i"
)

func webircFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "p")
	if err := os.WriteFile(path, []byte("secretword"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Issue 10, 2 and 5: the ircd's verdict on a new user is the check's, and ircferry check says it too, with the ircd's words.
func TestVerdictOfTheIrcd(t *testing.T) {
	for _, c := range []struct {
		name  string
		ircd  script
		id    config.Identity
		oper  OperState
		cause string // or doubt
		says  string // ircferry check
	}{
		{"takes clients", script{ls: looking + "\n" + caps, user: welcome}, config.IdentityNone, Up, "", "ok: .* answers as an ircd does and takes clients"},
		{"believes", script{ls: caps, user: welcome, believes: true}, config.IdentityWebIRC, Up, "", `ok: .* shows the address that it is told \(192\.0\.2\.`},
		{"notice, then error", script{accept: looking + "\nERROR :Closing Link: 127.0.0.1 (Connection refused)"}, config.IdentityNone, Down, "ERROR :Closing Link: * (Connection refused)", "warning: .* does not take clients"},
		{"throttled", script{accept: "ERROR :Trying to reconnect too fast."}, config.IdentityNone, Down, "ERROR :Trying to reconnect too fast.", "warning: .*too fast"},
		{"banned", script{ls: caps, user: ":irc.test 465 %n :You are banned from this server- no proxies\nERROR :Closing link: (ferry@%i) [K-lined]"}, config.IdentityNone, Down,
			"465 You are banned from this server- no proxies, ERROR :Closing link: (*) [K-lined]", "warning: .* does not take clients: .*banned"},
		{"banned, before CAP", script{ls: ":irc.test 465 * :You are banned\n" + caps, user: "ERROR :Closing link"}, config.IdentityNone, Down, "465 You are banned", "warning"},
		{"with tags", script{ls: caps, user: "@time=2026-11-28T00:00:00Z :irc.test ERROR :No more connections allowed in your class"}, config.IdentityNone, Down, "in your class", "warning: .*class"},
		{"no such gateway", script{ls: "ERROR :Closing link: (x@127.0.0.1) [WEBIRC: bad password]"}, config.IdentityWebIRC, Down, "WEBIRC: bad password", "error: .* does not know us as a gateway: .*WEBIRC"},
		{"does not believe", script{ls: ":irc.test 464 * :Invalid password\n" + caps, user: welcome}, config.IdentityWebIRC, Up,
			"our own address for a client that was said to come from 192.0.2.", "error: .* does not believe who a client is: .*464"},
		{"wants a password of its users", script{ls: caps, user: ":irc.test 464 %n :Password incorrect\nERROR :Closing link: bad password"}, config.IdentityNone, Up, "", "ok: .* wants to know more"},
		{"wants an account", script{ls: caps, user: "ERROR :You need to identify via SASL to use this server"}, config.IdentityNone, Up, "", "ok: .* wants to know more"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := config.Backend{Name: "a", Weight: 1, Address: c.ircd.play(t, nil).String(), Identity: c.id}
			if c.id == config.IdentityWebIRC {
				b.WebIRCPasswordFile = webircFile(t)
			}
			check := config.Check{Type: config.CheckIRC, Inter: seconds(3600), Register: seconds(3600), Timeout: seconds(1), Rise: 1, Fall: 1}
			a, events := realSet(t, b, check)
			kind := string(c.oper)
			if c.oper == Up && c.cause != "" {
				kind = EventIdentity
			}
			e := await(t, events, kind)
			if st := a.Status(); st.Oper != c.oper || (st.Doubt != "") != (kind == EventIdentity) {
				t.Errorf("status %+v", st)
			}
			if !strings.Contains(e.Text, c.cause) || strings.Contains(e.Text, "secretword") {
				t.Errorf("the event says %q, want %q", e.Text, c.cause)
			}
			var all []string
			for _, f := range Probe(t.Context(), config.Config{Pools: one(config.Pool{Check: check, Backends: []config.Backend{b}})}) {
				all = append(all, f.String())
			}
			if text := strings.Join(all, "\n"); !regexp.MustCompile(c.says).MatchString(text) || strings.Contains(text, "secretword") {
				t.Errorf("check says %s\nwant %s", text, c.says)
			}
		})
	}
}

// A check registers when there is something to learn by it, and not each time: ircds tell their operators of every user.
func TestChecksRegisterSeldom(t *testing.T) {
	var users atomic.Int64
	addr := script{ls: caps, user: welcome}.play(t, &users)
	b, events := realSet(t, config.Backend{Address: addr.String()}, config.Check{Type: config.CheckIRC, Inter: seconds(3600), Register: seconds(3600)})
	await(t, events, EventUp)
	before := b.Status().LastCheck
	for range 3 {
		b.Recheck()
		eventually(t, "another check", func() bool { at := b.Status().LastCheck; defer func() { before = at }(); return at.After(before) })
	}
	if n := users.Load(); n != 1 {
		t.Errorf("%d users in four checks, want 1", n)
	}
	for range aRow {
		b.Refused(alice.Addr.Addr(), ":irc.test 465 x :banned")
	}
	eventually(t, "a registration, since clients were turned away", func() bool { return users.Load() == 2 })
	eventually(t, "no warning, since the check was let in", func() bool { return b.Status().Refusing == "" })
}

func eventually(t *testing.T, what string, yes func() bool) {
	t.Helper()
	for late := time.Now().Add(10 * time.Second); !yes(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("not within 10s: %s", what)
		}
	}
}

// Clients that the ircd turns away in a row are told in status, event and metric, with its words and without the clients' addresses; the first that
// is let in ends it.
func TestClientsTurnedAwayInARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.set(where("a"), accepts)
		reg := prometheus.NewRegistry()
		s, err := NewSet(Options{Dial: w.dial, Registerer: reg})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		var last Event
		s.Subscribe(func(e Event) { w.note(e); last = e })
		if err := s.Apply(one(relays(config.Linked, "a"))); err != nil {
			t.Fatal(err)
		}
		settle()
		a := get(t, s, "a")
		w.events()
		for range 2 {
			a.Refused(alice.Addr.Addr(), ":irc.test 465 bob :You are banned", "ERROR :Closing link: (bob@198.51.100.7) [banned]")
		}
		a.Welcomed()
		a.Refused(alice.Addr.Addr(), "ERROR :Closing link: Registration timeout") // slow, not unwanted
		for range 2 {
			a.Refused(alice.Addr.Addr(), "ERROR :Closing link: (bob@198.51.100.7) [banned]")
		}
		settle()
		expect(t, "events of two and two", w.events(), "")
		expect(t, "status", a.Status().Refusing, "")
		for range 10 {
			a.Refused(alice.Addr.Addr(), "@time=x :irc.test 465 bob :You are banned, bob@198.51.100.7", "ERROR :Closing link: 198.51.100.7 (banned)")
		}
		settle()
		expect(t, "events of a row", w.events(), "refusing main/a")
		if text := last.Text; !strings.Contains(text, "465 You are banned, *") || strings.Contains(text, "198.51") || strings.Contains(text, "bob@") {
			t.Errorf("the event says %q", text)
		}
		if text := a.Status().Refusing; !strings.Contains(text, "12 clients in a row (all from one address)") {
			t.Errorf("status: %q", text)
		}
		expect(t, "metrics", gathered(t, reg, "ircferry_backend_refusing")+" "+gathered(t, reg, "ircferry_backend_refused_clients_total"), "1 14")
		a.Welcomed()
		settle()
		expect(t, "events of a welcome", w.events(), "welcoming main/a")
		expect(t, "status", a.Status().Refusing, "")
	})
}

func gathered(t *testing.T, reg *prometheus.Registry, name string) string {
	t.Helper()
	all, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			return fmt.Sprint(m.GetGauge().GetValue() + m.GetCounter().GetValue())
		}
	}
	return "none"
}
