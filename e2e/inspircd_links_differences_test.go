//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ircferry/ircferry/handoff/protocol"
)

// TestInspIRCdTellsDifferences: what is not as it was is said behind the marker: who is no operator here any more, with the status and modes that
// operators alone have, and who has no stream.
func TestInspIRCdTellsDifferences(t *testing.T) { onBoth(t, inspIRCdTellsDifferences) }

func inspIRCdTellsDifferences(t *testing.T, v *inspVersion) {
	l := startHeld(t, v, "")
	l.ann.ask("MODE ann +sH c")
	l.ann.ask("OJOIN #own")
	cat := l.h.open("i.3", "cat", nil)
	ids := l.h.ids("ann", "cat")
	l.p.fence()
	x := l.h.exportLinks([]*linkPeer{l.p}, l.ann, l.ben, cat)
	l.p.marker(x.tx)
	l.h.ok(l.h.c.Release(t.Context(), x.tx, ""))
	writeFile(t, l.a.conf, strings.NewReplacer(`<oper name="root" password="rootpw" host="*@*" type="NetAdmin">`, "", `<type name="NetAdmin" classes="all">`, "").
		Replace(readFile(l.a.conf)))
	l.a.again()
	l.h = newHand(t, l.a)
	tx, p := l.h.importLinks(l.port, []*linkPeer{l.p}, x)
	if !slices.ContainsFunc(p.Warns, func(n protocol.Note) bool { return n.Code == "unknown-oper" && n.U == "i.1" }) || len(p.Conflicts) > 0 {
		t.Fatalf("PREPARE tells %+v", p)
	}
	l.h.attach(tx, tx, "i.1")
	l.h.attach(tx, tx, "i.2")
	_, missing, err := l.h.c.CommitMissing(t.Context(), tx)
	if err != nil || missing != 1 {
		t.Fatal(missing, err)
	}
	if before := strings.Join(l.p.marker(tx), "\n"); strings.Contains(before, " QUIT ") || strings.Contains(before, " MODE ") {
		t.Errorf("before the marker stands\n%s", before)
	}
	said := l.p.fence()
	for _, want := range []string{":1AA MODE " + ids["ann"] + " -", ":1AA FMODE #own ", ":" + ids["cat"] + " QUIT :Connection closed"} {
		if !slices.ContainsFunc(said, func(line string) bool { return strings.HasPrefix(line, want) }) {
			t.Errorf("no %q in what is said behind the marker: %q", want, said)
		}
	}
	for _, line := range said {
		switch words := strings.Fields(line); words[1] {
		case "MODE":
			if !strings.ContainsRune(words[3], 'o') || !strings.ContainsRune(words[3], 's') {
				t.Errorf("an operator has lost %q", line)
			}
		case "FMODE":
			if words[4] != "-Y" || words[5] != ids["ann"] {
				t.Errorf("a member has lost %q", line)
			}
		case "QUIT":
		default:
			t.Errorf("behind the marker stands %q", line)
		}
	}
}

// TestInspIRCdTwoLinks: two servers with a channel in common are held at once; then one of them is given up, and users and the other come back.
func TestInspIRCdTwoLinks(t *testing.T) { onBoth(t, inspIRCdTwoLinks) }

