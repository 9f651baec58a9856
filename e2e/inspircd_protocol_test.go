//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"

	"github.com/ircferry/ircferry/handoff/protocol"
)

// TestInspIRCdCutIsExact: what the record tells of a stream is what went through it, to the byte, again and again, with input that
// fakelag has not let run and output that nobody has read.
func TestInspIRCdCutIsExact(t *testing.T) { onBoth(t, inspIRCdCutIsExact) }

func inspIRCdCutIsExact(t *testing.T, v *inspVersion) {
	h := newHand(t, v.start(t, "a"))
	ann := h.open("i.1", "ann", func(o *protocol.Open) { o.Remote = netip.MustParseAddrPort("127.0.8.1:4000") }) // the class with fakelag
	ben := h.open("i.2", "ben", nil)
	ann.ask("JOIN #sea")
	ben.ask("JOIN #sea")
	ann.await(" JOIN ")
	said := 0
	for range 3 {
		const flood = 15
		for range flood {
			ann.send(fmt.Sprintf("PRIVMSG #sea :line %d\r\n", said))
			said++
		}
		ann.send("PRIVMSG #sea :half a")
		tx, users, records := h.export(ann, ben)
		var rq [2][]byte
		for i, s := range []*rawStream{ann, ben} {
			in, out, err := users[s.u].Cut()
			h.ok(err)
			queue, sq := users[s.u].Queues()
			rq[i] = queue
			if in != s.in {
				t.Errorf("%s: in is %d, %d bytes were written", s.u, in, s.in)
			}
			for s.out < out { // the rest is there, and nothing behind it
				n, err := io.CopyN(io.Discard, s.r, int64(out-s.out))
				s.out += uint64(n)
				h.ok(err)
			}
			if len(sq) > 0 {
				t.Logf("%s: %d bytes of output wait", s.u, len(sq))
			}
		}
		if !bytes.HasSuffix(rq[0], []byte("PRIVMSG #sea :half a")) || len(rq[1]) != 0 {
			t.Errorf("waiting input is %q and %q", rq[0], rq[1])
		}
		h.ok(h.c.Release(t.Context(), tx, ""))
		for _, s := range []*rawStream{ann, ben} {
			if n, _ := io.Copy(io.Discard, s.r); n != 0 {
				t.Errorf("%s: %d bytes behind out", s.u, n)
			}
		}
		tx2, p := h.prepare(records...)
		if len(p.Conflicts)+len(p.Warns) != 0 {
			t.Errorf("%+v", p)
		}
		ann, ben = h.attach(tx2, tx2, "i.1"), h.attach(tx2, tx2, "i.2")
		if n, err := h.c.Commit(t.Context(), tx2); err != nil || n != 2 {
			t.Fatal(n, err)
		}
		h.ok(ann.answer(protocol.VerbLive))
		h.ok(ben.answer(protocol.VerbLive))
		ann.send(string(rq[0]) + " line\r\n")
		ben.await("half a line")
	}
}

// TestInspIRCdFreezeEnds: the world goes on when the freeze is over, when the coordinator says so, and when it is gone.
func TestInspIRCdFreezeEnds(t *testing.T) { onBoth(t, inspIRCdFreezeEnds) }

func inspIRCdFreezeEnds(t *testing.T, v *inspVersion) { freezeEnds(t, v.start(t, "a")) }

func TestInspIRCdTellsWhoRemains(t *testing.T) { onBoth(t, inspIRCdTellsWhoRemains) }

func inspIRCdTellsWhoRemains(t *testing.T, v *inspVersion) { tellsWhoRemains(t, v.start(t, "a")) }

// TestInspIRCdIsSilent: somebody who stays sees nothing of who is taken out and put in again, be it an operator with all server notices,
// who watches the one that moves and shares a channel with it.
func TestInspIRCdIsSilent(t *testing.T) { onBoth(t, inspIRCdIsSilent) }

func inspIRCdIsSilent(t *testing.T, v *inspVersion) {
	h := newHand(t, v.start(t, "a"))
	eye, ann := h.open("i.1", "eye", nil), h.open("i.2", "ann", nil)
	eye.ask("OPER root rootpw")
	for _, line := range []string{"MODE eye +s +cCqQkKaAoOnNtTxXlLjJ", "MONITOR + ann", "WATCH +ann", "JOIN #sea"} {
		eye.ask(line)
	}
	for _, line := range []string{"JOIN #sea", "JOIN #alone", "OPER helper helperpw", "MODE ann +xi", "AWAY :gone", "MODE ann +g"} {
		ann.ask(line)
	}
	eye.ask("PING all")
	tx, _, records := h.export(ann)
	h.ok(h.c.Release(t.Context(), tx, ""))
	check := func(when string) {
		t.Helper()
		if got := eye.ask("PING now"); len(strings.Split(strings.TrimSpace(got), "\n")) != 2 {
			t.Errorf("%s was seen:\n%s", when, got)
		}
	}
	check("RELEASE")
	tx2, p := h.prepare(records...)
	if len(p.Conflicts) != 0 {
		t.Fatalf("%+v", p.Conflicts)
	}
	ann = h.attach(tx2, tx2, "i.2")
	check("PREPARE")
	_, err := h.c.Commit(t.Context(), tx2)
	h.ok(err)
	h.ok(ann.answer(protocol.VerbLive))
	if got := ann.ask("PING now"); len(strings.Split(strings.TrimSpace(got), "\n")) != 2 {
		t.Errorf("who was moved saw:\n%s", got)
	}
	check("COMMIT")
	ann.send("PRIVMSG #sea :here again\r\n")
	eye.await(" PRIVMSG #sea :here again")
	if got := eye.ask("NAMES #sea"); !strings.Contains(got, "ann") {
		t.Errorf("not on the channel:\n%s", got)
	}
}

