//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/handoff/protocol"
)

// TestInspIRCdSaysWhatIsInTheWay: a conflict says who has the nick, and a warning of a channel that lives what it does not get back: names, and no
// values but those of lists.
func TestInspIRCdSaysWhatIsInTheWay(t *testing.T) { onBoth(t, inspIRCdSaysWhatIsInTheWay) }

func inspIRCdSaysWhatIsInTheWay(t *testing.T, v *inspVersion) {
	i := v.start(t, "a")
	h := newHand(t, i)
	ann := h.open("i.1", "ann", nil)
	past := login(t, i.port, "127.0.9.9", "past")
	past.fence()
	ann.ask("JOIN #sea")
	ann.ask("TOPIC #sea :another")
	ann.ask("MODE #sea +lb 5 *!*@kept.example")
	ann.ask("MODE #sea -n")
	var ts int64
	if _, numeric, _ := strings.Cut(ann.ask("MODE #sea"), " 329 ann #sea :"); numeric != "" {
		fmt.Sscan(numeric, &ts)
	}
	sea := protocol.NewChan("#sea", ts)
	sea.Set("topic", "the sea")
	for _, mode := range []string{"topiclock", "noextmsg"} {
		sea.SetMode(mode)
	}
	sea.SetModeParam("key", "hush")
	sea.SetModeParam("limit", "7")
	records := []protocol.Message{sea.Message, protocol.NewList("#sea", "ban", "*!*@kept.example", "x", 1).Message, protocol.NewList("#sea", "ban", "*!*@lost.example", "x", 1).Message,
		imported("i.7", "ANN"), imported("i.8", "past"), protocol.NewMemb("i.7", "#sea", "").Message}
	tx, p := h.prepare(records...)
	h.ok(h.c.Abort(t.Context(), tx))
	said := ""
	for _, n := range append(p.Warns, p.Conflicts...) {
		said += n.Code + " " + n.U + n.C + ": " + n.Text + "\n"
	}
	for _, want := range []string{"nick-in-use i.7: ann!", "as session i.1\n", "nick-in-use i.8: past!", "past the proxy\n", "merged #sea: ", "; lost: topic, m.", "m.noextmsg", "m.key", "m.limit",
		"ban *!*@lost.example"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not said in\n%s", want, said)
		}
	}
	for _, never := range []string{"kept.example", "hush", "topiclock", "the sea"} {
		if strings.Contains(said, never) {
			t.Errorf("%q is said in\n%s", never, said)
		}
	}

	// At its longest it still is one line.
	for k := range 200 {
		records = append(records, protocol.NewList("#sea", "ban", fmt.Sprintf("*!*@%d.lost.example", k), "x", time.Now().Unix()).Message)
	}
	tx, p = h.prepare(append(records[:3:3], records[6:]...)...)
	h.ok(h.c.Abort(t.Context(), tx))
	for _, n := range p.Warns {
		if n.Code == "merged" && (!strings.HasSuffix(n.Text, ", and more") || len(n.Text) > 1100) {
			t.Errorf("%d bytes: %q", len(n.Text), n.Text)
		}
	}
}
