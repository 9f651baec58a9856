//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/handoff/protocol"
)

func TestErgoFreezeEnds(t *testing.T)      { freezeEnds(t, startErgo(t, "a")) }
func TestErgoTellsWhoRemains(t *testing.T) { tellsWhoRemains(t, startErgo(t, "a")) }
func TestErgoRefusesStreams(t *testing.T)  { refusesStreams(t, newHand(t, startErgo(t, "a"))) }

func TestErgoRefuses(t *testing.T) {
	e := startErgo(t, "a")
	refuses(t, e)
	for _, own := range []string{`x.ergo.client={"Cloak":"a\\nb"}`, `x.ergo.client={"Host":"a\sb"}`, `x.ergo.client={"Metadata":{"a":"\\r"}}`,
		`x.ergo.session={"Away":"a\\u0000"}`} {
		refusesRecords(t, newHand(t, e), "USER u=a nick=a ip=::1 "+own)
	}
}

// toAndFro releases users and takes them back into the very process, and answers their new streams. What waited is written to them.
func (h *hand) toAndFro(streams ...*rawStream) []*rawStream {
	h.t.Helper()
	tx, users, records := h.export(streams...)
	h.ok(h.c.Release(h.t.Context(), tx, ""))
	return h.back(users, records, streams...)
}

// back imports exported users.
func (h *hand) back(users map[string]protocol.User, records []protocol.Message, streams ...*rawStream) (now []*rawStream) {
	h.t.Helper()
	tx, p := h.prepare(records...)
	p.Warns = slices.DeleteFunc(p.Warns, func(n protocol.Note) bool { return n.Code == "merged" }) // where others have stayed
	if len(p.Conflicts)+len(p.Warns) != 0 {
		h.t.Errorf("PREPARE told %+v", p)
	}
	for _, s := range streams {
		now = append(now, h.attach(tx, tx, s.u))
	}
	_, err := h.c.Commit(h.t.Context(), tx)
	h.ok(err)
	for _, s := range now {
		h.ok(s.answer(protocol.VerbLive))
		rq, _ := users[s.u].Queues()
		s.send(string(rq))
	}
	return now
}

// TestErgoCutIsExact: what the record tells of a stream is what went through it, to the byte, again and again, with lines that fakelag
// holds back, of which one is in the hands of a goroutine that sleeps.
func TestErgoCutIsExact(t *testing.T) {
	h := newHand(t, startErgo(t, "a", "@FAKELAG@", "true"))
	ann, ben := h.open("i.1", "ann", nil), h.open("i.2", "ben", nil)
	ann.ask("JOIN #sea")
	ben.ask("JOIN #sea")
	ann.await(" JOIN ")
	ann.send("PRIVMSG #sea :line 0\r\n")
	ben.await("line 0")
	said, heard := 1, 1
	for range 3 {
		for range 8 {
			ann.send(fmt.Sprintf("PRIVMSG #sea :line %d\r\n", said))
			said++
		}
		ann.send("PRIVMSG #sea :half a")
		ben.await(fmt.Sprintf("line %d", heard)) // the burst is over, the others wait
		heard++
		tx, users, records := h.export(ann, ben)
		for _, s := range []*rawStream{ann, ben} {
			in, out, err := users[s.u].Cut()
			h.ok(err)
			if in != s.in {
				t.Errorf("%s: in is %d, %d bytes were written", s.u, in, s.in)
			}
			rest, err := io.ReadAll(io.LimitReader(s.r, int64(out-s.out))) // the rest is there, and nothing behind it
			h.ok(err)
			heard += bytes.Count(rest, []byte("PRIVMSG #sea :line"))
		}
		rq, _ := users["i.1"].Queues()
		if waiting := strings.Count(string(rq), "line"); waiting != said-heard || !strings.HasSuffix(string(rq), "PRIVMSG #sea :half a") {
			t.Errorf("%d lines wait of %d said and %d heard: %q", waiting, said, heard, rq)
		}
		h.ok(h.c.Release(t.Context(), tx, ""))
		for _, s := range []*rawStream{ann, ben} {
			if n, _ := io.Copy(io.Discard, s.r); n != 0 {
				t.Errorf("%s: %d bytes behind out", s.u, n)
			}
		}
		began, waiting := time.Now(), said-heard
		now := h.back(users, records, ann, ben)
		ann, ben = now[0], now[1]
		ann.send(" line\r\n")
		got := ben.await("half a line")
		if least := time.Duration(waiting-1) * 500 * time.Millisecond; time.Since(began) < least { // two a second; a burst of five would be new
			t.Errorf("%d lines took %v, fakelag wants %v", waiting+1, time.Since(began), least)
		}
		for ; heard < said; heard++ {
			if _, got, _ = strings.Cut(got, fmt.Sprintf("PRIVMSG #sea :line %d\r\n", heard)); got == "" {
				t.Fatalf("line %d did not come in its turn", heard)
			}
		}
	}
}

