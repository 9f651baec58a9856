package ircd

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/handoff/protocol"
	"github.com/ircferry/ircferry/internal/ircclient"
)

// twoShips are two servers that clients cannot tell apart, with a ferry in front of the first.
func twoShips(t *testing.T) (a, b *ship, f *ferry) {
	t.Helper()
	cfg := Config{Name: "irc.test", Oper: Oper{Name: "root", Password: "secret"}}
	a = newShip(t, cfg)
	b = newShip(t, cfg)
	return a, b, newFerry(t, a)
}

// What may differ between two answers: the seconds of idle, and the time tag.
var (
	idleSeconds = regexp.MustCompile(`(?m)( 317 \S+ \S+) \d+ `)
	timeTag     = regexp.MustCompile(`(?m)^@time=\S+ `)
)

func probes(c *ircclient.Tester, others ...string) string {
	var all []string
	ask := func(line string) {
		all = append(all, "> "+line, timeTag.ReplaceAllString(idleSeconds.ReplaceAllString(c.Ask(line), "$1 IDLE "), ""))
	}
	for _, nick := range append(others, c.Nick) {
		ask("WHOIS " + nick)
		ask("WHO " + nick)
	}
	for _, ch := range []string{"#sea", "#Quiet"} {
		for _, q := range []string{"MODE %s", "MODE %s b", "MODE %s e", "MODE %s I", "TOPIC %s", "NAMES %s", "LIST %s", "WHO %s"} {
			ask(fmt.Sprintf(q, ch))
		}
	}
	for _, q := range []string{"MODE " + c.Nick, "MONITOR L", "MONITOR S", "CAP LIST", "INVITE", "LUSERS", "USERHOST " + c.Nick} {
		ask(q)
	}
	return strings.Join(all, "\n")
}

// crew is clients with about everything that a user can have.
func crew(f *ferry) []*ircclient.Tester {
	alice := f.user("alice", "multi-prefix", "server-time", "away-notify")
	bob := f.user("Bob[]", "message-tags", "echo-message")
	carol := f.user("carol")
	alice.Join("#sea", "#Quiet")
	bob.Join("#Quiet", "#sea") // WHOIS lists them in each one's own order
	alice.Ask("MODE #sea +b *!*@bad.example")
	alice.Ask("MODE #sea +beI *!x@y good!*@* *!guest@*")
	alice.Ask("MODE #sea +vo Bob[] Bob[]")
	alice.Ask("MODE #sea +imskl hush 44")
	alice.Ask("MODE #Quiet -n+i")
	alice.Ask("TOPIC #sea :to the \xe9 sea")
	alice.Ask("INVITE carol #Quiet")
	alice.Ask("AWAY :out at \\ sea")
	alice.Ask("OPER root secret")
	alice.Ask("MODE alice +iwsx")
	bob.Ask("MONITOR + carol,nobody,ALICE")
	carol.Ask("PRIVMSG alice :hello")
	carol.Ask("NICK Carol")
	carol.Nick = "Carol"
	all := []*ircclient.Tester{alice, bob, carol}
	for _, c := range all {
		c.Fence()
	}
	return all
}

// The promise: the same answers before and after, and nothing seen in between.
func TestHandoffKeepsWhatClientsCanSee(t *testing.T) {
	a, b, f := twoShips(t)
	all := crew(f)
	names := []string{"alice", "Bob[]", "Carol"}
	var before []string
	for _, c := range all {
		before = append(before, probes(c, names...))
	}
	for i, ships := range [][2]*ship{{a, b}, {b, a}, {a, a}} {
		f.newMove(ships[0], ships[1]).run()
		for j, c := range all {
			c.Silent()
			if after := probes(c, names...); after != before[j] {
				t.Fatalf("move %d, %s:\n%s", i+1, c.Nick, firstDifference(before[j], after))
			}
		}
	}
	// The restored state works.
	alice, bob, carol := all[0], all[1], all[2]
	carol.Join("#Quiet")
	alice.Await("JOIN :#Quiet")
	bob.Send("PRIVMSG #sea :over here")
	alice.Await("PRIVMSG #sea :over here")
	carol.Send("NICK caroline")
	bob.Await(" 731 ")
	alice.Send("KILL caroline :bye")
	alice.Await("QUIT")
	mustContain(t, alice.Ask("MODE #sea -t"), "MODE #sea -t")
}

func firstDifference(before, after string) string {
	b, a := strings.Split(before, "\n"), strings.Split(after, "\n")
	for i := range b {
		if i >= len(a) || a[i] != b[i] {
			return fmt.Sprintf("before %q\nafter  %q", b[i:min(i+3, len(b))], a[min(i, len(a)):min(i+3, len(a))])
		}
	}
	return fmt.Sprintf("more: %q", a[len(b):])
}

