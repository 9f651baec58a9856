package ircd

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/handoff/protocol"
	"github.com/ircferry/ircferry/internal/ircclient"
)

func TestHandoffUnregisteredIsForgottenOrGoesOn(t *testing.T) {
	a, b, f := twoShips(t)
	alice := f.user("alice")
	half := ircclient.Test(t, f.ln.Addr().String(), ircclient.Options{})
	half.Send("NICK half")
	half.Send("PING x")
	half.Await("PONG")
	m := f.newMove(a, b)
	m.freeze()
	noErr(t, m.export())
	if len(m.users) != 1 {
		t.Fatalf("%d users exported", len(m.users))
	}
	noErr(t, a.c.Resume(t.Context(), m.tx))
	m.thaw()
	half.Send("USER half 0 * :x")
	half.Await(" 001 ")
	alice.Silent()

	// And at RELEASE its stream is closed.
	late := ircclient.Test(t, f.ln.Addr().String(), ircclient.Options{})
	late.Send("NICK late")
	late.Send("PING x")
	late.Await("PONG")
	m = f.newMove(a, b)
	m.freeze()
	noErr(t, m.export())
	noErr(t, a.c.Release(t.Context(), m.tx, ""))
	m.thaw()
	if len(late.Gone()) != 0 {
		t.Fatal("the forgotten client was told something")
	}
	a.srv.do(func() {
		if len(a.srv.clients) != 0 || a.srv.nicks["late"] != nil {
			t.Error("not forgotten")
		}
	})
}

// While frozen nothing runs: not what other clients say, and not the timers.
func TestHandoffWorldStops(t *testing.T) {
	a, b, f := twoShips(t)
	alice := f.user("alice")
	alice.Join("#sea")
	past := a.client("past")
	past.Join("#sea")
	alice.Await("JOIN")
	m := f.newMove(a, b)
	m.freeze()
	noErr(t, m.export())
	past.Send("PRIVMSG #sea :too early?")
	past.Send("PING :fence")
	if l, err := past.Next(100 * time.Millisecond); err != ircclient.ErrTimeout {
		t.Fatalf("the stopped world said %q, %v", l.Text, err)
	}
	noErr(t, a.c.Resume(t.Context(), m.tx))
	m.thaw()
	alice.Await("too early?")
}

// Input that was read while the world stood still runs when it goes on: no event will come for it.
func TestHandoffResumeRunsWhatWasRead(t *testing.T) {
	a, _, f := twoShips(t)
	alice := f.user("alice")
	alice.Fence()
	s, e := f.newMove(a, a).sessions[0], a.handoff.end
	a.srv.mu.Lock() // as Freeze does, so that the loop cannot read first
	alice.Send("JOIN #sea")
	e.selected = append(e.selected, e.client(s.u))
	before := e.client(s.u).conn.in
	noErr(t, e.readUp(t.Context(), []protocol.Selection{{U: s.u, In: before + uint64(len("JOIN #sea\r\n"))}}))
	e.Resume()
	alice.Await("JOIN")
}

func TestHandoffFreezeEndsByItself(t *testing.T) {
	a, b, f := twoShips(t)
	alice := f.user("alice")
	m := f.newMove(a, b)
	m.freeze()
	_, err := a.c.Export(t.Context(), protocol.ExportRequest{Tx: m.tx, Freeze: 50 * time.Millisecond,
		Select: []protocol.Selection{{U: m.sessions[0].u, In: m.sessions[0].in}}}, func(protocol.Message) error { return nil })
	noErr(t, err)
	m.thaw()
	alice.Fence()
	if err := a.c.Release(t.Context(), m.tx, ""); !protocol.HasCode(err, protocol.CodeResumed) {
		t.Fatalf("RELEASE after the freeze: %v", err)
	}
	// and the end of control
	m = f.newMove(a, b)
	m.freeze()
	noErr(t, m.export())
	a.c.Close()
	m.thaw()
	alice.Fence()
}

func TestHandoffBehind(t *testing.T) {
	a, _, f := twoShips(t)
	alice := f.user("alice")
	m := f.newMove(a, a)
	m.freeze()
	s := m.sessions[0]
	for in, code := range map[uint64]protocol.Code{s.in + 1: protocol.CodeBehind, s.in - 1: protocol.CodeCount} {
		_, err := a.c.Export(t.Context(), protocol.ExportRequest{Tx: protocol.NewSecret(), Freeze: 50 * time.Millisecond,
			Select: []protocol.Selection{{U: s.u, In: in}}}, nil)
		if !protocol.HasCode(err, code) {
			t.Fatalf("in %d: %v, want %s", in, err, code)
		}
	}
	m.thaw()
	alice.Fence()
}

