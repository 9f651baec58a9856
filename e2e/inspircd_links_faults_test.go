//go:build e2e

package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ircferry/ircferry/handoff/protocol"
)

// newest is the dialect that a version speaks best.
func (v *inspVersion) newest() int {
	if v.major == 3 {
		return 1205
	}
	return 1206
}

// heldRig is an ircd with a leaf that has been bursted, and users of its own.
type heldRig struct {
	a    *nativeInspIRCd
	h    *hand
	port int // for servers
	p    *linkPeer
	ann  *rawStream // an operator
	ben  *rawStream
}

func startHeld(t *testing.T, v *inspVersion, more string) *heldRig {
	t.Helper()
	l := &heldRig{a: v.new(t, "a")}
	l.port = l.a.mayLink("leaf.example", "other.example")
	writeFile(t, l.a.conf, readFile(l.a.conf)+more)
	l.a.run()
	l.h = newHand(t, l.a)
	l.ann, l.ben = l.h.open("i.1", "ann", nil), l.h.open("i.2", "ben", nil)
	l.ann.ask("OPER root rootpw")
	l.ann.ask("JOIN #late,#own")
	l.ben.ask("JOIN #late")
	l.p = leaf(t, v, v.newest())
	l.p.connect(l.port)
	l.p.burst()
	l.p.fence()
	return l
}

// away takes the users and the link out, and starts the process anew.
func (l *heldRig) away() held {
	l.a.t.Helper()
	x := l.h.exportLinks([]*linkPeer{l.p}, l.ann, l.ben)
	l.p.marker(x.tx)
	l.h.ok(l.h.c.Release(l.a.t.Context(), x.tx, ""))
	l.a.again()
	l.h = newHand(l.a.t, l.a)
	return x
}

// other is a second server that links by itself. refused: it is closed at once.
func (l *heldRig) other() (p *linkPeer, refused bool) {
	l.a.t.Helper()
	p = &linkPeer{t: l.a.t, v: l.a.v, link: protocol.LinkSelection{Name: "other.example", SID: "00C", Proto: l.a.v.newest()}}
	p.dial(l.port)
	if _, err := p.next(); err != nil {
		return nil, true
	}
	_ = p.conn.Close()
	p.connect(l.port)
	p.say(":00C ENDBURST")
	p.fence()
	return p, false
}

// TestInspIRCdLinkGoesOn: an export that is resumed, or whose freeze is over, leaves a marker on the link and nothing else.
func TestInspIRCdLinkGoesOn(t *testing.T) { onBoth(t, inspIRCdLinkGoesOn) }

func inspIRCdLinkGoesOn(t *testing.T, v *inspVersion) {
	l := startHeld(t, v, "")
	ann := l.h.ids("ann")["ann"]
	for _, how := range []string{"resumed", "over"} {
		tx := protocol.NewSecret()
		req := protocol.ExportRequest{Tx: tx, Freeze: 300 * time.Millisecond, Select: []protocol.Selection{{U: "i.1", In: l.ann.in}}, Links: []protocol.LinkSelection{l.p.link}}
		_, err := l.h.c.Export(t.Context(), req, func(protocol.Message) error { return nil })
		l.h.ok(err)
		if how == "resumed" {
			l.h.ok(l.h.c.Resume(t.Context(), tx))
		}
		if got := l.p.marker(tx); len(got) > 0 {
			t.Errorf("%s: before the marker stands %q", how, got)
		}
		l.ann.send("PRIVMSG #late :still " + how + "\r\n")
		l.p.awaitLine(":" + ann + " PRIVMSG #late :still " + how)
		l.p.say(":00BAAAAAA PRIVMSG #late :me too")
		l.ann.await("PRIVMSG #late :me too")
	}
}

// TestInspIRCdLinkFaults: what an export and an import with links are refused for.
func TestInspIRCdLinkFaults(t *testing.T) { onBoth(t, inspIRCdLinkFaults) }

