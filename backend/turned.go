package backend

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// turned is a row of clients that an ircd turned away before they were registered, with nobody between them who was let in. A user who is
// banned is nothing to report; an ircd that has banned us, or is full, turns everybody away, and its port answers all the same.
type turned struct {
	row   int
	from  map[netip.Addr]bool // of the row, at most maxFrom
	since time.Time
	words string // of the last one
	told  bool
}

// maxFrom bounds what is kept of clients' addresses: more are as many as can be.
const maxFrom = 100

// aRow is how many in a row are reported.
const aRow = 3

func (t turned) text() string {
	if t.row < aRow {
		return ""
	}
	return fmt.Sprintf("the ircd has turned away %d clients in a row (%s) before they were registered, since %s; the last with %s", t.row, t.origin(),
		t.since.UTC().Format("2006-01-02 15:04:05 UTC"), t.words)
}

// origin says whether it may be one user only.
func (t turned) origin() string {
	if len(t.from) == 1 {
		return "all from one address"
	}
	return fmt.Sprintf("from %d addresses", len(t.from))
}

// Refused reports a client who had not left, and whose stream the ircd ended before 001. lines are those with which it
// did: ERROR and the numerics 463 to 466 of the stream, whole, as they came; none if it said nothing. Event loops call it.
func (b *Backend) Refused(client netip.Addr, lines ...string) {
	var words []string
	for _, l := range lines {
		words = append(words, parseSaid(l).words())
	}
	text := strings.Join(words, ", ")
	if strings.Contains(strings.ToLower(strings.ReplaceAll(text, " ", "")), "timeout") {
		return // it was slow, not unwanted
	}
	if text == "" {
		text = "no word"
	}
	b.set.metrics.refused(b)
	b.mu.Lock()
	if b.turned.row++; b.turned.row == 1 {
		b.turned.since, b.turned.from = time.Now(), map[netip.Addr]bool{}
	}
	if len(b.turned.from) < maxFrom {
		b.turned.from[client] = true
	}
	b.turned.words = text
	tell := b.turned.row >= aRow && !b.turned.told
	if tell {
		b.turned.told = true
		b.proof.due = time.Time{} // a check by irc finds out whether it is everybody
	}
	text = b.turned.text()
	b.mu.Unlock()
	b.anyTurned.Store(true)
	if tell {
		b.set.event(b, EventRefusing, text)
		b.Recheck()
	}
}

// Welcomed reports a client who was let in: 001. Event loops call it for each.
func (b *Backend) Welcomed() {
	if !b.anyTurned.Load() {
		return
	}
	b.mu.Lock()
	told := b.turned.told
	b.turned = turned{}
	b.mu.Unlock()
	b.anyTurned.Store(false)
	if told {
		b.set.event(b, EventWelcoming, "a client was let in")
	}
}
