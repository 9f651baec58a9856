package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/ircferry/ircferry/handoff"
	"github.com/ircferry/ircferry/internal/ircclient"
)

// demoResult is what `ircferry demo -o json` prints.
type demoResult struct {
	Clients         int          `json:"clients"`
	Moves           []demoMove   `json:"moves"`
	Messages        demoMessages `json:"messages"`
	UnexpectedLines int          `json:"unexpected_lines"`
	Disconnects     int          `json:"disconnects"`
}

// demoMove is one move.
type demoMove struct {
	Kind     handoff.Kind  `json:"kind"`
	From     string        `json:"from"`
	To       string        `json:"to"`
	Sessions int           `json:"sessions"`
	Failed   int           `json:"failed"`
	Pause    handoff.Pause `json:"pause_ms"`
}

// demoMessages is what became of the numbered messages: Expected is Sent times those who must hear each.
type demoMessages struct {
	Sent       int `json:"sent"`
	Expected   int `json:"expected"`
	Delivered  int `json:"delivered"`
	Lost       int `json:"lost"`
	Duplicated int `json:"duplicated"`
	Reordered  int `json:"reordered"`
}

func (r *demoResult) addMove(m handoff.Report) {
	to := m.To
	if to == "" {
		to = m.From
	}
	r.Moves = append(r.Moves, demoMove{Kind: m.Kind, From: m.From, To: to, Sessions: m.Moved, Failed: m.Failed, Pause: m.Pause})
}

func (r *demoResult) count(c ircclient.Counts) {
	r.Messages = demoMessages{
		Sent: c.Sent, Expected: c.Expected, Delivered: c.Delivered, Lost: c.Lost, Duplicated: c.Duplicated, Reordered: c.Reordered}
	r.UnexpectedLines, r.Disconnects = c.Unexpected, c.Disconnects
}

// fault says in a few words what a client noticed, or "".
func (r *demoResult) fault() string {
	var wrong []string
	for _, count := range []struct {
		n    int
		what string
	}{
		{r.Messages.Lost, "lost"}, {r.Messages.Duplicated, "doubled"}, {r.Messages.Reordered, "reordered"},
		{r.UnexpectedLines, "unexpected lines"}, {r.Disconnects, "disconnects"},
	} {
		if count.n != 0 {
			wrong = append(wrong, fmt.Sprintf("%d %s", count.n, count.what))
		}
	}
	return strings.Join(wrong, ", ")
}

func (r *demoResult) writeJSON(w io.Writer) error { return json.NewEncoder(w).Encode(r) }

func (r *demoResult) writeTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "MOVE\tFROM\tTO\tSESSIONS\tFAILED\tPAUSE P50\tP99\tMAX\t")
	for _, m := range r.Moves {
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%d\t%.0f ms\t%.0f ms\t%.0f ms\t\n", m.Kind, m.From, m.To, m.Sessions, m.Failed, m.Pause.P50, m.Pause.P99, m.Pause.Max)
	}
	fmt.Fprintln(t)
	fmt.Fprintln(t, "MESSAGES\tSENT\tEXPECTED\tDELIVERED\tLOST\tDOUBLED\tREORDERED\t")
	m := r.Messages
	fmt.Fprintf(t, "\t%d\t%d\t%d\t%d\t%d\t%d\t\n", m.Sent, m.Expected, m.Delivered, m.Lost, m.Duplicated, m.Reordered)
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\n%d clients saw %d lines that they should not have seen, and %d disconnects.\n", r.Clients, r.UnexpectedLines, r.Disconnects)
	return err
}
