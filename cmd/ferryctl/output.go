package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// print writes the answer: the document itself with -o json, else what table writes.
func (c *ctl) print(document any, table func(io.Writer)) error {
	if c.output == "json" {
		enc := json.NewEncoder(c.out)
		enc.SetIndent("", "  ")
		return enc.Encode(document)
	}
	table(c.out)
	return nil
}

// grid writes rows in aligned columns; the first is the head. Colours are put on afterwards, because tabwriter counts bytes.
type grid struct {
	rows [][]string
}

func (g *grid) add(cells ...string) { g.rows = append(g.rows, cells) }

func (g *grid) write(w io.Writer) {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, row := range g.rows {
		line := strings.TrimRight(strings.Join(row, "\t"), "\t")
		fmt.Fprintln(tw, line)
	}
	tw.Flush()
}

// paint colours a whole line or word of the answer, on a terminal whose user has not said NO_COLOR.
type paint string

const (
	good  paint = "\x1b[32m"
	bad   paint = "\x1b[31m"
	faint paint = "\x1b[2m"
	bold  paint = "\x1b[1m"
	plain       = "\x1b[0m"
)

func (c *ctl) color(p paint, text string) string {
	if c.getenv("NO_COLOR") != "" || c.getenv("TERM") == "dumb" || !terminal(c.out) {
		return text
	}
	return string(p) + text + plain
}

// dash is for cells that have nothing to say.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// span writes a duration as people do: 340ms, 12.3s, 3h4m, 5d2h.
func span(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(time.Second / 10).String()
	case d < 10*time.Minute:
		return d.Round(time.Second).String()
	case d < 24*time.Hour:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	}
	return fmt.Sprintf("%dd%dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
}

// size writes bytes with their unit.
func size(n uint64) string {
	switch {
	case n < 10<<10:
		return fmt.Sprintf("%dB", n)
	case n < 10<<20:
		return fmt.Sprintf("%dKiB", n>>10)
	}
	return fmt.Sprintf("%dMiB", n>>20)
}

// millis writes a pause.
func millis(ms float64) string {
	if ms < 1000 {
		return fmt.Sprintf("%.1fms", ms)
	}
	return fmt.Sprintf("%.2fs", ms/1000)
}

// clean keeps control characters out of a terminal: nicks and texts come from ircds.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}
