//go:build e2e

package e2e

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ircferry/ircferry/handoff/protocol"
)

var uid = regexp.MustCompile(`\b[0-9][A-Z0-9]{2}[A-Z][A-Z0-9]{5}\b`)

// TestInspIRCdOtherServerID: users come to an InspIRCd of another server id and back. Their own ids are others there, and whatever
// named an old id names the same user again: nobody is accepted, watched or invited in another's place.
func TestInspIRCdOtherServerID(t *testing.T) { onBoth(t, inspIRCdOtherServerID) }

func inspIRCdOtherServerID(t *testing.T, v *inspVersion) {
	a, b := v.start(t, "a"), v.new(t, "b")
	writeFile(t, b.conf, strings.Replace(readFile(b.conf), `id="1AA"`, `id="2BB"`, 1))
	b.run()
	f := startFerry(t, nil, "", a.backend(), b.backend())
	c := newCast(t, f.port)
	f.ctl("drain", "main/b", "--to", "a")
	f.ctl("undrain", "main/b")
	nicks := slices.Collect(maps.Keys(c.clients))
	ids := newHand(t, a).ids(nicks...)
	for nick, id := range ids {
		if !strings.HasPrefix(id, "1AA") {
			t.Errorf("%s is %s", nick, id)
		}
	}
	// An opaque value of a module that names ids, as words of their own and as a part of others.
	c.ask("alice", "SWHOIS dave :knows "+ids["bob"]+","+ids["helen"]+" but not x"+ids["bob"]+" nor 1AAZZZZZZ")
	before := c.probe()

	f.move("drain", "main/a", "--to", "b")
	f.ctl("undrain", "main/a")
	now := newHand(t, b).ids(nicks...)
	for nick, id := range now {
		if !strings.HasPrefix(id, "2BB") {
			t.Errorf("%s is %s at the other server", nick, id)
		}
	}
	want := ":knows " + now["bob"] + "," + now["helen"] + " but not x" + ids["bob"] + " nor 1AAZZZZZZ"
	if got := strings.Join(c.ask("alice", "WHOIS dave"), "\n"); !strings.Contains(got, want) {
		t.Errorf("WHOIS dave:\n%s\nwant %q", got, want)
	}
	same(t, probes, withoutIDs(before), withoutIDs(c.probe()))

	f.move("drain", "main/b", "--to", "a")
	f.ctl("undrain", "main/b")
	same(t, probes, withoutIDs(before), withoutIDs(c.probe()))
	t.Run("alive", c.alive)
}

// TestInspIRCdKeepsNewcomersApart: a newcomer who has got an id of the records costs its owner the id, and no list mixes them up.
func TestInspIRCdKeepsNewcomersApart(t *testing.T) { onBoth(t, inspIRCdKeepsNewcomersApart) }

func inspIRCdKeepsNewcomersApart(t *testing.T, v *inspVersion) {
	a, b := v.start(t, "a"), v.start(t, "b")
	h, there := newHand(t, a), newHand(t, b)
	ann, ben := h.open("i.1", "ann", nil), h.open("i.2", "ben", nil)
	ann.ask("ACCEPT ben")
	ann.ask("MODE ann +g")
	tx, users, records := h.export(ann, ben)
	h.ok(h.c.Release(t.Context(), tx, ""))
	// The other process gives ids from the same beginning: its first user is one of theirs.
	eve := there.open("i.9", "eve", nil)
	ids := []string{users["i.1"].Get("id"), users["i.2"].Get("id")}
	if taken := there.peek([]protocol.Selection{{U: "i.9"}})[0].Get("id"); !slices.Contains(ids, taken) {
		t.Fatalf("the newcomer has %s, the records %q: this test says nothing", taken, ids)
	}
	tx, p := there.prepare(records...)
	if len(p.Conflicts)+len(p.Warns) != 0 {
		t.Errorf("%+v", p)
	}
	ann, ben = there.attach(tx, tx, "i.1"), there.attach(tx, tx, "i.2")
	_, err := there.c.Commit(t.Context(), tx)
	h.ok(err)
	h.ok(ann.answer(protocol.VerbLive))
	h.ok(ben.answer(protocol.VerbLive))
	if got := ann.ask("ACCEPT *"); !strings.Contains(got, " 281 ann :ben\r\n") || strings.Contains(got, "eve") {
		t.Errorf("the accept list:\n%s", got)
	}
	if got := eve.ask("PRIVMSG ann :let me in"); !strings.Contains(got, " 716 ") {
		t.Errorf("eve was let through:\n%s", got)
	}
	ben.send("PRIVMSG ann :it is me\r\n")
	ann.await("it is me")
}

// TestInspIRCdKeepsIdents: an ident that was given to a user is the one that others see after a move, too; InspIRCd 4 keeps beside it the one of before,
// by which it bans.
func TestInspIRCdKeepsIdents(t *testing.T) { onBoth(t, inspIRCdKeepsIdents) }

func inspIRCdKeepsIdents(t *testing.T, v *inspVersion) {
	h := newHand(t, v.start(t, "a"))
	oper, ann := h.open("i.1", "oper", nil), h.open("i.2", "ann", nil)
	oper.ask("OPER root rootpw")
	oper.ask("CHGIDENT ann given")
	masks := func() string {
		var kept []string
		for line := range strings.Lines(oper.ask("CHECK ann")) {
			if strings.Contains(line, "nuh :") {
				kept = append(kept, line)
			}
		}
		return strings.Join(kept, "")
	}
	before := masks()
	if !strings.Contains(before, " realnuh :ann!"+v.either("given", "ann")+"@") || !strings.Contains(before, " nuh :ann!given@") {
		t.Errorf("before: %q", before)
	}
	tx, users, records := h.export(ann)
	if ident, hidden := users["i.2"].Get("ident"), users["i.2"].Get("x.inspircd.realident"); ident != "given" || hidden != v.either("", "ann") {
		t.Errorf("the record has ident %q and %q", ident, hidden)
	}
	h.ok(h.c.Release(t.Context(), tx, ""))
	tx, p := h.prepare(records...)
	if len(p.Conflicts)+len(p.Warns) != 0 {
		t.Errorf("%+v", p)
	}
	ann = h.attach(tx, tx, "i.2")
	_, err := h.c.Commit(t.Context(), tx)
	h.ok(err)
	h.ok(ann.answer(protocol.VerbLive))
	if after := masks(); after != before {
		t.Errorf("before %q, after %q", before, after)
	}
	if v.major == 3 { // which has one only, and says so of the other
		_, p = h.prepare(imported("i.7", "ben", "x.inspircd.realident", "other"))
		if len(p.Warns) != 1 || p.Warns[0].Key != "x.inspircd.realident" {
			t.Errorf("%+v", p.Warns)
		}
		return
	}
	oper.ask("KLINE ann@198.51.100.7 1h :gone")
	ann.await("ERROR :")
}

// ids are the ids of an InspIRCd's users, by nick.
func (h *hand) ids(nicks ...string) map[string]string {
	h.t.Helper()
	ids := map[string]string{}
	for _, nick := range nicks {
		u, err := h.c.Find(h.t.Context(), nick)
		h.ok(err)
		for _, r := range h.peek([]protocol.Selection{{U: u}}) {
			if r.Verb == protocol.VerbUser {
				ids[nick] = r.Get("id")
			}
		}
	}
	return ids
}

func withoutIDs(probes map[string]string) map[string]string {
	out := map[string]string{}
	for key, text := range probes {
		out[key] = uid.ReplaceAllString(text, "ID")
	}
	return out
}
