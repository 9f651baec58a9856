package main

import (
	"testing"

	"github.com/ircferry/ircferry/handoff"
)

func TestPauseAndResume(t *testing.T) {
	d := newDaemon(t)
	d.onHold = []change{at(handoff.StepFreeze), func(r *handoff.Report) {
		r.State, r.Attempted, r.Note = handoff.StateParked, 3, "3 clients of main/a wait until 10:30:00, or until ferryctl resume main/a; its ircd keeps its users"
	}}
	d.onRelease = []change{func(r *handoff.Report) {
		r.State, r.Step, r.Note, r.Reverted = handoff.StateDone, handoff.StepThaw, "", 3
	}}
	d.call(t, "resume", "main/a").want(t, exitRefused, nil, []string{"is not paused"})
	d.call(t, "pause", "main/a", "--for", "20s").want(t, exitDone, []string{"pause m1 of main/a: held"}, []string{"ferryctl resume main/a"})
	d.call(t, "resume", "main/a").want(t, exitDone, []string{"pause m1 of main/a: done"}, nil)
	for _, bad := range []string{"0s", "-3s", "soon"} {
		d.call(t, "pause", "main/a", "--for", bad).want(t, exitUsage, nil, []string{"--for"})
	}
	if got, want := d.said(), "resume main/a, pause main/a, resume main/a"; got != want {
		t.Errorf("the daemon was asked: %s, want %s", got, want)
	}
}