func inspIRCdLinkFaults(t *testing.T, v *inspVersion) {
	l := startHeld(t, v, "")
	export := func(s protocol.LinkSelection) error {
		_, err := l.h.c.Export(t.Context(), protocol.ExportRequest{Tx: protocol.NewSecret(), Freeze: time.Second, Links: []protocol.LinkSelection{s}},
			func(protocol.Message) error { return nil })
		return err
	}
	l.h.fails(export(protocol.LinkSelection{Name: "nobody.example", SID: "00B", Proto: v.newest()}), protocol.CodeNotLinked)
	l.h.fails(export(protocol.LinkSelection{Name: "leaf.example", SID: "00X", Proto: v.newest()}), protocol.CodeNotLinked)
	l.h.fails(export(protocol.LinkSelection{Name: "child.example", SID: "0CH", Proto: v.newest()}), protocol.CodeNotLinked)
	l.h.fails(export(protocol.LinkSelection{Name: "leaf.example", SID: "00B", Proto: 1201}), protocol.CodeBadValue)
	if got := l.p.fence(); len(got) > 0 {
		t.Errorf("refused exports have said %q to the peer", got)
	}
	tx := protocol.NewSecret()
	greet := func(name, sid string) error {
		_, err := l.h.c.Greet(t.Context(), tx, protocol.LinkSelection{Name: name, SID: sid, Proto: v.newest()})
		return err
	}
	l.h.ok(l.h.c.Import(t.Context(), tx, tx, time.Minute, ""))
	l.h.fails(greet("other.example", "00C"), protocol.CodeState)
	l.h.ok(l.h.c.Abort(t.Context(), tx))
	tx = protocol.NewSecret()
	l.h.fails(greet("other.example", "00C"), protocol.CodeUnknownTx)
	l.h.ok(l.h.c.ImportLinks(t.Context(), tx, tx, time.Minute, ""))
	l.h.fails(greet("nobody.example", "00C"), protocol.CodeUnknownLink)
	l.h.fails(greet("leaf.example", "00C"), protocol.CodeLinked)
	l.h.fails(greet("other.example", "0CH"), protocol.CodeLinked)
	l.h.ok(greet("other.example", "00C"))
	l.h.ok(l.h.c.Abort(t.Context(), tx))
}

// TestInspIRCdLinkConflicts: PREPARE tells which link is not as it was, and whose id is taken.
func TestInspIRCdLinkConflicts(t *testing.T) { onBoth(t, inspIRCdLinkConflicts) }

