package main

import (
	"cmp"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/ircferry/ircferry/admin"
	"github.com/ircferry/ircferry/handoff"
)

// result prints what came of a move, and gives its exit code.
func (c *ctl) result(m admin.Move) error {
	if err := c.print(m, func(w io.Writer) { c.writeResult(w, m) }); err != nil {
		return err
	}
	if code := moveCode(m.Report); code != exitDone {
		return coded{code}
	}
	return nil
}

func (c *ctl) writeResult(w io.Writer, m admin.Move) {
	fmt.Fprintln(w, c.headline(m))
	if m.Error != "" {
		fmt.Fprintln(w, c.color(bad, "cause: "+clean(m.Error)))
	}
	if m.Undone() {
		fmt.Fprintf(w, "cancelled: the users were put back into %s/%s\n", m.Pool, m.From)
	}
	if m.Note != "" {
		fmt.Fprintln(w, "note: "+clean(m.Note))
	}
	if m.Journal != "" {
		fmt.Fprintln(w, "journal: "+m.Journal)
	}
	var g grid
	g.add("SESSIONS", "MOVED", "REVERTED", "FAILED", "LEFT", "REOPENED", "PAUSE P50", "P99", "MAX", "HELD LINES")
	g.add(strconv.Itoa(m.Attempted), strconv.Itoa(m.Moved), strconv.Itoa(m.Reverted), strconv.Itoa(m.Failed), strconv.Itoa(m.Left),
		strconv.Itoa(m.Reopened), millis(m.Pause.P50), millis(m.Pause.P99), millis(m.Pause.Max), strconv.Itoa(m.HeldLines))
	g.write(w)
	writeNamed(w, m.Named)
	writeMoveLinks(w, m.Links)
	writeWarnings(w, "WARNING", m.Warnings)
}

// headline says in one sentence where everybody is now.
func (c *ctl) headline(m admin.Move) string {
	from, to := m.Pool+"/"+m.From, m.Pool+"/"+m.To
	what := fmt.Sprintf("%s %s of %s", m.Kind, m.ID, from)
	if m.To != "" && m.To != m.From {
		what += " to " + to
	}
	switch m.State {
	case handoff.StateDone:
		return what + ": " + c.color(good, "done") + " in " + span(m.Ended.Sub(m.Started))
	case handoff.StateReverted:
		return what + ": " + c.color(bad, "reverted") + " after " + span(m.Ended.Sub(m.Started)) + "; everybody is on " + from
	case handoff.StateFailed:
		return what + ": " + c.color(bad, "failed") + "; the sessions were closed and asked to reconnect"
	case handoff.StateParked:
		if m.Kind == handoff.KindPause {
			return what + ": " + c.color(good, "held") + " after " + span(time.Since(m.Started))
		}
		return what + ": " + c.color(good, "parked") + " after " + span(time.Since(m.Started)) + "; release or cancel it before moves.park is over"
	}
	return what + ": " + string(m.State) + " (" + string(m.Step) + ") for " + span(time.Since(m.Started))
}

// writeSteps says where the time went; the pause of the clients is from freeze to splice.
func writeSteps(w io.Writer, took map[handoff.Step]float64) {
	var names, times []string
	for _, s := range steps {
		if ms, ok := took[s]; ok {
			names, times = append(names, strings.ToUpper(string(s))), append(times, millis(ms))
		}
	}
	if len(names) == 0 {
		return
	}
	fmt.Fprintln(w)
	var g grid
	g.add(names...)
	g.add(times...)
	g.write(w)
}

func writeNamed(w io.Writer, named []handoff.Named) {
	if len(named) == 0 {
		return
	}
	fmt.Fprintln(w)
	var g grid
	g.add("SESSION", "NICK", "OUTCOME", "CAUSE", "TEXT")
	for _, n := range named {
		g.add(n.Session, dash(clean(n.Nick)), n.Outcome, n.Cause, clean(n.Text))
	}
	g.write(w)
}

// writeMoveLinks tells what became of the server links; the cause comes last, it is a sentence.
func writeMoveLinks(w io.Writer, links []handoff.LinkRow) {
	if len(links) == 0 {
		return
	}
	fmt.Fprintln(w)
	var g grid
	g.add("LINK", "SID", "STATE", "AWAY", "KEPT", "CAUSE")
	for _, l := range links {
		g.add(clean(l.Link), dash(clean(l.SID)), string(l.State), millis(l.Away), strconv.FormatInt(l.Kept, 10), dash(clean(l.Cause)))
	}
	g.write(w)
}

func writeWarnings(w io.Writer, head string, warnings []handoff.Warning) {
	if len(warnings) == 0 {
		return
	}
	fmt.Fprintln(w)
	var g grid
	g.add(head, "SESSION", "CHANNEL", "KEY", "TEXT")
	for _, x := range warnings {
		g.add(x.Code, dash(x.Session), dash(clean(cmp.Or(x.Channel, x.Link))), dash(clean(x.Key)), clean(x.Text))
	}
	g.write(w)
}
