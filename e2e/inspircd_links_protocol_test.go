//go:build e2e

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ircferry/ircferry/handoff/protocol"
)

// onDialects runs a test with both versions and in each dialect that they link in.
func onDialects(t *testing.T, test func(t *testing.T, v *inspVersion, proto int)) {
	t.Helper()
	onBoth(t, func(t *testing.T, v *inspVersion) {
		dialects := []int{1202, 1205}
		if v.major == 4 {
			dialects = []int{1205, 1206}
		}
		for _, proto := range dialects {
			t.Run(fmt.Sprint(proto), func(t *testing.T) {
				t.Parallel()
				test(t, v, proto)
			})
		}
	})
}

// leaf is a peer with a server behind it, users, channels, lists, bans and what modules say in the network.
func leaf(t *testing.T, v *inspVersion, proto int) *linkPeer {
	return &linkPeer{t: t, v: v, link: protocol.LinkSelection{Name: "leaf.example", SID: "00B", Proto: proto}}
}

// bursts what a network has. The ircd's own users are on #sea and #late already, which are younger.
func (p *linkPeer) burst() {
	p.t.Helper()
	ts := func(chan_ string, rest string) string { // of a channel's topic and metadata, which 1202 has not
		if p.link.Proto < 1205 {
			return chan_ + " " + rest
		}
		return chan_ + " 1700000000 " + rest
	}
	lists := []string{":00B FMODE #sea 1700000000 +bbe *!*@one.example *!*@two.example *!*@three.example"}
	if p.link.Proto >= 1206 {
		lists = []string{":00B LMODE #sea 1700000000 b *!*@one.example lea!lea@far 1700000301 *!*@two.example len!len@far 1700000302",
			":00B LMODE #sea 1700000000 e *!*@three.example lea!lea@far 1700000303"}
	}
	p.say(slices.Concat([]string{
		":00B SINFO version :played by hand",
		":00B SERVER child.example 0CH hidden=1 :behind the leaf",
		p.uid("00BAAAAAA", "lea", "+io", 1700000100), p.uid("00BAAAAAB", "len", "+iw", 1700000101), p.uid("0CHAAAAAA", "cid", "+", 1700000102),
		":00BAAAAAA OPERTYPE :NetAdmin",
		":00BAAAAAB AWAY 1700000200 :far away",
		":00B METADATA 00BAAAAAB accountname :lenny",
		":00B METADATA 0CHAAAAAA swhois :is behind the leaf",
		":00B FJOIN #sea 1700000000 +ntk secret :o,00BAAAAAA:7 v,00BAAAAAB:8 ,0CHAAAAAA:9",
		":00B FTOPIC " + ts("#sea", "1700000250 lea!lea@far :the sea is far"),
		":00B FJOIN #late 1700000000 +ntD :,00BAAAAAA:10 ,00BAAAAAB:11",
		":00B FJOIN #far 1700000000 +ntl 30 :o,0CHAAAAAA:12",
		":00B METADATA " + ts("#sea", "mlock :nt"),
		":00B METADATA * saslmechlist :PLAIN",
		":00B ADDLINE G bad@*.example lea 1700000400 0 :not here",
		":00B ADDLINE Z 203.0.113.9 lea 1700000401 0 :nor there",
	}, lists, []string{":00B ENDBURST"})...)
	p.fence()
	p.say(":00BAAAAAA PRIVMSG #late :i am here") // shows her, and not len
	p.fence()
}

// network is what a user of the ircd can ask of a network, in an order that does not depend on the ircd.
func network(s *rawStream) map[string]string {
	answers := map[string]string{}
	for _, ask := range []string{
		"NAMES #sea", "NAMES #late", "NAMES #far", "MODE #sea", "MODE #late", "MODE #far", "MODE #sea b", "MODE #sea e", "MODE #own b", "TOPIC #sea",
		"WHOIS lea", "WHOIS len", "WHOIS cid", "WHOIS ann", "LINKS", "MAP", "STATS g", "STATS Z", "STATS s", "LUSERS", "WHO #sea %nuhrsfda", "WHO #late", "TOPIC #own", "LIST",
	} {
		var lines []string
		for line := range strings.Lines(s.ask(ask)) {
			if !strings.Contains(line, "fence") && !strings.Contains(line, " 250 ") && !strings.Contains(line, " 317 ") { // counts and seconds of the process
				line, _, _ = strings.Cut(line, "[Up: ") // of the process, in MAP
				lines = append(lines, sorted(strings.TrimSpace(line)))
			}
		}
		slices.Sort(lines)
		answers[ask] = strings.Join(lines, "\n")
	}
	return answers
}

// sorted has the words of a line of NAMES in order.
func sorted(line string) string {
	head, names, ok := strings.Cut(line, " :")
	if !ok || !strings.Contains(head, " 353 ") {
		return line
	}
	words := strings.Fields(names)
	slices.Sort(words)
	return head + " :" + strings.Join(words, " ")
}

