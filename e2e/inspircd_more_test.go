//go:build e2e

package e2e

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/handoff/protocol"
)

// TestInspIRCdKeepsMoreState: what those of Debian's modules keep that the other tests' network has not loaded: between two processes, and back.
func TestInspIRCdKeepsMoreState(t *testing.T) { onBoth(t, inspIRCdKeepsMoreState) }

func inspIRCdKeepsMoreState(t *testing.T, v *inspVersion) {
	more := v.either(`<module name="topiclock"> <module name="mlock"> <module name="gecosban"> <module name="nopartmsg">`, `<module name="realnameban">`) + `
<module name="banredirect"> <module name="anticaps"> <module name="repeat"> <module name="kicknorejoin"> <module name="delaymsg"> <module name="nicklock">
<module name="dccallow"> <module name="namedmodes">
<module name="channelban"> <module name="serverban"> <module name="classban"> <module name="rmode"> <module name="chanfilter">
<chanfilter maxlen="50"> <module name="operprefix"> <operprefix prefix="^">
`
	a, b := v.new(t, "a"), v.new(t, "b")
	for _, i := range []*nativeInspIRCd{a, b} {
		writeFile(t, i.conf, readFile(i.conf)+more)
		i.run()
	}
	here, there := newHand(t, a), newHand(t, b)
	s := map[string]*rawStream{"i.1": here.open("i.1", "ann", nil), "i.2": here.open("i.2", "ben", nil), "i.3": here.open("i.3", "cia", nil)}
	for _, line := range []struct{ u, send string }{
		{"i.1", "OPER root rootpw"}, {"i.1", "JOIN #other"}, {"i.1", "JOIN #sea"}, {"i.1", "MODE #other +o ann"},
		{"i.1", "MODE #sea +b sent!*@*#other"}, {"i.1", "MODE #sea +b *!*@plain.example"}, {"i.1", "MODE #sea +b r:*bad?name*"}, {"i.1", "MODE #sea +b j:#other"},
		{"i.1", "MODE #sea +b n:strict"}, {"i.1", "MODE #sea +b s:far.example"}, {"i.1", "MODE #sea +b m:r:noisy"}, {"i.1", "MODE #sea +e U:*!*@free.example"},
		{"i.1", "MODE #sea +B ban:10:50"}, {"i.1", "MODE #sea +E 5:10"}, {"i.1", "MODE #sea +J 9"}, {"i.1", "MODE #sea +d 300"}, {"i.1", "MODE #sea +X flood:v"},
		{"i.1", "MODE #sea +D"}, {"i.1", "TOPIC #sea :deep"}, {"i.2", "JOIN #sea"}, {"i.1", "NICKLOCK ben ben2"}, {"i.2", "DCCALLOW +cia 0"},
	} {
		s[line.u].ask(line.send)
	}
	probe := func() string {
		var all strings.Builder
		for _, line := range []struct{ u, send string }{
			{"i.1", "MODE #sea"}, {"i.1", "MODE #sea b"}, {"i.1", "MODE #sea e"}, {"i.1", "MODE #sea X"}, {"i.1", "NAMES #sea"}, {"i.2", "NAMES #sea"},
			{"i.1", "WHO #sea"}, {"i.2", "NICK free"}, {"i.2", "PRIVMSG #sea :too early"}, {"i.2", "DCCALLOW"}, {"i.3", "WHOIS ann"},
		} {
			lines := strings.Split(strings.TrimSpace(s[line.u].ask(line.send)), "\r\n")
			for i, text := range lines {
				lines[i] = steady(text)
			}
			slices.Sort(lines)
			all.WriteString(line.send + "\n" + strings.Join(lines, "\n") + "\n")
		}
		return all.String()
	}
	before := probe()
	for _, to := range []*hand{there, here} {
		from := there
		if to == there {
			from = here
		}
		s = from.moveTo(t, to, s, "i.2 changed x.inspircd.ext.dccallow")
		if after := probe(); after != before {
			t.Errorf("before\n%s\nafter\n%s", before, after)
		}
	}
	// A ban that sends elsewhere does so, and is no more once it is taken off.
	s["i.3"].ask("NICK sent")
	if got := s["i.3"].ask("JOIN #sea"); !strings.Contains(got, " 470 sent #sea #other ") || !strings.Contains(got, " JOIN :#other\r\n") {
		t.Errorf("not sent elsewhere:\n%s", got)
	}
	s["i.1"].ask("MODE #sea -b sent!*@*#other")
	s["i.3"].ask("PART #other") // where j:#other bans
	if got := s["i.3"].ask("JOIN #sea"); !strings.Contains(got, " JOIN :#sea\r\n") {
		t.Errorf("still sent elsewhere:\n%s", got)
	}
}