func TestHandoffConflicts(t *testing.T) {
	a, b, f := twoShips(t)
	alice := f.user("alice")
	alice.Join("#sea", "#free")
	f.user("bad")
	b.srv.AddBan(Ban{Mask: "bad!*@*", Reason: "no"})
	other := b.client("ALICE")
	other.Join("#SEA")
	b.srv.do(func() { b.srv.channel("#sea").ts-- }) // of another time than the one here
	m := f.newMove(a, b)
	m.stage()
	m.freeze()
	noErr(t, m.export())
	p, err := m.prepare()
	noErr(t, err)
	var got []string
	for _, n := range p.Conflicts {
		got = append(got, n.Code)
		if n.Code == "nick-in-use" && !strings.Contains(n.Text, "ALICE!") {
			t.Errorf("nick-in-use says %q, and not who has it", n.Text)
		}
	}
	slices.Sort(got)
	if want := []string{"banned", "channel-exists", "nick-in-use"}; !slices.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	if _, err := b.c.Commit(t.Context(), m.tx); !protocol.HasCode(err, protocol.CodeConflict) {
		t.Fatalf("COMMIT: %v", err)
	}
	// the free names are reserved until ABORT
	mustContain(t, other.Ask("JOIN #free"), " 437 ")
	mustContain(t, other.Ask("NICK bad"), " 433 ")
	noErr(t, b.c.Abort(t.Context(), m.tx))
	noErr(t, a.c.Resume(t.Context(), m.tx))
	m.thaw()
	mustContain(t, other.Ask("NICK bad"), "NICK")
	other.Nick = "bad"
	other.Join("#free")
	alice.Silent()
	mustContain(t, alice.Ask("NAMES #sea"), "@alice")
}

// With kick=, who has made a channel of an exported name after it does not keep the users out of theirs: the server kicks everybody, and the
// channel is what it was. An older one is a conflict as ever, one of the same time is the one that they left.
func TestHandoffYoungerChannelGivesWay(t *testing.T) {
	a, b, f := twoShips(t)
	alice := f.user("alice")
	alice.Join("#sea", "#kept")
	alice.Ask("MODE #sea +k hush")
	op, other := b.client("op"), b.client("other")
	for _, c := range []*ircclient.Tester{op, other} {
		c.Join("#SEA", "#kept")
	}
	op.Ask("MODE #SEA +i")
	op.Ask("MODE #SEA +b alice!*@*")
	op.Fence()
	other.Fence()
	ts := a.srv.channel("#sea").ts
	stage := func(age int64, kick string) (*move, protocol.Prepared) {
		t.Helper()
		b.srv.do(func() { b.srv.channel("#sea").ts, b.srv.channel("#kept").ts = ts+age, a.srv.channel("#kept").ts })
		m := f.newMove(a, b)
		noErr(t, b.c.Import(t.Context(), m.tx, m.tok, time.Minute, kick))
		noErr(t, m.attach())
		m.freeze()
		noErr(t, m.export())
		p, err := m.prepare()
		noErr(t, err)
		return m, p
	}
	for name, c := range map[string]struct {
		age  int64
		kick string
	}{"without kick": {5, ""}, "an older one": {-5, "go"}} {
		m, p := stage(c.age, c.kick)
		if len(p.Conflicts) != 1 || p.Conflicts[0].Code != "channel-exists" {
			t.Fatalf("%s: %+v", name, p)
		}
		noErr(t, b.c.Abort(t.Context(), m.tx))
		noErr(t, a.c.Resume(t.Context(), m.tx))
		m.thaw()
	}
	op.Silent()

	m, p := stage(5, "coming back: join again")
	if len(p.Conflicts) != 0 || len(p.Warns) != 2 || p.Warns[0].Code+p.Warns[1].Code != "replacedmerged" {
		t.Fatalf("%+v", p)
	}
	mustContain(t, other.Ask("PART #sea"), " PART ")
	mustContain(t, other.Ask("JOIN #sea"), " 437 ") // nobody comes into what is about to go
	noErr(t, m.readUp())
	noErr(t, a.c.Release(t.Context(), m.tx, ""))
	_, err := b.c.Commit(t.Context(), m.tx)
	noErr(t, err)
	noErr(t, m.splice())
	m.thaw()
	op.Await("KICK #SEA op :coming back: join again")
	op.Silent()
	other.Silent()
	mustContain(t, alice.Ask("MODE #sea"), " #sea +ntk hush")
	mustContain(t, alice.Ask("MODE #sea"), fmt.Sprint(" 329 alice #sea ", ts))
	mustContain(t, alice.Ask("NAMES #sea"), " #sea :@alice\n")
	if got := alice.Ask("MODE #sea b"); strings.Contains(got, " 367 ") {
		t.Errorf("the list of the one that went: %s", got)
	}
	mustContain(t, alice.Ask("NAMES #kept"), " #kept :@op other @alice\n")
	mustContain(t, op.Ask("JOIN #sea hush"), " JOIN :#sea")
	mustContain(t, op.Ask("NAMES #sea"), " #sea :@alice op\n")
}

