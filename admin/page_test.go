package admin

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ircferry/ircferry/handoff"
)

// Issue 10: an operator's page says what is wrong, who serves and what moves, and nothing by internal names or that is nothing.
func TestPageIsAnOperators(t *testing.T) {
	st := readyStatus()
	st.Pools = st.Pools[:1]
	st.Listeners = st.Listeners[:1]
	st.Pools[0].Serving = "a"
	st.Pools[0].Backends[0].Serving = true
	st.Pools[0].Backends = append(st.Pools[0].Backends,
		Backend{Name: "b", Pool: "main", Admin: "drain", Oper: "up", Weight: 100, Sessions: 3},
		Backend{Name: "c", Pool: "main", Admin: "ready", Oper: "down", Cause: "answer to CAP LS: 465 You are banned", Weight: 100},
		Backend{Name: "d", Pool: "main", Admin: "drain", Oper: "up", Weight: 100, Closing: &Closing{Phase: Closes, Total: 200, Left: 40}})
	st.Pools[0].Links = []Link{{Name: "services.example", State: "raw", Backend: "main/a", From: "192.0.2.77:4000", SID: "00S"}, {Name: "leaf.example", State: "cut", HeldSeconds: 2.5}, {Name: "hub.example", State: "down"}}
	st.Sessions = Counts{Total: 1239, States: map[string]int{"relay": 1236, "waiting": 2, "opening": 1, "frozen": 0, "parked": 0, "splicing": 0}}
	page := func() string {
		return ask(t, Public{Status: func() Status { return st }, Gatherer: prometheus.NewRegistry()}, "GET", "/").body
	}
	body := page()
	for _, want := range []string{"One thing needs an eye", "Clients: 1239, of them 2 waiting for an ircd, 1 connecting to an ircd, 1236 connected", "<li>main/c is down: answer", ">serves<", "drained; those who are left stay",
		"down: answer to CAP LS: 465 You are banned", "its users are closed: 40 of 200 left", `http-equiv="refresh"`, "1 warning - ircferry",
		"services.example", ">up<", "held in a move for 2.5s", ">not linked<"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, never := range []string{"splicing", "parked", "frozen", "backend_handshake", "relay<", "192.0.2.77", ">raw<", ">cut<"} {
		if strings.Contains(body, never) {
			t.Errorf("the page has %q", never)
		}
	}
	up := st
	up.Pools = []Pool{{Name: "main", Backends: st.Pools[0].Backends[:1]}}
	if body := ask(t, Public{Status: func() Status { return up }, Gatherer: prometheus.NewRegistry()}, "GET", "/").body; !strings.Contains(body, "All is well") {
		t.Error("not all is well where it is")
	}
	st.Warnings = []string{"something is odd"}
	st.Moves = []Move{{Report: handoff.Report{ID: "m1", Kind: handoff.KindRestart, Pool: "main", From: "a", State: handoff.StateParked, Step: handoff.StepPark, Started: time.Now(), Attempted: 7}},
		{Report: handoff.Report{ID: "m0", Kind: handoff.KindDrain, Pool: "main", From: "a", To: "b", State: handoff.StateReverted, Started: time.Now(), Attempted: 9}}}
	body = page()
	for _, want := range []string{"2 things need an eye", "something is odd", "Under way: restart of main/a", "the users are held until an ircd takes them", "<progress", "drain of main/a to b"} {
		if !strings.Contains(body, want) {
			t.Errorf("with a move the page lacks %q", want)
		}
	}
	st.Listeners[0].Accepting = false
	if body := page(); !strings.Contains(body, "New clients cannot get in") || !strings.Contains(body, "DOWN - ircferry") {
		t.Error("the page does not say that nobody gets in")
	}
}