// Idle and signon go on as if nothing had been, also when time passes between the two ircds.
func TestHandoffKeepsIdle(t *testing.T) {
	a, b, f := twoShips(t)
	alice := f.user("alice")
	a.srv.do(func() { c := a.srv.find("alice"); c.spoke -= 1000; c.signon -= 2000 })
	m := f.newMove(a, b)
	m.alter = func(user *protocol.Message) { user.SetInt("idle", 7) } // what it would be if it had been parked since
	m.run()
	line := ircclient.Texts([]ircclient.Line{{Text: alice.Ask("WHOIS alice")}})
	idle := regexp.MustCompile(` 317 alice alice (\d+) (\d+) `).FindStringSubmatch(line)
	if idle == nil || idle[1] < "1000" || idle[1] > "1020" || len(idle[1]) != 4 {
		t.Fatalf("WHOIS: %s", line)
	}
}

// What was read and not run, and what was not written, goes along.
func TestHandoffCarriesQueues(t *testing.T) {
	cfg := Config{Name: "irc.test", SocketBuffer: 4096, Flood: Flood{Lines: 1, Per: time.Hour, Burst: 60}}
	a, b := newShip(t, cfg), newShip(t, cfg)
	f := newFerry(t, a)
	alice := f.user("alice")
	alice.Join("#sea")
	bob := f.user("bob")
	bob.Join("#sea")
	alice.Fence()
	m := f.newMove(a, b)
	passed := m.sessions[0].passed()
	for i := range 100 { // more than the flood limit lets run
		line := fmt.Sprintf("PRIVMSG #sea :line %d", i)
		passed += uint64(len(line) + 2)
		alice.Send(line)
	}
	bob.Await("line 30")
	for m.sessions[0].passed() < passed { // else they are frozen with the ferry, not read by the ircd
		time.Sleep(time.Millisecond)
	}
	m.run()
	rq, _ := m.users[m.sessions[0].u].Queues()
	if lines := strings.Count(string(rq), "\n"); lines < 30 {
		t.Fatalf("rq has %d lines", lines)
	}
	// The debt went along too: the lines of rq must not run all at once at the new place.
	var debt time.Duration
	b.srv.do(func() { debt = time.Until(b.srv.find("alice").credit) })
	if debt < 50*time.Hour {
		t.Fatalf("only %v still to be paid", debt)
	}
	b.srv.do(func() {
		alice := b.srv.find("alice")
		alice.credit = time.Time{}
		alice.run()
	})
	bob.Await("line 99")
}