func inspIRCdLinkConflicts(t *testing.T, v *inspVersion) {
	l := startHeld(t, v, "")
	ids := l.h.ids("ann", "ben")
	x := l.h.exportLinks([]*linkPeer{l.p}, l.ann)
	l.p.marker(x.tx)
	l.h.ok(l.h.c.Release(t.Context(), x.tx, ""))
	_ = l.p.conn.Close()
	eventually(t, slack, "the link has ended", func() bool { return len(newHand(t, l.a).hello.Linked) == 0 })
	conflicts := func(burst []string, change func([]protocol.Message)) (told []string) {
		tx := protocol.NewSecret()
		l.h.ok(l.h.c.ImportLinks(t.Context(), tx, tx, time.Minute, ""))
		if burst != nil {
			g, err := l.h.c.Greet(t.Context(), tx, l.p.link)
			l.h.ok(err)
			l.p.replay(l.port, g, burst)
		}
		records := slices.Clone(x.records)
		for i := range records {
			records[i] = records[i].Clone()
		}
		if change != nil {
			change(records)
		}
		for _, r := range records {
			l.h.ok(l.h.c.Record(t.Context(), r))
		}
		p, err := l.h.c.Prepare(t.Context(), tx)
		l.h.ok(err)
		for _, n := range p.Conflicts {
			told = append(told, strings.TrimSpace(n.L+" "+n.U+" "+string(n.Code)))
		}
		l.h.ok(l.h.c.Abort(t.Context(), tx))
		if burst != nil {
			_ = l.p.conn.Close()
			eventually(t, slack, "the link has ended", func() bool { return len(newHand(t, l.a).hello.Linked) == 0 })
		}
		return told
	}
	if got := conflicts(nil, nil); !slices.Equal(got, []string{"leaf.example  link"}) {
		t.Errorf("without a replay: %q", got)
	}
	some := slices.DeleteFunc(slices.Clone(x.bursts["leaf.example"]), func(line string) bool { return strings.Contains(line, "00BAAAAAB") })
	if got := conflicts(some, nil); !slices.Equal(got, []string{"leaf.example  link"}) {
		t.Errorf("with a user missing: %q", got)
	}
	if got := conflicts(x.bursts["leaf.example"], nil); len(got) != 0 {
		t.Errorf("as it was: %q", got)
	}
	taken := func(records []protocol.Message) {
		for i := range records {
			if records[i].Verb == protocol.VerbUser {
				records[i].Set("id", ids["ben"]) // who has stayed
			}
		}
	}
	if got := conflicts(x.bursts["leaf.example"], taken); !slices.Equal(got, []string{"i.1 id"}) {
		t.Errorf("with an id that is taken: %q", got)
	}
	other, refused := l.other()
	if refused {
		t.Fatal("another server was refused though no import is open")
	}
	if got := conflicts(nil, func(records []protocol.Message) {
		for i := range records {
			switch records[i].Verb {
			case protocol.VerbLink:
				records[i].Set("n", "nobody.example")
			case protocol.VerbRemote:
				records[i].Set("l", "nobody.example")
			}
		}
	}); len(got) < 2 || !slices.Contains(got, "other.example  link") {
		t.Errorf("with another server: %q", got)
	}
	_ = other.conn.Close()
}

// TestInspIRCdBarsNewcomers: while links come back nobody registers, and no other server links. When the import is at its end they do.
func TestInspIRCdBarsNewcomers(t *testing.T) { onBoth(t, inspIRCdBarsNewcomers) }

func inspIRCdBarsNewcomers(t *testing.T, v *inspVersion) {
	l := startHeld(t, v, "")
	tx := protocol.NewSecret()
	l.h.ok(l.h.c.ImportLinks(t.Context(), tx, tx, time.Minute, ""))
	eve := l.h.dial(protocol.AppendOpen(nil, protocol.Open{SKey: l.h.hello.SKey, U: "i.9", Remote: netip.MustParseAddrPort("198.51.100.9:4000"),
		Local: netip.MustParseAddrPort("192.0.2.1:6667")}), "i.9")
	l.h.ok(eve.answer(protocol.VerbOpened))
	eve.send("NICK eve\r\nUSER eve 0 * :eve\r\n")
	if _, refused := l.other(); !refused {
		t.Error("another server came in")
	}
	time.Sleep(2500 * time.Millisecond) // InspIRCd looks each second for who is ready
	if _, err := l.h.c.Find(t.Context(), "eve"); err == nil && !strings.Contains(l.ann.ask("WHOIS eve"), " 401 ") {
		t.Error("eve has registered")
	}
	if got := l.p.fence(); len(got) > 0 {
		t.Errorf("the peer was told %q", got)
	}
	l.h.ok(l.h.c.Abort(t.Context(), tx))
	eve.await(" 001 ")
	if _, refused := l.other(); refused {
		t.Error("another server does not come in though the import has ended")
	}
}

// TestInspIRCdWaitsForUsers: a process that users left comes back with its ids behind those that were given, lets no server in and connects to none
// before they are back; and not for ever.
func TestInspIRCdWaitsForUsers(t *testing.T) { onBoth(t, inspIRCdWaitsForUsers) }

