//go:build e2e

package e2e

import (
	"slices"
	"strings"
	"testing"

	"github.com/ircferry/ircferry/handoff/protocol"
)

// TestInspIRCdTimedBans: a ban with an end has it after moves too, with the setter and the time of before, and it ends then.
func TestInspIRCdTimedBans(t *testing.T) { onBoth(t, inspIRCdTimedBans) }

func inspIRCdTimedBans(t *testing.T, v *inspVersion) {
	h := newHand(t, v.start(t, "a"))
	ann := h.open("i.1", "ann", nil)
	for _, line := range []string{"JOIN #sea", "MODE #sea +b *!*@forever.example", "TBAN #sea 8s *!*@soon.example", "TBAN #sea 2h *!*@later.example",
		"TBAN #sea 1h *!*@off.example", "MODE #sea -b *!*@off.example", "MODE #sea +b *!*@off.example"} {
		ann.ask(line)
	}
	list := ann.ask("MODE #sea b")
	for range 2 {
		tx, _, records := h.export(ann)
		var timed []string
		for _, r := range records {
			if r.Verb == protocol.VerbList && r.Has("x.inspircd.until") {
				timed = append(timed, r.Get("mask"))
			}
		}
		slices.Sort(timed)
		if got := strings.Join(timed, " "); got != "*!*@later.example *!*@soon.example" {
			t.Errorf("bans with an end: %q", got)
		}
		h.ok(h.c.Release(t.Context(), tx, ""))
		tx, p := h.prepare(records...)
		if len(p.Conflicts)+len(p.Warns) != 0 {
			t.Errorf("%+v", p)
		}
		ann = h.attach(tx, tx, "i.1")
		_, err := h.c.Commit(t.Context(), tx)
		h.ok(err)
		h.ok(ann.answer(protocol.VerbLive))
		if got := ann.ask("MODE #sea b"); got != list {
			t.Errorf("the list is now\n%swas\n%s", got, list)
		}
	}
	// A reload of the module forgets no end, be it of its own bans or of m_timedbans'.
	for _, line := range []string{"OPER root rootpw", "TBAN #sea 2h *!*@new.example"} {
		ann.ask(line)
	}
	ann.send("RELOADMODULE m_handoff.so\r\n")
	seen := ann.await(" 975 ")
	h = newHand(t, h.ircd)
	for _, r := range h.peek([]protocol.Selection{{U: "i.1"}}) {
		if r.Verb == protocol.VerbList && r.Has("x.inspircd.until") == slices.Contains([]string{"*!*@forever.example", "*!*@off.example"}, r.Get("mask")) {
			t.Errorf("after a reload: %s", r.Append(nil))
		}
	}
	if over := ":insp.example.org MODE #sea -b :*!*@soon.example"; !strings.Contains(seen, over) {
		ann.await(over)
	}
	if got := ann.ask("MODE #sea b"); strings.Contains(got, "soon.example") || !strings.Contains(got, "later.example") || !strings.Contains(got, "off.example") {
		t.Errorf("after the end of one:\n%s", got)
	}
}