// TestInspIRCdHoldsLinks: a process ends and comes back between marker and marker, and what the network is to those on it, and they to the network,
// is as it was. Nothing but the marker stands before what is said to the peer next.
func TestInspIRCdHoldsLinks(t *testing.T) { onDialects(t, inspIRCdHoldsLinks) }

func inspIRCdHoldsLinks(t *testing.T, v *inspVersion, proto int) {
	a := v.new(t, "a")
	port := a.mayLink("leaf.example")
	writeFile(t, a.conf, readFile(a.conf)+`<module name="regex_glob"> <filteropts engine="glob">`+"\n")
	a.run()
	h := newHand(t, a)
	ann, ben := h.open("i.1", "ann", nil), h.open("i.2", "ben", nil)
	for _, line := range []string{"OPER root rootpw", "JOIN #own", "MODE #own +b *!*@own.example", "TOPIC #own :ours", "JOIN #late", "FILTER *forbidden* block * :not said here"} {
		ann.ask(line)
	}
	ben.ask("JOIN #own")
	p := leaf(t, v, proto)
	p.connect(port)
	p.burst()
	ann.ask("SAJOIN ann #sea")
	ben.ask("JOIN #sea secret")
	ann.ask("SAMODE #sea +ob ann *!*@four.example")
	p.fence()
	if hello, err := a.hello(); err != nil || !slices.Equal(hello.Linked, []string{"leaf.example"}) || hello.LinkCaps == "" || !slices.Contains(hello.Feat, protocol.FeatLinks) {
		t.Fatalf("HELLO tells %+v, %v", hello, err)
	}
	ben.ask("PING x")                           // what was said to him meanwhile
	before, plain := network(ann), network(ben) // an operator, and one who is shown no hidden server
	if strings.Contains(plain["LINKS"], "child.example") || !strings.Contains(before["LINKS"], "child.example") {
		t.Fatalf("LINKS shows\n%s\nand an operator\n%s", plain["LINKS"], before["LINKS"])
	}
	if !strings.Contains(before["STATS s"], "forbidden") {
		t.Fatalf("the filter is not there: %s", before["STATS s"])
	}
	annID := h.ids("ann")["ann"]
	membid := ""
	if proto >= 1205 {
		membid = p.membid("#sea", annID) + " "
	}
	p.fence()

	x := h.exportLinks([]*linkPeer{p}, ann, ben)
	if got := p.marker(x.tx); len(got) > 0 {
		t.Errorf("before EXPORT's marker stands %q", got)
	}
	if l := x.links["leaf.example"]; l.Users() != 3 || len(l.Stay()) != 0 || x.end.Links != 1 || len(x.end.Unheld) != 0 {
		t.Errorf("told are %s and %+v", l.String(), x.end)
	}
	h.ok(h.c.Release(t.Context(), x.tx, ""))
	a.again()
	h = newHand(t, a)
	tx, prepared := h.importLinks(port, []*linkPeer{p}, x)
	if len(prepared.Warns)+len(prepared.Conflicts) > 0 {
		t.Fatalf("PREPARE tells %+v", prepared)
	}
	streams := h.commitLinks(tx, []*linkPeer{p}, "i.1", "i.2")
	ann, ben = streams[0], streams[1]
	if got := p.fence(); len(got) > 0 {
		t.Errorf("behind COMMIT's marker stands %q", got)
	}
	sameNetwork(t, before, network(ann))
	sameNetwork(t, plain, network(ben))
	if got := p.fence(); len(got) > 0 {
		t.Errorf("what was asked is said to the peer: %q", got)
	}

	p.say(":00BAAAAAA PRIVMSG #sea :over the link")
	ann.await("PRIVMSG #sea :over the link")
	p.say(":00BAAAAAA KICK #sea " + annID + " " + membid + ":out of it")
	ben.await(" KICK #sea ann :out of it")
	ann.ask("JOIN #fresh")
	p.fence()
	eve := h.open("i.9", "eve", nil)
	eve.ask("PRIVMSG len :who is there")
	said := strings.Join(p.fence(), "\n")
	id := h.ids("eve")["eve"]
	if !strings.Contains(said, ":"+id+" PRIVMSG 00BAAAAAB :who is there") {
		t.Errorf("the peer was told\n%s", said)
	}
	if id <= x.links["leaf.example"].Get("last") { // in this test no digit is reached
		t.Errorf("a newcomer has id %s, and %s had been given", id, x.links["leaf.example"].Get("last"))
	}
}

func sameNetwork(t *testing.T, before, after map[string]string) {
	t.Helper()
	for ask, answer := range after {
		if answer != before[ask] {
			t.Errorf("%s was\n%s\nand is\n%s", ask, before[ask], answer)
		}
	}
}