// moveTo moves all streams to another process, or into the same, and wants no warning but those named.
func (h *hand) moveTo(t *testing.T, to *hand, s map[string]*rawStream, warnings ...string) map[string]*rawStream {
	t.Helper()
	var all []*rawStream
	for _, stream := range s {
		all = append(all, stream)
	}
	tx, _, records := h.export(all...)
	h.ok(h.c.Release(t.Context(), tx, ""))
	tx, p := to.prepare(records...)
	var told []string
	for _, n := range p.Warns {
		told = append(told, n.U+n.C+" "+n.Code+" "+n.Key)
	}
	slices.Sort(told)
	if !slices.Equal(told, warnings) || len(p.Conflicts) != 0 {
		t.Errorf("warnings %q, conflicts %+v; want %q", told, p.Conflicts, warnings)
	}
	moved := map[string]*rawStream{}
	for u := range s {
		moved[u] = to.attach(tx, tx, u)
	}
	_, err := to.c.Commit(t.Context(), tx)
	h.ok(err)
	for u, stream := range moved {
		h.ok(stream.answer(protocol.VerbLive))
		moved[u] = stream
	}
	return moved
}

// TestInspIRCdKeepsNoEmptyChannels: a channel whose members cannot come is none after COMMIT, but if +P keeps it; and what +P keeps is in the
// database of the new process soon, should that one end too.
func TestInspIRCdKeepsNoEmptyChannels(t *testing.T) { onBoth(t, inspIRCdKeepsNoEmptyChannels) }

func inspIRCdKeepsNoEmptyChannels(t *testing.T, v *inspVersion) {
	a := v.start(t, "a")
	h := newHand(t, a)
	var records []protocol.Message
	for _, name := range []string{"#left", "#kept", "#sea"} {
		c := protocol.NewChan(name, 1700000000).Message
		c.SetBare("m.secret")
		if name == "#kept" {
			c.SetBare("m.permanent")
		}
		records = append(records, c, protocol.NewList(name, "ban", "*!*@a", "x", 1).Message)
	}
	tx, p := h.prepare(append(records, imported("i.1", "ann", "oper", "NetAdmin", "x.inspircd.operblock", "root"), protocol.NewMemb("i.1", "#sea", "o").Message)...)
	if len(p.Conflicts)+len(p.Warns) != 0 {
		t.Errorf("%+v", p)
	}
	ann := h.attach(tx, tx, "i.1")
	_, err := h.c.Commit(t.Context(), tx)
	h.ok(err)
	h.ok(ann.answer(protocol.VerbLive))
	list := ann.ask("LIST")
	for name, there := range map[string]bool{"#left": false, "#kept": true, "#sea": true} {
		if strings.Contains(list, name+" ") != there {
			t.Errorf("%s: want %t in\n%s", name, there, list)
		}
	}
	db := filepath.Join(a.dir, "permchannels.conf") // saved every 5 seconds
	eventually(t, 15*time.Second, "+P is in its database", func() bool { return strings.Contains(readFile(db), `channel="#kept"`) })
}
