package admin

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ircferry/ircferry/handoff"
)

// down lists the backends that should be up and are not.
func down(st Status) (all []string) {
	for _, p := range st.Pools {
		for _, b := range p.Backends {
			if b.Admin == "ready" && b.Oper != "up" && b.Closing == nil {
				all = append(all, fmt.Sprintf("%s is down: %s", b.FullName(), orElse(b.Cause, "not checked yet")))
			}
		}
	}
	return all
}

// judge says in one line how it is.
func judge(st Status, notReady error) verdictOf {
	switch n := len(st.Warnings) + len(down(st)); {
	case notReady != nil:
		return verdictOf{"DOWN - ircferry", "New clients cannot get in", "bad"}
	case n == 1:
		return verdictOf{"1 warning - ircferry", "One thing needs an eye", "warn"}
	case n > 1:
		return verdictOf{fmt.Sprintf("%d warnings - ircferry", n), fmt.Sprintf("%d things need an eye", n), "warn"}
	case slices.ContainsFunc(st.Moves, func(m Move) bool { return !m.State.Ended() }):
		return verdictOf{"moving - ircferry", "All is well; a move is under way", "good"}
	}
	return verdictOf{"ok - ircferry", "All is well", "good"}
}

// stages are the states of sessions as a person thinks of them, in the order of a session's life.
var stages = []struct {
	text   string // behind a number
	states []string
}{
	{"arriving (PROXY header, TLS)", []string{"header", "handshake"}},
	{"waiting for an ircd", []string{"waiting"}},
	{"connecting to an ircd", []string{"dialing", "backend_handshake", "opening"}},
	{"connected", []string{"relay"}},
	{"frozen in a move", []string{"frozen"}},
	{"held until their ircd is back", []string{"parked"}},
	{"going over to another ircd", []string{"splicing", "reopening"}},
	{"leaving", []string{"closing"}},
}

// people says how many clients there are and what they do; nobody's doing is left out.
func people(st Status) string {
	var parts []string
	rest := st.Sessions.Total
	for _, s := range stages {
		n := 0
		for _, state := range s.states {
			n += st.Sessions.States[state]
		}
		rest -= n
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, s.text))
		}
	}
	if rest > 0 {
		parts = append(parts, fmt.Sprintf("%d others", rest))
	}
	switch {
	case st.Sessions.Total == 0:
		return "No clients"
	case len(parts) == 0:
		return fmt.Sprintf("Clients: %d", st.Sessions.Total)
	}
	return fmt.Sprintf("Clients: %d, of them %s", st.Sessions.Total, strings.Join(parts, ", "))
}

// roleOf is a backend's part in its pool.
func roleOf(p Pool, b Backend) word {
	switch {
	case b.Closing != nil && b.Closing.Phase == Closes:
		return word{fmt.Sprintf("its users are closed: %d of %d left", b.Closing.Left, b.Closing.Total), "warn"}
	case b.Closing != nil:
		return word{"restarted; new clients wait", "warn"}
	case b.Admin == "maint":
		return word{"in maintenance", "dim"}
	case b.Oper != "up":
		return word{"down: " + orElse(b.Cause, "not checked yet"), "bad"}
	case b.Admin == "drain" && b.Sessions > 0:
		return word{"drained; those who are left stay", "warn"}
	case b.Admin == "drain":
		return word{"drained, empty", "dim"}
	case b.Weight == 0:
		return word{"up, takes nobody (weight 0)", "dim"}
	case b.Serving && p.Gated:
		return word{"serves; new clients wait", "warn"}
	case b.Serving || p.Topology == "linked" && !b.Backup:
		return word{"serves", "good"}
	}
	return word{"stands by", "dim"}
}

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

func (l Listener) refused() (n uint64) {
	for _, x := range l.Rejected {
		n += x
	}
	return n
}

func whatMoves(m Move) string {
	text := fmt.Sprintf("%s of %s/%s", m.Kind, m.Pool, m.From)
	if m.To != "" && m.To != m.From {
		text += " to " + m.To
	}
	return text
}

// stepWords are the steps of a move in order, as what happens to the users.
var stepWords = []struct {
	step handoff.Step
	text string
}{
	{handoff.StepCheck, "it is checked whether it can be"},
	{handoff.StepPrepare, "new clients wait, streams are made ready"},
	{handoff.StepFreeze, "the clients are frozen"},
	{handoff.StepPull, "the users are taken out of their ircd"},
	{handoff.StepPush, "the users are put into the ircd"},
	{handoff.StepRelease, "the old ircd gives them up: the point of no return"},
	{handoff.StepPark, "the users are held until an ircd takes them"},
	{handoff.StepCommit, "the new ircd makes them live"},
	{handoff.StepSplice, "the clients go over to their new streams"},
	{handoff.StepThaw, "what was held goes out"},
}

func describe(m Move) underWay {
	u := underWay{Move: m, What: whatMoves(m), Now: string(m.Step), Of: len(stepWords)}
	for i, s := range stepWords {
		if s.step == m.Step {
			u.Now, u.Done = s.text, i+1
		}
	}
	return u
}
