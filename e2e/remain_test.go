//go:build e2e

package e2e

import (
	"testing"
	"time"

	"github.com/ircferry/ircferry/handoff/protocol"
)

// tellsWhoRemains: who is left out of an export is counted by END if he is on a channel of one who is not, and only then.
func tellsWhoRemains(t *testing.T, i native) {
	h := newHand(t, i)
	ann, bob := h.open("i.1", "ann", nil), h.open("i.2", "bob", nil)
	cid := h.open("j.1", "cid", nil) // another coordinator's
	remain := func(peek bool, streams ...*rawStream) int {
		t.Helper()
		req := protocol.ExportRequest{Tx: protocol.NewSecret(), Freeze: 5 * time.Second, Peek: peek}
		for _, s := range streams {
			req.Select = append(req.Select, protocol.Selection{U: s.u, In: s.in})
		}
		end, err := h.c.Export(t.Context(), req, func(protocol.Message) error { return nil })
		h.ok(err)
		h.ok(h.c.Resume(t.Context(), req.Tx))
		return end.Remain
	}
	is := func(what string, got, want int) {
		t.Helper()
		if got != want {
			t.Errorf("%s: END tells that %d remain, not %d", what, got, want)
		}
	}
	if !h.hello.Can(protocol.FeatRemain) {
		t.Fatalf("feat %v", h.hello.Feat)
	}
	ann.ask("JOIN #sea")
	bob.ask("JOIN #lake")
	is("no channel in common", remain(false, ann), 0)
	bob.ask("JOIN #sea")
	cid.ask("JOIN #sea")
	is("in #sea, too", remain(false, ann), 1)
	is("at a look", remain(true, ann), 0)
	is("both go", remain(false, ann, bob), 0)
	bob.ask("PART #sea")
	is("no more", remain(false, ann), 0)
}