// TestErgoFakelagHoldsNothingUp: a goroutine that sleeps in fakelag for longer than an EXPORT would wait is not waited for, its lines are not run,
// and what a moved client says first is a line like others.
func TestErgoFakelagHoldsNothingUp(t *testing.T) {
	h := newHand(t, startErgo(t, "a", "@FAKELAG@", "true", "window: 1s, burst-limit: 5, messages-per-window: 2, cooldown: 2s",
		"window: 60s, burst-limit: 5, messages-per-window: 1, cooldown: 90s"))
	ann, ben := h.open("i.1", "ann", nil), h.open("i.2", "ben", nil)
	ann.send(strings.Repeat("PRIVMSG ben :line\r\n", 10))
	ben.await("line")
	waited := -1
	eventually(t, 10*time.Second, "the burst is over", func() bool {
		tx, users, _ := h.export(ann)
		h.ok(h.c.Resume(t.Context(), tx))
		rq, _ := users["i.1"].Queues()
		before := waited
		waited = strings.Count(string(rq), "line\r\n")
		return waited > 0 && waited == before
	})
	ben = h.toAndFro(ben)[0]
	if got := ben.ask("PROXY TCP4"); !strings.Contains(got, " 421 ben PROXY ") {
		t.Errorf("PROXY after a move:\n%s", got)
	}
}

// TestErgoSlowReader: a command that writes more than the socket takes does not hold the world up, and its output is told as not sent.
func TestErgoSlowReader(t *testing.T) {
	h := newHand(t, startErgo(t, "a"))
	ann, slow := h.open("i.1", "ann", nil), h.open("i.2", "slow", nil)
	h.ok(slow.Conn.(*net.TCPConn).SetReadBuffer(16 << 10)) // the kernel would make more and more room
	slow.send(strings.Repeat("HELP index\r\n", 3000))      // 15 MB of answers, which nobody reads
	var written uint64
	export := func() (waits int, full bool, took time.Duration) {
		began := time.Now()
		tx, users, _ := h.export(ann, slow)
		took = time.Since(began)
		_, out, err := users["i.2"].Cut()
		h.ok(err)
		_, sq := users["i.2"].Queues()
		h.ok(h.c.Resume(t.Context(), tx))
		ann.ask("PING still")
		full, written = out == written, out
		return len(sq), full, took
	}
	eventually(t, 20*time.Second, "the socket is full", func() bool { n, full, _ := export(); return full && n > 0 })
	for range 3 {
		n, _, took := export() // the kernel may have made some room by now
		t.Logf("%d bytes of output wait, told after %v", n, took)
		if took > time.Second {
			t.Errorf("an export took %v", took)
		}
	}
	slow.send("PING last-of-all\r\n")
	h.ok(slow.Conn.(*net.TCPConn).SetReadBuffer(1 << 20)) // 15 MB through a window of a quarter of a loopback segment take a minute on a busy machine
	if answers := slow.await("last-of-all"); strings.Count(answers, "Help Topics") != 3000 || strings.Contains(answers, "ERROR") {
		t.Errorf("%d answers came of 3000", strings.Count(answers, "Help Topics"))
	}
}

// TestErgoIsSilent: somebody who stays sees nothing of who is taken out and put in again, be it an operator with all server notices, who
// watches the one that moves and shares a channel with it.
func TestErgoIsSilent(t *testing.T) {
	h := newHand(t, startErgo(t, "a"))
	eye, ann := h.open("i.1", "eye", nil), h.open("i.2", "ann", nil)
	eye.ask("CAP REQ :away-notify account-notify extended-monitor chghost")
	for _, line := range []string{"OPER root rootpw", "MODE eye +s acdjknoqtuvx", "MONITOR + ann", "JOIN #sea"} {
		eye.ask(line)
	}
	for _, line := range []string{"JOIN #sea", "JOIN #alone", "OPER helper helperpw", "AWAY :gone", "NS REGISTER annpassword"} {
		ann.ask(line)
	}
	eye.ask("PING all")
	check := func(s *rawStream, when string) {
		t.Helper()
		if got := s.ask("PING now"); len(strings.Split(strings.TrimSpace(got), "\n")) != 2 {
			t.Errorf("%s was seen:\n%s", when, got)
		}
	}
	tx, users, records := h.export(ann)
	h.ok(h.c.Release(t.Context(), tx, ""))
	check(eye, "RELEASE")
	if got := eye.ask("WHOWAS ann"); !strings.Contains(got, " 406 ") {
		t.Errorf("who is away on a move has left:\n%s", got)
	}
	ann = h.back(users, records, ann)[0]
	check(eye, "COMMIT")
	check(ann, "the move, by who was moved,")
	ann.send("PRIVMSG #sea :here again\r\n")
	eye.await(" PRIVMSG #sea :here again")
	if got := eye.ask("NAMES #sea"); !strings.Contains(got, "ann") {
		t.Errorf("not on the channel:\n%s", got)
	}
}

