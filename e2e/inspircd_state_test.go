//go:build e2e

package e2e

import (
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/ircferry/ircferry/handoff/protocol"
	"github.com/ircferry/ircferry/internal/ircclient"
)

// cast is a small network's worth of state: operators, lists, modes, invitations.
type cast struct {
	t       *testing.T
	clients map[string]*ircclient.Client
}

func newCast(t *testing.T, port int) *cast {
	t.Helper()
	return enter(t, port, map[string][]string{
		"alice": {"multi-prefix", "away-notify", "account-notify", "server-time", "batch", "labeled-response", "message-tags"},
		"bob":   {"multi-prefix", "echo-message", "cap-notify", "userhost-in-names", "invite-notify"},
		"carol": nil,
		"dave":  {"chghost", "extended-join"},
		"helen": nil,
	}, castLines)
}

// enter registers clients with their capabilities and has them say what makes the state.
func enter(t *testing.T, port int, caps map[string][]string, lines []said) *cast {
	t.Helper()
	c := &cast{t: t, clients: map[string]*ircclient.Client{}}
	for nick, caps := range caps {
		client, err := ircclient.Dial(t.Context(), fmt.Sprintf("127.0.0.1:%d", port), ircclient.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = client.Close() })
		c.clients[nick] = client
		if err := client.Register(nick, caps...); err != nil {
			t.Fatalf("register %s: %v", nick, err)
		}
	}
	for _, line := range lines {
		c.ask(line.nick, line.send)
	}
	return c
}

// said is a line that somebody sends.
type said struct{ nick, send string }

// castLines is how the state comes to be. All of it goes through the ircd's own commands.
var castLines = []said{
	{"alice", "OPER root rootpw"}, {"helen", "OPER helper helperpw"},
	{"alice", "MODE alice +s +cCkKqQ"}, {"alice", "MODE alice +wiH"},
	{"bob", "MODE bob +xiBI"}, {"bob", "AWAY :gone to the sea, back \xe9ventually"}, {"bob", "MONITOR + alice,carol,nobody"},
	{"bob", "SILENCE +*!*@spam.example"}, {"bob", "SILENCE +bad!*@* pn"},
	{"carol", "MODE carol +g"}, {"carol", "ACCEPT alice,dave"}, {"carol", "WATCH +alice +ghost"}, {"carol", "MODE carol +dR"},
	{"dave", "VHOST vv vv"}, {"dave", "TITLE tt tt"},
	{"alice", "JOIN #sea"}, {"bob", "JOIN #sea"}, {"carol", "JOIN #sea"}, {"helen", "JOIN #sea"},
	{"alice", "SAMODE #sea +qahv alice bob carol helen"}, {"alice", "MODE #sea +ntTcSk hush"}, {"alice", "MODE #sea +l 55"}, {"alice", "MODE #sea +f 15:30"},
	{"alice", "MODE #sea +j 20:5"}, {"alice", "MODE #sea +H 10:60"}, {"alice", "MODE #sea +b *!*@one.example"}, {"bob", "MODE #sea +b m:*!*@two.example"},
	{"alice", "MODE #sea +e *!*@three.example"}, {"alice", "MODE #sea +I *!*@four.example"}, {"alice", "MODE #sea +g *badword*"}, {"alice", "MODE #sea +w o:*!*@five.example"},
	{"bob", "TOPIC #sea :to the s\xe9a, \\ with a backslash"},
	{"bob", "JOIN #inv"}, {"bob", "MODE #inv +iu"}, {"bob", "INVITE dave #inv"},
	{"alice", "JOIN #perm"}, {"alice", "MODE #perm +P"}, {"alice", "MODE #perm +b *!*@six.example"},
	{"alice", "SWHOIS dave :is a good fellow"}, {"alice", "CHGHOST helen hel.example"}, {"alice", "JOIN #alone"}, {"alice", "PART #alone"},
	{"dave", "JOIN #second"}, {"dave", "JOIN #third"}, {"dave", "JOIN #first"},
	{"alice", "SETIDLE 600"},
}

// ask sends a line and answers what came for it.
func (c *cast) ask(nick, line string) []string {
	c.t.Helper()
	lines, err := c.clients[nick].Ask(line)
	if err != nil {
		c.t.Fatalf("%s: %s: %v", nick, line, err)
	}
	texts := make([]string, len(lines))
	for i, l := range lines {
		texts[i] = l.Text
	}
	return texts
}

