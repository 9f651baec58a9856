package main

import (
	"fmt"
	"io"
	"strconv"

	"github.com/ircferry/ircferry/admin"
	"github.com/ircferry/ircferry/handoff"
)

// plan prints what a dry run found. A move that would be refused, or reverted because of a conflict, gives the code of a refusal, so
// that a script can ask before it acts; one that would leave sessions behind gives that of the move itself.
func (c *ctl) plan(done admin.Done, strict bool) error {
	p := *done.Plan
	if err := c.print(p, func(w io.Writer) { c.writePlan(w, p, done.Note) }); err != nil {
		return err
	}
	if len(p.Refusals) > 0 || len(p.Conflicts) > 0 || strict && len(p.Warnings) > 0 {
		return coded{exitRefused}
	}
	if done.Left > 0 {
		return coded{exitPartly} // as the drain itself
	}
	return nil
}

func (c *ctl) writePlan(w io.Writer, p handoff.Plan, note string) {
	fmt.Fprintf(w, "dry run of %s/%s", p.Pool, p.From)
	if p.To != "" {
		fmt.Fprintf(w, " to %s/%s", p.Pool, p.To)
	}
	fmt.Fprintln(w, "; nothing was changed")
	if note != "" {
		fmt.Fprintln(w, "note: "+clean(note))
	}
	for _, r := range p.Refusals {
		fmt.Fprintln(w, c.color(bad, "would be refused: "+clean(r)))
	}
	var g grid
	g.add("USERS", "CHANNELS", "NOT REGISTERED", "PAST US", "LINKS")
	g.add(strconv.Itoa(p.Users), strconv.Itoa(p.Channels), strconv.Itoa(p.Unregistered), strconv.Itoa(p.Unmovable), strconv.Itoa(p.Links))
	g.write(w)
	for _, name := range p.Held {
		fmt.Fprintln(w, "server link that would go along: "+clean(name))
	}
	for _, name := range p.Unheld {
		fmt.Fprintln(w, "server link that would not: "+clean(name))
	}
	for _, lost := range p.CapsLost {
		fmt.Fprintln(w, "capability that the destination does not offer: "+clean(lost))
	}
	for _, diff := range p.ISupport {
		fmt.Fprintln(w, "ISUPPORT differs (source|destination): "+clean(diff))
	}
	writeWarnings(w, "NOT EXACTLY", p.Warnings)
	writeWarnings(w, "CONFLICT", p.Conflicts)
	if p.To != "" && len(p.Refusals)+len(p.Conflicts)+len(p.Warnings)+len(p.CapsLost)+len(p.ISupport) == 0 {
		fmt.Fprintf(w, "nothing is in the way, and %s/%s warns of nothing\n", p.Pool, p.To)
	}
}