// TestInspIRCdGivesNoRights: a record makes nobody what this ircd's own configuration does not know, and a user without rights in
// the record has none, whatever the core's constructor thinks.
func TestInspIRCdGivesNoRights(t *testing.T) { onBoth(t, inspIRCdGivesNoRights) }

func inspIRCdGivesNoRights(t *testing.T, v *inspVersion) {
	h := newHand(t, v.start(t, "a"))
	user := func(u, nick string, more ...string) protocol.Message {
		m := protocol.NewUser(u, nick)
		for i, pairs := 0, append([]string{"ip", "192.0.2.7", "rhost", "host.example", "ident", "id", "real", "Real", "class", "users", "signon", "1700000000"}, more...); i < len(pairs); i += 2 {
			m.Set(pairs[i], pairs[i+1])
		}
		return m.Message
	}
	plain := user("i.1", "plain", "account", "acc")
	fake := user("i.2", "fake", "oper", "NoSuchType", "snomask", "c")
	fake.SetBare("m.hideoper")
	real := user("i.3", "real", "oper", "NetAdmin", "x.inspircd.operblock", "root")
	lesser := user("i.4", "lesser", "oper", "Helper", "x.inspircd.operblock", "root") // the block of another type
	odd := user("i.5", "odd", "x.other.thing", "1", "class", "users")
	odd.SetBare("m.nosuchmode")
	odd.SetBare("x.inspircd.mode.oper")
	odd.SetBare("x.inspircd.mode.servprotect")
	tx, p := h.prepare(plain, fake, real, lesser, odd)
	codes := map[string]int{}
	for _, n := range p.Warns {
		codes[n.U+" "+n.Code]++
	}
	want := map[string]int{"i.2 unknown-oper": 1, "i.4 changed": 1, "i.5 unknown-key": 1, "i.5 unknown-mode": 3}
	if fmt.Sprint(codes) != fmt.Sprint(want) || len(p.Conflicts) != 0 {
		t.Errorf("PREPARE told %v and %+v, want %v", codes, p.Conflicts, want)
	}
	s := map[string]*rawStream{}
	for _, u := range []string{"i.1", "i.2", "i.3", "i.4", "i.5"} {
		_, err := h.c.Commit(t.Context(), tx)
		h.fails(err, protocol.CodeNotAttached)
		s[u] = h.attach(tx, tx, u)
	}
	_, err := h.c.Commit(t.Context(), tx)
	h.ok(err)
	for _, stream := range s {
		h.ok(stream.answer(protocol.VerbLive))
	}
	for _, c := range []struct{ u, send, want string }{
		{"i.1", "MODE plain", " 221 plain :+\r\n"}, {"i.1", "KILL real :x", " 481 "}, {"i.1", "WHOIS plain", " 330 plain plain acc "},
		{"i.2", "MODE fake", " 221 fake :+\r\n"}, {"i.2", "KILL real :x", " 481 "}, {"i.2", "MODE fake +s c", " 481 "},
		{"i.3", "KILL nobody :x", " 401 "}, {"i.3", "SAMODE #none +m", " 403 "}, {"i.3", "WHOIS fake", " 318 "},
		{"i.4", "KILL nobody :x", " 401 "}, {"i.4", "SAMODE #none +m", " 481 "},
		{"i.5", "MODE odd", " 221 odd :+\r\n"}, {"i.5", "KILL real :x", " 481 "}, {"i.5", "OPER root wrong", " 491 "},
	} {
		if got := s[c.u].ask(c.send); !strings.Contains(got, c.want) {
			t.Errorf("%s> %s brought\n%swant %q", c.u, c.send, got, c.want)
		}
	}
	if got := s["i.3"].ask("WHOIS fake"); strings.Contains(got, " 313 ") {
		t.Errorf("fake is an operator:\n%s", got)
	}
}

// TestInspIRCdReserves: names of a prepared import are nobody's, and conflicts are told.
func TestInspIRCdReserves(t *testing.T) { onBoth(t, inspIRCdReserves) }

func inspIRCdReserves(t *testing.T, v *inspVersion) {
	h := newHand(t, v.start(t, "a"))
	reserves(t, h, " 437 ")
	conflicts(t, h, "9bad", map[string]int{})
}

// TestInspIRCdRefuses is HANDOFF.md's "What must be refused", on one process, which must live on.
func TestInspIRCdRefuses(t *testing.T) { onBoth(t, inspIRCdRefuses) }

func inspIRCdRefuses(t *testing.T, v *inspVersion) {
	i := v.start(t, "a")
	refuses(t, i)
	for _, records := range []string{"USER u=a nick=a x.inspircd.ext.swhois=a\\nb", "CHAN n=#a ts=9223372036854775808", "USER u=a nick=a signon=9999999999999999999"} {
		refusesRecords(t, newHand(t, i), records)
	}
}

// TestInspIRCdRefusesStreams: first lines that make no user.
func TestInspIRCdRefusesStreams(t *testing.T) { onBoth(t, inspIRCdRefusesStreams) }

func inspIRCdRefusesStreams(t *testing.T, v *inspVersion) {
	refusesStreams(t, newHand(t, v.start(t, "a")))
}
