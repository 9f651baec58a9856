package admin

import (
	"fmt"
	"time"

	"github.com/ircferry/ircferry/handoff"
)

// warnings says in sentences what in a status needs an operator's eye.
func warnings(st Status) []string {
	var w []string
	if st.Config.LastError != "" {
		w = append(w, "the last reload changed nothing: "+st.Config.LastError)
	}
	if u := st.Upgrades; u.LastError != "" {
		w = append(w, "the last upgrade failed, the process before it goes on: "+u.LastError)
	}
	if d := st.Descriptors; d.Limit > 0 && d.Used*5 > d.Limit*4 {
		w = append(w, fmt.Sprintf("%d of %d descriptors are in use; a move needs one more for each session (raise LimitNOFILE)", d.Used, d.Limit))
	}
	for _, l := range st.Listeners {
		if !l.Accepting {
			w = append(w, fmt.Sprintf("listener %s does not accept: %s", l.Name, l.Note))
		}
	}
	for _, c := range st.Certificates {
		if text := c.warning(time.Now()); text != "" {
			w = append(w, text)
		}
	}
	for _, p := range st.Pools {
		if !p.usable() && !p.Gated {
			w = append(w, fmt.Sprintf("pool %s has no usable backend: new clients wait 15s for one and are then turned away%s", p.Name, p.wayOut()))
		}
		for _, b := range p.Backends {
			for _, text := range b.Warnings {
				w = append(w, fmt.Sprintf("backend %s: %s", b.FullName(), text))
			}
		}
	}
	for _, p := range st.Pools {
		for _, l := range p.Links {
			if text := l.warning(p.Name); text != "" {
				w = append(w, text)
			}
		}
	}
	for _, m := range st.Moves {
		switch {
		case m.State == handoff.StateParked:
			w = append(w, fmt.Sprintf("the users of %s/%s are parked by move %s: bring it back, or ferryctl release %s/%s --to NAME",
				m.Pool, m.From, m.ID, m.Pool, m.From))
		case m.State == handoff.StateFailed && m.Journal != "":
			w = append(w, fmt.Sprintf("move %s failed; its journal is kept at %s", m.ID, m.Journal))
		}
	}
	return append(w, clusterWarnings(st.Cluster)...)
}

// wayOut names a backend that is up and that the operator keeps out of use.
func (p Pool) wayOut() string {
	for _, b := range p.Backends {
		if b.Oper == "up" && b.Admin == "drain" && b.Weight > 0 {
			return fmt.Sprintf("; %s is up, ferryctl ready %s lets it take them", b.FullName(), b.FullName())
		}
	}
	return ""
}

func (p Pool) usable() bool {
	for _, b := range p.Backends {
		if b.Usable() {
			return true
		}
	}
	return false
}