// A ban that comes between PREPARE and COMMIT is no way in: an ordinary, visible quit follows.
func TestHandoffBanAfterImport(t *testing.T) {
	a, b, f := twoShips(t)
	alice, bad := f.user("alice"), f.user("bad")
	alice.Join("#sea")
	bad.Join("#sea")
	alice.Await("JOIN")
	m := f.newMove(a, b)
	m.stage()
	m.freeze()
	noErr(t, m.export())
	_, err := m.prepare()
	noErr(t, err)
	noErr(t, m.readUp())
	noErr(t, a.c.Release(t.Context(), m.tx, ""))
	b.srv.AddBan(Ban{Mask: "bad!*@*", Reason: "no more"})
	_, err = b.c.Commit(t.Context(), m.tx)
	noErr(t, err)
	noErr(t, m.splice())
	m.thaw()
	alice.Await("QUIT")
	mustContain(t, ircclient.Texts(bad.Gone()), " 465 bad ", "ERROR :")
}

func TestHandoffLeaseOver(t *testing.T) {
	a, b, f := twoShips(t)
	f.user("alice")
	m := f.newMove(a, b)
	noErr(t, b.c.Import(t.Context(), m.tx, m.tok, time.Second, ""))
	noErr(t, m.attach())
	m.freeze()
	noErr(t, m.export())
	_, err := m.prepare()
	noErr(t, err)
	noErr(t, a.c.Resume(t.Context(), m.tx))
	m.thaw()
	io.Copy(io.Discard, m.attached[m.sessions[0].u]) // ends with the lease
	if st, err := b.c.Status(t.Context(), m.tx); err != nil || st.Dest != protocol.DestAborted {
		t.Fatalf("STATUS %v, %v", st, err)
	}
	b.srv.do(func() {
		if len(b.srv.reserved) != 0 || b.handoff.end.staged != nil {
			t.Error("names stay reserved")
		}
	})
	f.newMove(a, b).run()
}

// Users who come back into a channel that lives are told of, with what it does not get back by name, and no value but those of lists.
func TestHandoffMergedNamesWhatIsLost(t *testing.T) {
	_, b, _ := twoShips(t)
	op := b.client("op")
	op.Join("#sea")
	op.Ask("TOPIC #sea :another")
	op.Ask("MODE #sea +tb *!*@kept.example")
	op.Ask("MODE #sea -n")
	var ts int64
	b.srv.do(func() { ts = b.srv.channel("#sea").ts })
	many := []protocol.Message{protocol.NewList("#sea", "ban", "*!*@kept.example", "x", 1).Message, protocol.NewList("#sea", "ban", "*!*@lost.example", "x", 1).Message}
	for i := range 200 {
		many = append(many, protocol.NewList("#sea", "banexception", fmt.Sprintf("*!*@%d.example", i), "x", 1).Message)
	}
	for name, c := range map[string]struct {
		change func(*protocol.Chan)
		lists  []protocol.Message
		want   string
	}{
		"nothing": {func(c *protocol.Chan) { c.Set("topic", "another"); c.SetMode("topiclock") }, many[:1], "stay"},
		"much": {func(c *protocol.Chan) {
			c.Set("topic", "the sea")
			c.SetMode("topiclock")
			c.SetMode("noextmsg")
			c.SetModeParam("key", "hush")
		}, many[:2],
			"stay; lost: topic, m.noextmsg, m.key, ban *!*@lost.example"},
		"too much": {func(*protocol.Chan) {}, many, ", and more"},
	} {
		ch := protocol.NewChan("#sea", ts)
		c.change(&ch)
		tx := protocol.NewSecret()
		noErr(t, b.c.Import(t.Context(), tx, tx, time.Minute, ""))
		for _, m := range append([]protocol.Message{ch.Message}, c.lists...) {
			noErr(t, b.c.Record(t.Context(), m))
		}
		p, err := b.c.Prepare(t.Context(), tx)
		noErr(t, err)
		if len(p.Warns) != 1 || p.Warns[0].Code != "merged" || !same(p.Warns[0].Text, c.want) || len(p.Warns[0].Text) > maxLost+20 {
			t.Errorf("%s: %+v, want %q", name, p.Warns, c.want)
		}
		noErr(t, b.c.Abort(t.Context(), tx))
	}
}

// same reports whether what is lost is what was wanted, in any order.
func same(text, want string) bool {
	if strings.HasPrefix(want, ",") {
		return strings.HasSuffix(text, want)
	}
	_, text, _ = strings.Cut(text, "lists ")
	sorted := func(s string) []string {
		return slices.Sorted(slices.Values(strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(";:, ", r) })))
	}
	return slices.Equal(sorted(text), sorted(want))
}