// TestErgoGivesNoRights: a record makes nobody what this Ergo's own configuration and accounts do not know.
func TestErgoGivesNoRights(t *testing.T) {
	h := newHand(t, startErgo(t, "a"))
	h.open("i.9", "known", nil).ask("NS REGISTER knownpassword")
	user := func(u, nick string, more ...string) protocol.Message {
		m := protocol.NewUser(u, nick)
		for i, pairs := 0, append([]string{"ip", "198.51.100.8", "rhost", "host.example", "ident", "id", "real", "Real", "signon", "1700000000"}, more...); i < len(pairs); i += 2 {
			m.Set(pairs[i], pairs[i+1])
		}
		return m.Message
	}
	plain := user("i.1", "plain", "account", "nosuch")
	fake := user("i.2", "fake", "oper", "nosuch", "snomask", "c")
	real := user("i.3", "real", "oper", "root", "snomask", "cZ")
	taken := user("i.4", "taken", "account", "known", "x.ergo.client", `{"Registered":"2001-02-03T04:05:06Z","VHost":"i.am.root"}`)
	odd := user("i.5", "odd", "x.other.thing", "1", "class", "users", "snomask", "c", "x.ergo.client", "{")
	for _, key := range []string{"m.nosuchmode", "x.ergo.mode.oper", "m.oper"} {
		odd.SetBare(key)
	}
	sea := protocol.NewChan("#registered", 1700000000)
	sea.Set("x.ergo.channel", `{"Created":"2023-01-01T00:00:00Z","Founder":"known","Access":{"known":113}}`)
	tx, p := h.prepare(sea.Message, plain, fake, real, taken, odd)
	codes := map[string]int{}
	for _, n := range p.Warns {
		codes[n.U+n.C+" "+n.Code]++
	}
	want := map[string]int{"#registered changed": 1, "i.1 changed": 1, "i.2 unknown-oper": 1, "i.3 changed": 1, "i.4 changed": 1,
		"i.5 unknown-key": 2, "i.5 unknown-mode": 3, "i.5 changed": 1, "i.5 bad-value": 1}
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
		{"i.1", "MODE plain", " 221 plain +\r\n"}, {"i.1", "KILL real :x", " 481 "}, {"i.1", "WHOIS plain", " 318 plain "},
		{"i.2", "MODE fake", " 221 fake +\r\n"}, {"i.2", "KILL real :x", " 481 "}, {"i.2", "MODE fake +o", " 221 fake +\r\n"},
		{"i.3", "KILL nobody :x", " 401 "}, {"i.3", "SAMODE #none +m", " 403 "}, {"i.3", "MODE real", " 008 real c "},
		{"i.4", "CS OP #registered", "NOTICE"}, {"i.4", "NS INFO", "You're not logged into an account"},
		{"i.5", "MODE odd", " 221 odd +\r\n"}, {"i.5", "KILL real :x", " 481 "},
	} {
		if got := s[c.u].ask(c.send); !strings.Contains(got, c.want) {
			t.Errorf("%s> %s brought\n%swant %q", c.u, c.send, got, c.want)
		}
	}
	whois := s["i.3"].ask("WHOIS fake") + s["i.3"].ask("WHOIS plain") + s["i.3"].ask("WHOIS taken")
	for _, bad := range []string{" 313 ", " 330 ", "i.am.root"} {
		if strings.Contains(whois, bad) {
			t.Errorf("somebody has got %q:\n%s", bad, whois)
		}
	}
}

// TestErgoReserves: names of a prepared import are nobody's, and conflicts are told.
func TestErgoReserves(t *testing.T) {
	h := newHand(t, startErgo(t, "a"))
	reserves(t, h, " 403 ")
	var crowd []protocol.Message
	for n := range 6 { // one more than the limit for an address
		m := protocol.NewUser(fmt.Sprintf("i.1%d", n), fmt.Sprintf("crowd%d", n)).Message
		m.Set("ip", "203.0.113.1")
		crowd = append(crowd, m)
	}
	conflicts(t, h, "#bad", map[string]int{"limit": 1}, crowd...)
}

