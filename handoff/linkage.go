package handoff

import (
	"slices"
	"strings"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff/protocol"
)

// LinkRow is what has become of one server link of the source.
type LinkRow struct {
	Link  string    `json:"link"`
	SID   string    `json:"sid,omitempty"`
	State LinkState `json:"state"`
	Cause string    `json:"cause,omitempty"` // of given-up and not-held
	Away  float64   `json:"away_ms"`         // from its cut to its end
	Kept  int64     `json:"kept_bytes"`      // what its peer said meanwhile
}

// LinkState is where a link of a move is. Behind the end of the move it is held no more.
type LinkState string

const (
	LinkHeld    LinkState = "held"     // its peer waits
	LinkLive    LinkState = "live"     // with the process that has taken the users
	LinkResumed LinkState = "resumed"  // with the process of before, which knows of nothing
	LinkGivenUp LinkState = "given-up" // both its connections are closed: an ordinary split
	LinkNotHeld LinkState = "not-held" // it was left alone, and ends with its ircd
)

// linkage is what a move knows of the server links of its source. One goroutine, the move's.
type linkage struct {
	want   []backend.Link // to be held, by the guards; none: the links are left alone
	asked  []backend.Link // that were held when the source was asked
	held   HeldLinks      // nil: none are
	state  LinkState      // of those that were not given up
	misfit error          // why the process of the present try can have none of them
	left   []LinkRow      // not held, with the cause
}

// are lists the links that can still come into a process.
func (l *linkage) are() []backend.Link {
	if l.held == nil || l.misfit != nil {
		return nil
	}
	return linksOf(l.held)
}

// selected lists them for EXPORT and GREET.
func selected(links []backend.Link) []protocol.LinkSelection {
	all := make([]protocol.LinkSelection, len(links))
	for i, l := range links {
		all[i] = selectionOf(l)
	}
	return all
}

func selectionOf(l backend.Link) protocol.LinkSelection {
	return protocol.LinkSelection{Name: l.Name, SID: l.SID, Proto: l.Proto}
}

func named(links []backend.Link, name string) bool {
	return slices.ContainsFunc(links, func(l backend.Link) bool { return strings.EqualFold(l.Name, name) })
}

// rows are what the report tells.
func (l *linkage) rows(ends []backend.LinkEnd) []LinkRow {
	rows := slices.Clone(l.left)
	for _, e := range ends {
		row := LinkRow{Link: e.Link.Name, SID: e.Link.SID, State: l.state, Away: float64(e.Away.Microseconds()) / 1000, Kept: e.Kept}
		if e.Cause != nil {
			row.State, row.Cause = LinkGivenUp, e.Cause.Error()
		}
		rows = append(rows, row)
	}
	return rows
}

// tellLinks puts into the report how it stands with the links; nil: that is not known.
func (x *run) tellLinks(ends []backend.LinkEnd) {
	if ends == nil && x.links.held != nil {
		return
	}
	rows := x.links.rows(ends)
	x.m.update(func(r *Report) { r.Links = rows })
}

// endLinks is the end of the move for the links, whatever became of it. Those that are neither live nor as before are given up with the cause.
func (x *run) endLinks(cause error) {
	held := x.links.held
	if held == nil {
		return
	}
	x.links.held = nil
	briefly(linkTime, func() { held.End(cause) })
	if ends := endsOf(held); ends != nil {
		x.tellLinks(ends)
		return
	}
	x.m.update(func(r *Report) {
		for i := range r.Links {
			if row := &r.Links[i]; row.State == LinkHeld {
				row.State, row.Cause = LinkGivenUp, "it is not known what became of it: the proxy does not answer"
			}
		}
	})
}
