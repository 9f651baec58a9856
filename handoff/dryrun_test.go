package handoff

import (
	"slices"
	"strings"
	"testing"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff/protocol"
)

// dryRun is rig.drain for a dry run, past the checks of health.
func (r *rig) dryRun(t *testing.T) Plan {
	t.Helper()
	from, _ := r.c.find("main", "a")
	to, _ := r.c.find("main", "b")
	plan := Plan{Pool: "main", From: "a", To: "b"}
	refs, err := r.sessions.On(t.Context(), "main/a")
	if err != nil {
		t.Fatal(err)
	}
	if err := r.c.rehearse(t.Context(), &plan, Request{Pool: "main", From: "a", To: "b"}, from, to, refs); err != nil {
		t.Fatal(err)
	}
	return plan
}

func TestDryRunSaysWhatTheMoveWouldAndLeavesNothing(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		r.sessions.unreg["u3"] = true
		delete(r.a.live, "u3")
		r.a.hello = protocol.Hello{Unmovable: 2, Caps: []string{"batch", "sasl=PLAIN"}, ISupport: []string{"NICKLEN=30", "EXCEPTS", "MODES=4"}}
		r.b.hello = protocol.Hello{Caps: []string{"sasl=EXTERNAL"}, ISupport: []string{"NICKLEN=20", "MODES=4", "SILENCE=8"}}
		r.b.notes.Warns = []protocol.Note{{U: "u1", Code: "unknown-key"}}
		r.b.notes.Conflicts = []protocol.Note{{U: "u2", Code: "nick-in-use"}}
		plan := r.dryRun(t)
		if plan.Users != 2 || plan.Unregistered != 1 || plan.Unmovable != 2 || len(plan.Warnings) != 1 || len(plan.Conflicts) != 1 {
			t.Errorf("%+v", plan)
		}
		if !slices.Equal(plan.CapsLost, []string{"batch"}) || !slices.Equal(plan.ISupport, []string{"EXCEPTS=|", "NICKLEN=30|20", "SILENCE=|8"}) {
			t.Errorf("caps lost %q, isupport %q", plan.CapsLost, plan.ISupport)
		}
		if len(plan.Refusals) != 1 || !strings.Contains(plan.Refusals[0], "--allow-visible") {
			t.Errorf("refusals %q", plan.Refusals)
		}
		for tx, state := range r.b.dest {
			if state != protocol.DestAborted {
				t.Errorf("tx %s is %s at the destination", tx, state)
			}
		}
		if len(r.a.source) > 0 || len(r.a.live) != 2 || len(r.b.live) != 0 || len(journals(t, r.dir)) > 0 {
			t.Errorf("it has changed something: %v, %d and %d live", r.a.source, len(r.a.live), len(r.b.live))
		}
		if from, _ := r.c.find("main", "a"); from.Admin() != backend.Ready {
			t.Errorf("a is %s", from.Admin())
		}
	})
}

// A dry run says which links go along, and whether the destination knows them all.
func TestDryRunTellsOfLinks(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		r.link("services.example", "leaf.example")
		plan := r.dryRun(t)
		if !slices.Equal(plan.Held, []string{"services.example", "leaf.example"}) || len(plan.Unheld)+len(plan.Refusals)+len(plan.Conflicts) > 0 || plan.Links != 2 {
			t.Errorf("%+v", plan)
		}
		r.b.blocks = []string{"services.example"}
		if plan = r.dryRun(t); len(plan.Refusals) != 1 || !strings.Contains(plan.Refusals[0], "main/b does not take the server link of leaf.example: handoff unknown-link") {
			t.Errorf("%+v", plan)
		}
		r.links.peers[0].raw = false
		if plan = r.dryRun(t); len(plan.Held) > 0 || !slices.Equal(plan.Unheld, []string{"leaf.example", "services.example"}) || len(plan.Refusals) != 1 {
			t.Errorf("%+v", plan)
		}
		r.links.peers[0].raw = true
		if len(r.links.wrong) > 0 || len(r.b.servers) > 0 || len(r.a.source) > 0 {
			t.Errorf("it has changed something: %v", r.links.wrong)
		}
	})
}

func TestDryRunOfOneIrcdInTwoBackends(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		r.b = r.a
		if plan := r.dryRun(t); len(plan.Refusals) != 1 || !strings.Contains(plan.Refusals[0], "same ircd process") {
			t.Errorf("%+v", plan)
		}
	})
}

// Moves and dry runs of a pool keep out of each other's way: an ircd has room for one import.
func TestDryRunBesideAMove(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		m, err := r.c.Hold(Request{Pool: "main", From: "a"})
		if err != nil {
			t.Fatal(err)
		}
		<-m.Parked()
		plan, err := r.c.DryRun(t.Context(), Request{Pool: "main", From: "b"})
		if err != nil || len(plan.Refusals) != 1 || !strings.Contains(plan.Refusals[0], m.ID()) {
			t.Errorf("%+v, %v", plan, err)
		}
		if err := r.c.Cancel(m.ID()); err != nil {
			t.Fatal(err)
		}
		r.await(m)

		done, err := r.c.claimRehearsal("main")
		if err != nil {
			t.Fatal(err)
		}
		if plan, err := r.c.DryRun(t.Context(), Request{Pool: "main", From: "a", To: "b"}); err != nil || len(plan.Refusals) != 1 {
			t.Errorf("a second dry run: %+v, %v", plan, err)
		}
		if _, err := r.drain(Request{}); !isRefused(err) || !strings.Contains(err.Error(), "dry run") {
			t.Errorf("a drain beside a dry run: %v", err)
		}
		done()
		if report, err := r.drain(Request{}); err != nil || report.State != StateDone {
			t.Errorf("%+v, %v", report, err)
		}
	})
}