func inspIRCdTwoLinks(t *testing.T, v *inspVersion) {
	l := startHeld(t, v, "")
	other, refused := l.other()
	if refused {
		t.Fatal("the other server is refused")
	}
	other.say(other.uid("00CAAAAAA", "olga", "+i", 1700000111), ":00C FJOIN #sea 1700000000 +ntk secret :v,00CAAAAAA:5", ":00C FJOIN #late 1700000000 +ntD :,00CAAAAAA:6")
	other.fence()
	other.say(fmt.Sprintf(":00C FJOIN #own %s + :,00CAAAAAA:7", other.created("#own")))
	other.fence()
	l.ann.ask("PING x") // what was said to her meanwhile
	before := network(l.ann)
	peers := []*linkPeer{l.p, other}
	l.p.fence()
	other.fence()
	x := l.h.exportLinks(peers, l.ann, l.ben)
	for _, p := range peers {
		if got := p.marker(x.tx); len(got) > 0 {
			t.Errorf("%s: before EXPORT's marker stands %q", p.link.Name, got)
		}
	}
	l.h.ok(l.h.c.Release(t.Context(), x.tx, ""))
	l.a.again()
	l.h = newHand(t, l.a)
	tx, p := l.h.importLinks(l.port, peers, x)
	if len(p.Conflicts)+len(p.Warns) > 0 {
		t.Fatalf("%+v", p)
	}
	streams := l.h.commitLinks(tx, peers, "i.1", "i.2")
	l.ann, l.ben = streams[0], streams[1]
	for _, p := range peers {
		if got := p.fence(); len(got) > 0 {
			t.Errorf("%s: behind COMMIT's marker stands %q", p.link.Name, got)
		}
	}
	sameNetwork(t, before, network(l.ann))
	other.say(":00CAAAAAA PRIVMSG #sea :across")
	l.p.awaitLine(":00CAAAAAA PRIVMSG #sea :across")

	l.h.open("i.8", "gone", nil).send("QUIT\r\n") // whose id is the latest
	other.awaitLine(":1AA UID ")
	other.awaitLine(":" + strings.Fields(other.heard[len(other.heard)-1])[2] + " QUIT ")
	x = l.h.exportLinks(peers, l.ann, l.ben)
	for _, p := range peers {
		p.marker(x.tx)
	}
	l.h.ok(l.h.c.Release(t.Context(), x.tx, ""))
	l.h.ok(os.Remove(filepath.Join(l.a.dir, "handoff.ids"))) // as of a process that has another directory
	l.a.again()
	l.h = newHand(t, l.a)
	x.records = slices.DeleteFunc(x.records, func(m protocol.Message) bool { return m.Get("n") == "other.example" || m.Get("l") == "other.example" })
	tx, p = l.h.importLinks(l.port, []*linkPeer{l.p}, x)
	if len(p.Conflicts)+len(p.Warns) > 0 {
		t.Fatalf("%+v", p)
	}
	l.ann = l.h.commitLinks(tx, []*linkPeer{l.p}, "i.1", "i.2")[0]
	l.ann.await(":olga!olga@olga.cloak QUIT :insp.example.org other.example\r\n") // as by a netsplit; lea and len are here
	if got := l.ann.ask("PING x"); strings.Contains(got, " QUIT ") {
		t.Errorf("told is also\n%s", got)
	}
	if names := l.ann.ask("NAMES #sea"); strings.Contains(names, "olga") || !strings.Contains(names, "lea") {
		t.Errorf("with one link given up:\n%s", names)
	}
	if got := l.p.fence(); len(got) > 0 {
		t.Errorf("behind COMMIT's marker stands %q", got)
	}
	l.h.open("i.9", "eve", nil)
	if id, last := l.h.ids("eve")["eve"], x.links["leaf.example"].Get("last"); id <= last {
		t.Errorf("a newcomer has id %s, and %s had been given", id, last)
	}
}

// TestInspIRCdNewcomersAreToldOf: who registered before the links were back is told of behind the marker, with his channels and the bans that he has set.
func TestInspIRCdNewcomersAreToldOf(t *testing.T) { onBoth(t, inspIRCdNewcomersAreToldOf) }

func inspIRCdNewcomersAreToldOf(t *testing.T, v *inspVersion) {
	l := startHeld(t, v, "\n<handoff linkwait=\"0\">\n")
	x := l.away()
	eve := l.h.open("i.9", "eve", nil)
	eve.ask("JOIN #late")
	eve.ask("JOIN #eve")
	id := l.h.ids("eve")["eve"]
	eve.ask("OPER root rootpw")
	eve.ask("GLINE *@only.example 1h :of this process alone")
	eve.ask("ZLINE 203.0.113.9 1h :the peer has this one")
	tx, p := l.h.importLinks(l.port, []*linkPeer{l.p}, x)
	if len(p.Conflicts) > 0 {
		t.Fatalf("%+v", p)
	}
	l.h.commitLinks(tx, []*linkPeer{l.p}, "i.1", "i.2")
	said := strings.Join(l.p.fence(), "\n")
	for _, want := range []string{":1AA UID " + id + " ", ":" + id + " IJOIN #late ", ":1AA FJOIN #eve "} {
		if !strings.Contains(said, want) {
			t.Errorf("no %q in what is said behind the marker:\n%s", want, said)
		}
	}
	if !regexp.MustCompile(`(?m)^:1AA ADDLINE G \*@only\.example eve \d+ 3600 :of this process alone$`).MatchString(said) {
		t.Errorf("the ban that only this process has is not told behind the marker:\n%s", said)
	}
	if strings.Count(said, " UID ") != 1 || strings.Count(said, " ADDLINE ") != 1 {
		t.Errorf("behind the marker stands\n%s", said)
	}
	eve.send("PRIVMSG #late :hello\r\n")
	l.p.awaitLine(":" + id + " PRIVMSG #late :hello")
}