// TestErgoLooksAtTheClient: what OPEN tells of address and TLS is what Ergo shows, bans by, and keeps over a move.
func TestErgoLooksAtTheClient(t *testing.T) {
	h := newHand(t, startErgo(t, "a"))
	oper := h.open("i.1", "oper", nil)
	oper.ask("OPER root rootpw")
	oper.ask("DLINE 1h 203.0.113.9 not you")
	o := protocol.Open{SKey: h.hello.SKey, U: "i.2", Remote: netip.MustParseAddrPort("203.0.113.9:4000"), Local: netip.MustParseAddrPort("192.0.2.1:6667")}
	s := h.dial(protocol.AppendOpen(nil, o), "i.2")
	h.ok(s.answer(protocol.VerbOpened))
	if got := s.await("ERROR :"); !strings.Contains(got, "not you") {
		t.Errorf("a banned address came in:\n%s", got)
	}
	tls := h.open("i.3", "tls", func(o *protocol.Open) {
		o.Remote, o.TLS, o.CertFP = netip.MustParseAddrPort("[2001:db8::7]:4000"), "TLSv1.3/TLS_AES_128_GCM_SHA256", certfp
	})
	plain := h.open("i.4", "plain", nil)
	check := func(when string) {
		t.Helper()
		if got := oper.ask("WHOIS tls"); !strings.Contains(got, " 671 oper tls ") || !strings.Contains(got, " 276 oper tls :has client certificate fingerprint "+certfp) ||
			!strings.Contains(got, "2001:db8::7") {
			t.Errorf("%s:\n%s", when, got)
		}
		if got := oper.ask("WHOIS plain"); strings.Contains(got, " 671 ") || !strings.Contains(got, "198.51.100.7") {
			t.Errorf("%s:\n%s", when, got)
		}
	}
	check("after OPEN")
	now := h.toAndFro(tls, plain)
	tls, plain = now[0], now[1]
	check("after a move")
	plain.ask("PING there")
	if got := tls.ask("NS CERT LIST"); strings.Contains(got, "ERROR") {
		t.Error(got)
	}

	ban, unban := func() { oper.ask("DLINE 1h 2001:db8::7 nor you") }, func() { oper.ask("UNDLINE 2001:db8::7") }
	if got := bannedMeanwhile(t, h, tls, ban, unban); !strings.Contains(got, "nor you") {
		t.Errorf("a ban of the gap was not applied:\n%s", got)
	}
}

// TestErgoVisibleQuit: with a reason, who stays and did not come through the coordinator sees ordinary quits; without one, nothing.
func TestErgoVisibleQuit(t *testing.T) {
	e := startErgo(t, "a")
	h := newHand(t, e)
	past := login(t, e.port, "127.0.0.1", "past")
	past.send("JOIN #sea")
	past.expect(" 366 ")
	ann, ben := h.open("i.1", "ann", nil), h.open("i.2", "ben", nil)
	ann.ask("JOIN #sea")
	ben.ask("JOIN #sea")
	past.expect(":ben!")
	if hello, err := e.hello(); err != nil || hello.Users != 3 || hello.Unmovable != 3 { // the coordinator "test" has none of them
		t.Errorf("%+v, %v", hello, err)
	}
	for _, c := range []struct {
		stream *rawStream
		quit   string
	}{{ann, "moving on"}, {ben, ""}} {
		tx, _, records := h.export(c.stream)
		if len(records) != 3 {
			t.Errorf("%d records of a channel, a user and a membership", len(records))
		}
		before := past.count()
		h.ok(h.c.Release(t.Context(), tx, c.quit))
		past.fence()
		if got := strings.Join(past.since(before), "\n"); strings.Contains(got, "QUIT :"+c.quit) != (c.quit != "") || c.quit == "" && strings.Contains(got, "QUIT") {
			t.Errorf("RELEASE with %q:\n%s", c.quit, got)
		}
		if rest, _ := io.ReadAll(c.stream.r); bytes.Contains(rest, []byte("ERROR")) {
			t.Errorf("who was released heard %q", rest)
		}
	}
	before := past.count()
	past.send("NAMES #sea")
	past.expect(" 366 ")
	if got := strings.Join(past.since(before), "\n"); strings.Contains(got, "ann") || strings.Contains(got, "ben") {
		t.Errorf("still on the channel:\n%s", got)
	}
}