// probes are asked before and after a move.
var probes = []said{
	{"alice", "MODE #sea"}, {"alice", "MODE #sea b"}, {"alice", "MODE #sea e"}, {"alice", "MODE #sea I"}, {"alice", "MODE #sea g"}, {"alice", "MODE #sea w"},
	{"alice", "MODE #perm"}, {"alice", "MODE #perm b"}, {"bob", "MODE #inv"},
	{"carol", "TOPIC #sea"}, {"carol", "NAMES #sea"}, {"bob", "NAMES #sea"}, {"bob", "NAMES #inv"}, {"alice", "WHO #sea"},
	{"alice", "MODE alice"}, {"bob", "MODE bob"}, {"carol", "MODE carol"}, {"helen", "MODE helen"}, {"dave", "MODE dave"},
	{"alice", "WHOIS alice alice"}, {"alice", "WHOIS bob bob"}, {"carol", "WHOIS bob bob"}, {"bob", "WHOIS bob bob"}, {"bob", "WHOIS alice alice"},
	{"alice", "WHOIS carol carol"}, {"alice", "WHOIS dave dave"}, {"dave", "WHOIS dave dave"}, {"alice", "WHOIS helen helen"}, {"carol", "WHOIS helen helen"},
	{"bob", "MONITOR L"}, {"bob", "MONITOR S"}, {"bob", "SILENCE"}, {"carol", "ACCEPT *"}, {"carol", "WATCH L"}, {"carol", "WATCH l"},
	{"alice", "CAP LIST"}, {"bob", "CAP LIST"}, {"carol", "CAP LIST"}, {"dave", "CAP LIST"},
	{"alice", "USERHOST alice bob carol dave helen"}, {"alice", "ISON alice bob carol dave helen nobody"}, {"alice", "LUSERS"},
	{"dave", "INVITE"}, {"alice", "WHOWAS alice"}, {"alice", "STATS P"}, {"alice", "STATS o"}, {"alice", "LIST"}, {"alice", "USERIP bob"}, {"alice", "CHECK dave"}, {"alice", "CHECK bob"},
	{"alice", "CHECK #sea"},
	// Who may do what: operators keep it, nobody gains it.
	{"carol", "SAMODE #sea +o carol"}, {"bob", "KILL dave :no"}, {"dave", "MODE dave +os cC"}, {"dave", "MODE dave +H"}, {"carol", "MODE #inv +o carol"},
	{"helen", "KILL nobody :x"}, {"helen", "SAMODE #sea +o carol"}, {"helen", "CHECK bob"}, {"carol", "MODE #sea +q carol"}, {"dave", "STATS P"},
	{"carol", "PRIVMSG helen :are you there"}, {"dave", "PRIVMSG carol :may I"}, {"helen", "PRIVMSG carol :may I too"},
}

var (
	idleTimes  = regexp.MustCompile(`( 317 \S+ \S+ )(\d+)( \d+)`)
	lastSpoken = regexp.MustCompile(`lastmsg .*`)
	operIdle   = regexp.MustCompile(`Idle: \S+|idle for .* \[since`)
	checkNow   = regexp.MustCompile(` GMT \(\d+\)`)             // InspIRCd 4.7's CHECK tells the present second there
	received   = regexp.MustCompile(`\d+ connections received`) // by this process
)

// probe answers the lines that all probes brought. What passes by itself is taken out: seconds, and NAMES' order, which is that of
// InspIRCd's memory.
func (c *cast) probe() map[string]string {
	c.t.Helper()
	got := map[string]string{}
	c.fence()
	for _, p := range probes {
		lines := c.ask(p.nick, p.send)
		for i, line := range lines {
			lines[i] = steady(line)
			if p.send == "CHECK dave" { // who speaks in the probes; bob does not, and CHECK bob tells his time to the second
				lines[i] = lastSpoken.ReplaceAllString(lines[i], "lastmsg N")
			}
		}
		lines = slices.DeleteFunc(lines, func(line string) bool { return strings.Contains(line, " meta:cloaks ") }) // made when asked for
		switch strings.Fields(p.send)[0] {
		case "WHO", "MONITOR", "ACCEPT", "WATCH", "LIST", "CHECK", "STATS": // from maps without an order
			sort.Strings(lines)
		}
		got[p.nick+"> "+p.send] = strings.Join(lines, "\n")
	}
	return got
}

// fence has everybody read all that was written to them.
func (c *cast) fence() {
	c.t.Helper()
	for nick, client := range c.clients {
		if _, err := client.Fence(); err != nil {
			c.t.Fatalf("%s: %v", nick, err)
		}
	}
}

func steady(line string) string {
	if rest, ok := strings.CutPrefix(line, "@"); ok {
		_, line, _ = strings.Cut(rest, " ") // the time of the line
	}
	line = idleTimes.ReplaceAllString(line, "${1}N$3")
	line = operIdle.ReplaceAllString(line, "Idle: N")
	line = checkNow.ReplaceAllString(line, " GMT")
	line = received.ReplaceAllString(line, "N connections received")
	for _, numeric := range []string{" 353 ", " 303 ", " 302 ", " 732 ", " 730 ", " 731 ", " 319 "} {
		if before, after, ok := strings.Cut(line, numeric); ok {
			head, list, _ := strings.Cut(after, " :")
			words := strings.Fields(list)
			if numeric != " 319 " { // a user's own channels keep their order
				sort.Strings(words)
			}
			return before + numeric + head + " :" + strings.Join(words, " ")
		}
	}
	return line
}

// without is the lines of the one that the other does not have.
func without(one, other []string) []string {
	return slices.DeleteFunc(slices.Clone(one), func(line string) bool { return slices.Contains(other, line) })
}