func noErr(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestHandoffCountsUnmovable(t *testing.T) {
	a, _, f := twoShips(t)
	f.user("alice")
	a.client("past")
	a.dial()
	if a.hello.Users != 2 || a.hello.Unmovable != 1 {
		t.Fatalf("users %d, unmovable %d", a.hello.Users, a.hello.Unmovable)
	}
	c, err := protocol.Dial(t.Context(), a.handoff.Address())
	noErr(t, err)
	defer c.Close()
	h, err := c.Hello(t.Context(), protocol.Hello{Name: "another"})
	noErr(t, err)
	if h.Unmovable != 2 {
		t.Fatalf("%d unmovable for another coordinator", h.Unmovable)
	}
}

// Who is left out of a move is counted if he shares a channel with one who goes.
func TestHandoffTellsWhoRemains(t *testing.T) {
	a, _, f := twoShips(t)
	alice, bob := f.user("alice"), f.user("bob")
	ask := func(c *ircclient.Tester, line, until string) { t.Helper(); c.Send(line); c.Await(until) }
	remain := func() int {
		t.Helper()
		f.mu.Lock()
		s := f.sessions[0]
		f.mu.Unlock()
		tx := protocol.NewSecret()
		end, err := a.c.Export(t.Context(), protocol.ExportRequest{Tx: tx, Freeze: time.Minute, Select: []protocol.Selection{{U: s.u, In: s.passed()}}},
			func(protocol.Message) error { return nil })
		noErr(t, err)
		noErr(t, a.c.Resume(t.Context(), tx))
		return end.Remain
	}
	ask(alice, "JOIN #sea", " 366 ")
	ask(bob, "JOIN #lake", " 366 ")
	if n := remain(); n != 0 {
		t.Errorf("%d remain, on a channel of their own", n)
	}
	ask(bob, "JOIN #sea", " 366 ")
	ask(a.client("past"), "JOIN #sea", " 366 ")
	if n := remain(); n != 1 {
		t.Errorf("%d remain, not bob", n)
	}
}

// What another software writes is warned of, key by key, and never dropped in silence.
func TestHandoffWarnsOfWhatItCannotKeep(t *testing.T) {
	_, b, _ := twoShips(t)
	ctx, tx := t.Context(), protocol.NewSecret()
	noErr(t, b.c.Import(ctx, tx, tx, time.Minute, ""))
	ch := protocol.NewChan("#sea", 1)
	ch.SetMode("auditorium")
	ch.Set("x.other.thing", "1")
	u := protocol.NewUser("test.1", "alice")
	u.Set("ip", "192.0.2.1")
	u.SetMode("deaf")
	u.Set("silence", "*!*@x")
	u.Set("future", "1")
	u.Set("caps", "server-time draft/strange=1")
	u.Set("oper", "another")
	m := protocol.NewMemb("test.1", "#sea", "ahv")
	for _, r := range []protocol.Message{ch.Message, protocol.NewList("#sea", "quiet", "*!*@*", "x", 1).Message, u.Message, m.Message} {
		noErr(t, b.c.Record(ctx, r))
	}
	p, err := b.c.Prepare(ctx, tx)
	noErr(t, err)
	var got []string
	for _, n := range p.Warns {
		got = append(got, n.Code+" "+n.Key)
	}
	slices.Sort(got)
	want := []string{"unknown-cap caps", "unknown-key future", "unknown-key silence", "unknown-key x.other.thing", "unknown-mode m.auditorium",
		"unknown-mode m.deaf", "unknown-mode m.quiet", "unknown-oper oper", "unknown-prefix m", "unknown-prefix m"}
	if !slices.Equal(got, want) || len(p.Conflicts) > 0 {
		t.Fatalf("got %q\nwant %q\n%v", got, want, p.Conflicts)
	}
}

func TestHandoffOpenTwice(t *testing.T) {
	a, _, f := twoShips(t)
	f.user("alice")
	s := &session{u: coordinatorName + ".1"}
	if err := s.open(a); !protocol.HasCode(err, protocol.CodeUInUse) {
		t.Fatalf("got %v", err)
	}
	s.stream.Close()
}

func TestHandoffFind(t *testing.T) {
	a, _, f := twoShips(t)
	f.user("Alice[")
	a.client("past")
	u, err := a.c.Find(t.Context(), "aLICE{")
	if err != nil || u != coordinatorName+".1" {
		t.Fatalf("%q, %v", u, err)
	}
	if _, err := a.c.Find(t.Context(), "past"); !protocol.HasCode(err, protocol.CodeNotFound) {
		t.Fatalf("past: %v", err)
	}
}

// Nothing of the canonical names may be misspelt.
func TestHandoffModeNamesAreCanonical(t *testing.T) {
	known := map[string]bool{}
	for _, list := range [][]protocol.Mode{protocol.ChannelModes, protocol.ListModes, protocol.UserModes} {
		for _, m := range list {
			known[m.Name] = true
		}
	}
	for _, m := range chanModeTable {
		if m.kind != modePrefix && !known[m.name] {
			t.Errorf("channel mode %s", m.name)
		}
	}
	for _, m := range userModeTable {
		if m.letter != 'o' && m.letter != 's' && !known[m.name] {
			t.Errorf("user mode %s", m.name)
		}
	}
}

// What a client has not read is older than all that the new ircd will say: the kernel's part up to out, then sq.
func TestHandoffCarriesUnwrittenOutput(t *testing.T) {
	cfg := Config{Name: "irc.test", SocketBuffer: 32 << 10}
	a, b := newShip(t, cfg), newShip(t, cfg)
	f := newFerry(t, a)
	alice := f.user("alice")
	alice.Join("#sea")
	bob := a.client("bob")
	bob.Join("#sea")
	alice.Await("JOIN")
	m := f.newMove(a, b)
	s := m.sessions[0]
	s.down.Lock()        // the ferry reads no more of the old stream
	const lines = 10_000 // under the limit of 1 MiB
	for i := range lines {
		bob.Send(fmt.Sprintf("PRIVMSG #sea :line %d", i))
	}
	bob.Fence()
	m.stage()
	s.up.Lock()
	s.frozen = true
	noErr(t, m.export())
	s.down.Unlock()
	m.finish("")
	if _, sq := m.users[s.u].Queues(); len(sq) == 0 {
		t.Fatal("nothing was unwritten: the test shows nothing")
	}
	for i := range lines {
		if l := alice.Expect("PRIVMSG"); !strings.HasSuffix(l.Text, fmt.Sprintf(":line %d", i)) {
			t.Fatalf("at line %d: %q", i, l.Text)
		}
	}
	alice.Silent()
}