func inspIRCdWaitsForUsers(t *testing.T, v *inspVersion) {
	there := waitForServers(t)
	auto := fmt.Sprintf("\n<link name=\"auto.example\" ipaddr=\"127.0.0.1\" port=\"%d\" allowmask=\"127.0.0.1\" sendpass=\"a\" recvpass=\"b\">\n<autoconnect period=\"1s\" server=\"auto.example\">\n", there.port)
	l := startHeld(t, v, auto)
	there.await(t)
	x := l.away()
	path := filepath.Join(l.a.dir, "handoff.ids")
	info, err := os.Stat(path)
	l.h.ok(err)
	text := readFile(path)
	if info.Mode().Perm() != 0o600 || strings.Contains(text, "ours") || !strings.Contains(text, x.links["leaf.example"].Get("last")) || !strings.Contains(text, "links=leaf.example") {
		t.Errorf("%s has mode %s and\n%s", path, info.Mode(), text)
	}
	if _, refused := l.other(); !refused {
		t.Error("another server came in before the users")
	}
	there.forget()
	time.Sleep(2500 * time.Millisecond)
	if there.count() > 0 {
		t.Error("the ircd has connected to a server before the users are back")
	}
	tx, p := l.h.importLinks(l.port, []*linkPeer{l.p}, x)
	if len(p.Conflicts)+len(p.Warns) > 0 {
		t.Fatalf("%+v", p)
	}
	streams := l.h.commitLinks(tx, []*linkPeer{l.p}, "i.1", "i.2")
	l.ann, l.ben = streams[0], streams[1]
	there.await(t)
	if _, refused := l.other(); refused {
		t.Error("another server does not come in though the users are back")
	}
	// Nobody brings them back this time.
	writeFile(t, l.a.conf, strings.Replace(readFile(l.a.conf), `<module name="handoff">`, `<module name="handoff"> <handoff linkwait="2s">`, 1)+"\n<handoff linkwait=\"2s\">\n")
	l.away()
	eve := l.h.open("i.9", "eve", nil) // registers when nobody is waited for any more
	id := l.h.ids("eve")["eve"]
	if last := x.links["leaf.example"].Get("last"); id <= last {
		t.Errorf("a newcomer has id %s, and %s had been given", id, last)
	}
	if _, refused := l.other(); refused {
		t.Error("another server does not come in though the time is over")
	}
	eve.ask("PING x")
}

// TestInspIRCdAwaitsNobody: the coordinator says that those who left will not come back, to the process that they left or to one after it, and
// nobody is kept out.
func TestInspIRCdAwaitsNobody(t *testing.T) { onBoth(t, inspIRCdAwaitsNobody) }

func inspIRCdAwaitsNobody(t *testing.T, v *inspVersion) {
	l := startHeld(t, v, "")
	x := l.away()
	if _, refused := l.other(); !refused {
		t.Error("another server came in")
	}
	l.h.ok(l.h.c.Abort(t.Context(), x.tx))
	if _, refused := l.other(); refused {
		t.Error("another server does not come in though nobody is awaited")
	}
	eve := l.h.open("i.9", "eve", nil)
	tx := l.h.exportLinks(nil, eve).tx
	l.h.ok(l.h.c.Release(t.Context(), tx, ""))
	l.h.ok(l.h.c.Abort(t.Context(), tx))
	l.a.again()
	if _, refused := l.other(); refused {
		t.Error("another server does not come in to the process after")
	}
}

// doorbell is a port that servers may be connected to.
type doorbell struct {
	port int
	rung atomic.Int64
}

func waitForServers(t *testing.T) *doorbell {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &doorbell{port: ln.Addr().(*net.TCPAddr).Port}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			d.rung.Add(1)
			_ = conn.Close()
		}
	}()
	return d
}

func (d *doorbell) forget()      { d.rung.Store(0) }
func (d *doorbell) count() int64 { return d.rung.Load() }

func (d *doorbell) await(t *testing.T) {
	t.Helper()
	eventually(t, slack, "the ircd connects to a server", func() bool { return d.count() > 0 })
}