// same makes each probe a test of its own, so that a run of CI shows them all as a table.
func same(t *testing.T, probes []said, before, after map[string]string) {
	t.Helper()
	for _, p := range probes {
		key := p.nick + "> " + p.send
		t.Run(key, func(t *testing.T) {
			if before[key] != after[key] {
				was, is := strings.Split(before[key], "\n"), strings.Split(after[key], "\n")
				t.Errorf("- %s\n+ %s\nof\n%s", strings.Join(without(was, is), "\n- "), strings.Join(without(is, was), "\n+ "), after[key])
			}
		})
	}
}

// TestInspIRCdKeepsState compares all that users can ask for before and after a restart in place and after a replace.
func TestInspIRCdKeepsState(t *testing.T) { onBoth(t, inspIRCdKeepsState) }

func inspIRCdKeepsState(t *testing.T, v *inspVersion) {
	a, b := v.start(t, "a"), v.start(t, "b")
	f := startFerry(t, nil, "", a.backend(), b.backend())
	c := newCast(t, f.port)
	f.ctl("drain", "main/b", "--to", "a") // all on one
	f.ctl("undrain", "main/b")
	before := c.probe()
	records := a.peek(t, c)
	plan, _ := f.ctl("drain", "main/a", "--to", "b", "--dry-run")
	if strings.Count(plan, "unknown-") != 1 || !strings.Contains(plan, "x.inspircd.lost.history") {
		t.Errorf("the dry run does not tell just that the history is lost:\n%s", plan)
	}
	t.Run("restart", func(t *testing.T) {
		a.restart(f)
		same(t, probes, before, c.probe())
		sameRecords(t, records, a.peek(t, c))
	})
	t.Run("replace", func(t *testing.T) {
		f.move("drain", "main/a", "--to", "b")
		f.ctl("undrain", "main/a")
		same(t, probes, before, c.probe())
		sameRecords(t, records, b.peek(t, c))
	})
	t.Run("alive", c.alive)
}

// peek answers the records of everybody as they would be exported now, without what passes by itself.
func (i *nativeInspIRCd) peek(t *testing.T, c *cast) []string {
	t.Helper()
	h := newHand(t, i)
	var sel []protocol.Selection
	for nick := range c.clients {
		u, err := h.c.Find(t.Context(), nick)
		h.ok(err)
		sel = append(sel, protocol.Selection{U: u})
	}
	var records []string
	_, err := h.c.Export(t.Context(), protocol.ExportRequest{Tx: protocol.NewSecret(), Peek: true, Select: sel}, func(m protocol.Message) error {
		m.Fields = slices.DeleteFunc(m.Fields, func(f protocol.Field) bool {
			switch f.Key {
			case "idle", "x.inspircd.counters", "x.inspircd.penalty", "x.inspircd.penalty-at", "x.inspircd.spoke":
				return true
			}
			return f.Key == "x.inspircd.lost.history"
		})
		for k, f := range m.Fields {
			if f.Key == "monitor" || f.Key == "accept" || f.Key == "x.inspircd.ext.watch" { // sets
				words := strings.Fields(f.Value)
				sort.Strings(words)
				m.Fields[k].Value = strings.Join(words, " ")
			}
		}
		slices.SortFunc(m.Fields, func(a, b protocol.Field) int { return strings.Compare(a.Key, b.Key) })
		records = append(records, string(m.Append(nil)))
		return nil
	})
	h.ok(err)
	sort.Strings(records) // neither channels nor members have an order
	return records
}

func sameRecords(t *testing.T, before, after []string) {
	t.Helper()
	if len(before) < 20 {
		t.Errorf("only %d records", len(before))
	}
	for _, r := range before {
		if !slices.Contains(after, r) {
			t.Errorf("no more: %s", r)
		}
	}
	for _, r := range after {
		if !slices.Contains(before, r) {
			t.Errorf("now: %s", r)
		}
	}
}

// alive uses what the moves have kept.
func (c *cast) alive(t *testing.T) {
	for _, s := range []struct{ nick, send, want string }{
		{"dave", "JOIN #inv", " 366 dave #inv "},
		{"alice", "MODE #sea +m", "MODE #sea :+m"},
		{"alice", "MODE #sea -b *!*@one.example", "MODE #sea -b :*!*@one.example"},
		{"bob", "TOPIC #sea :another", "TOPIC #sea :another"},
		{"alice", "SAMODE #perm +m", "MODE #perm :+m"},
		{"bob", "MONITOR - alice", ""},
		{"bob", "AWAY", " 305 bob "},
		{"bob", "MODE bob -x", "MODE bob :-x"},
		{"carol", "PART #sea", "PART :#sea"},
		{"helen", "NICK helena", "NICK :helena"},
	} {
		if got := strings.Join(c.ask(s.nick, s.send), "\n"); !strings.Contains(got, s.want) {
			t.Errorf("%s> %s brought\n%s\nwant %q", s.nick, s.send, got, s.want)
		}
	}
}
