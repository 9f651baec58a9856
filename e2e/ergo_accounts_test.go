//go:build e2e

package e2e

import (
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ircferry/ircferry/handoff/protocol"
)

// join is a further connection of an account, or the one that comes back to who is always on.
func (h *hand) join(u, account, password string) *rawStream {
	h.t.Helper()
	s := h.dial(protocol.AppendOpen(nil, protocol.Open{SKey: h.hello.SKey, U: u, Remote: netip.MustParseAddrPort("198.51.100.9:4001"),
		Local: netip.MustParseAddrPort("192.0.2.1:6667")}), u)
	h.ok(s.answer(protocol.VerbOpened))
	s.send("PASS " + account + ":" + password + "\r\nNICK " + account + "\r\nUSER " + account + " 0 * :" + account + "\r\n")
	s.await(" 001 " + account)
	s.ask("PING x")
	return s
}

// again ends the ircd by a signal, starts it again, and answers who speaks to the new process.
func (e *nativeErgo) again(t *testing.T, signal syscall.Signal) *hand {
	t.Helper()
	e.proc.signal(signal)
	e.proc.await(10 * time.Second)
	e.run()
	return newHand(t, e)
}

// TestErgoSeveralConnections: a client of three connections stays one, with what is each connection's own.
func TestErgoSeveralConnections(t *testing.T) {
	e := startErgo(t, "a")
	h := newHand(t, e)
	eve, ann := h.open("i.1", "eve", nil), h.open("i.2", "ann", nil)
	eve.ask("NS REGISTER evepassword")
	eve.ask("JOIN #sea")
	eve.ask("MODE #sea +k hush")
	ann.ask("JOIN #sea hush")
	second := h.join("i.3", "eve", "evepassword")
	second.ask("CAP REQ :echo-message server-time")
	second.ask("MONITOR + bob")
	eve.ask("MONITOR + carol")
	if got := h.hello; got.Users != 0 {
		t.Errorf("users before: %d", got.Users)
	}
	use := func(when string) {
		t.Helper()
		ann.send("PRIVMSG eve :to both " + when + "\r\n")
		for _, s := range []*rawStream{eve, second} {
			s.await("PRIVMSG eve :to both " + when)
		}
		eve.send("PRIVMSG #sea :from one " + when + "\r\n")
		second.await("PRIVMSG #sea :from one " + when)
		ann.await("PRIVMSG #sea :from one " + when)
		if got := second.ask("CAP LIST"); !strings.Contains(got, "echo-message server-time") {
			t.Errorf("%s: %s", when, got)
		}
		if got := eve.ask("MONITOR L"); !strings.Contains(got, " carol") || strings.Contains(got, "bob") {
			t.Errorf("%s: %s", when, got)
		}
		if got := second.ask("MONITOR L"); !strings.Contains(got, " bob") || strings.Contains(got, "carol") {
			t.Errorf("%s: %s", when, got)
		}
		if got := second.ask("MODE #sea"); !strings.Contains(got, " 324 eve #sea +knt hush") {
			t.Errorf("%s: %s", when, got)
		}
		if got := ann.ask("WHOIS eve"); !strings.Contains(got, " 330 ann eve eve ") {
			t.Errorf("%s: %s", when, got)
		}
	}
	use("before")
	now := h.toAndFro(ann, second, eve)
	ann, second, eve = now[0], now[1], now[2]
	use("in the same process")
	tx, users, records := h.export(eve, second, ann)
	h.ok(h.c.Release(t.Context(), tx, ""))
	h = e.again(t, syscall.SIGKILL)
	now = h.back(users, records, eve, second, ann)
	eve, second, ann = now[0], now[1], now[2]
	use("after a kill")
	if hello, err := e.hello(); err != nil || hello.Users != 3 {
		t.Errorf("%d users, %v; they are connections here", hello.Users, err)
	}
	second.send("QUIT\r\n")
	eve.ask("PING alone")
	if got := ann.ask("PING now"); strings.Contains(got, "QUIT") {
		t.Errorf("one of two connections has left, and others saw it:\n%s", got)
	}
}

// TestErgoAlwaysOn: who is always on is in the database as well. What a new process has made of that gives way to the record, and who has
// no connection at all stays.
func TestErgoAlwaysOn(t *testing.T) {
	e := startErgo(t, "a")
	h := newHand(t, e)
	eve, ann, bob := h.open("i.1", "eve", nil), h.open("i.2", "ann", nil), h.open("i.3", "bob", nil)
	for _, s := range []*rawStream{eve, bob} {
		nick := map[string]string{"i.1": "eve", "i.3": "bob"}[s.u]
		s.ask("NS REGISTER " + nick + "password")
		s.ask("NS SET always-on true")
		s.ask("JOIN #sea,#" + nick)
	}
	ann.ask("JOIN #sea")
	eve.ask("MODE #eve +sk hush")
	eve.ask("MODE #sea +o ann")
	eve.ask("TOPIC #eve :her own")
	eve.ask("MODE eve +B")
	eve.ask("AWAY :out")
	bob.send("QUIT\r\n")
	if got := ann.ask("NAMES #sea"); !strings.Contains(got, "bob") {
		t.Fatalf("bob is not always on:\n%s", got)
	}
	ann.ask("PING x")
	channel := eve.ask("MODE #eve")
	check := func(when string) {
		t.Helper()
		for send, want := range map[string]string{"MODE #eve": channel[:strings.Index(channel, "PONG")-len(":ergo.example.org ")], "TOPIC #eve": " 332 eve #eve :her own", "MODE eve": " 221 eve +Bi",
			"WHOIS eve": " 301 eve eve ", "NS GET always-on": "your client is always-on", "NAMES #sea": "bob"} {
			if got := eve.ask(send); !strings.Contains(got, want) {
				t.Errorf("%s, %s: want %q in\n%s", when, send, want, got)
			}
		}
		if got := ann.ask("NAMES #sea"); !strings.Contains(got, "@ann") || !strings.Contains(got, "eve") || !strings.Contains(got, "bob") {
			t.Errorf("%s:\n%s", when, got)
		}
		if got := ann.ask("PING now"); len(strings.Split(strings.TrimSpace(got), "\n")) != 2 {
			t.Errorf("%s, ann saw:\n%s", when, got)
		}
	}
	check("before")
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} { // bob's channels are written by the first
		tx, users, records := h.export(eve, ann)
		h.ok(h.c.Release(t.Context(), tx, ""))
		h = e.again(t, signal)
		now := h.back(users, records, eve, ann)
		eve, ann = now[0], now[1]
		check("after " + signal.String())
	}
	bob = h.join("i.4", "bob", "bobpassword")
	if got := bob.ask("NAMES #sea"); !strings.Contains(got, "eve") {
		t.Errorf("who was always on has lost its channel:\n%s", got)
	}
	eve.send("QUIT\r\n") // and stays
	if got := ann.ask("WHOIS eve"); !strings.Contains(got, " 311 ann eve ") {
		t.Errorf("no more always on:\n%s", got)
	}
}
