package main

import (
	"context"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/ircferry/ircferry/admin"
	"github.com/ircferry/ircferry/handoff"
)

// isKilled ends the daemon without a word, and starts the next process. Backends of a move are not checked, so it is not waited for them.
func (f *ferry) isKilled(s syscall.Signal) {
	f.t.Helper()
	f.cmd.Process.Signal(s)
	f.awaitEnd()
	f.begin()
	await(f.t, "the next process", func() bool {
		ctx, cancel := context.WithTimeout(f.t.Context(), patience)
		defer cancel()
		_, err := f.client.Status(ctx)
		return err == nil
	})
}

// Users who are parked outlive kills and restarts of the daemon: the next process has their move, with its id, and takes the release.
func TestKilledWhileUsersAreParked(t *testing.T) {
	f, _ := keptFerry(t)
	c := f.crowd(24, 3, 50*time.Millisecond)
	ctx := over(t)
	id := f.holds(ctx, true)
	f.ircds["a"].kill()
	for _, s := range []syscall.Signal{syscall.SIGKILL, syscall.SIGUSR1, syscall.SIGKILL} {
		f.isKilled(s)
		var m admin.Move
		await(t, "the move is parked again", func() bool {
			var err error
			m, err = f.client.Move(ctx, id)
			return err == nil && m.State == handoff.StateParked
		})
		if m.Attempted != 24 {
			t.Errorf("behind %v: %+v", s, m)
		}
	}
	f.ircds["a"].start()
	end := f.ends(ctx, id)
	if _, err := f.client.Release(ctx, admin.ReleaseRequest{Backend: "main/a"}); err != nil {
		t.Fatal(err)
	}
	if m := <-end; m.State != handoff.StateDone || m.Moved != 24 || len(m.Named) != 0 {
		t.Errorf("%+v", m)
	}
	f.unharmed(c)
}

// The daemon is killed at the steps of drains: each goes back or on, and nobody notices.
func TestKilledInTheMidstOfMoves(t *testing.T) {
	f, _ := keptFerry(t)
	c := f.crowd(24, 3, 20*time.Millisecond)
	ctx := over(t)
	at, ends := "a", map[handoff.State]int{}
	for round := range 12 {
		other := map[string]string{"a": "b", "b": "a"}[at]
		f.awaitUp("a", "b")
		if _, err := f.client.Ready(ctx, "main/"+other); err != nil {
			t.Fatal(err)
		}
		done, err := f.client.Drain(ctx, admin.DrainRequest{Backend: "main/" + at, To: other})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		m, steps := *done.Move, []handoff.Step{handoff.StepPrepare, handoff.StepFreeze, handoff.StepPull, handoff.StepRelease, handoff.StepCommit, handoff.StepSplice}
		for step := steps[round%len(steps)]; !m.State.Ended() && slices.Index(steps, m.Step) < slices.Index(steps, step); {
			if m, err = f.client.AwaitMove(ctx, m.ID, m.Rev, time.Second); err != nil {
				t.Fatal(err)
			}
		}
		f.isKilled(syscall.SIGKILL)
		m, err = f.client.Move(ctx, done.Move.ID)
		for err == nil && !m.State.Ended() {
			m, err = f.client.AwaitMove(ctx, m.ID, m.Rev, time.Second)
		}
		if err == nil {
			ends[m.State]++
			if m.Failed+m.Left > 0 {
				t.Errorf("round %d: %+v", round, m)
			}
		}
		f.awaitUp("a", "b")
		for _, b := range f.status().Pools[0].Backends {
			if b.Sessions > 0 {
				at = b.Name
			}
		}
		if _, err := f.client.Ready(ctx, "main/"+at); err != nil {
			t.Fatal(err)
		}
	}
	t.Log(ends)
	if len(ends) == 0 {
		t.Error("no move was killed in its midst")
	}
	f.unharmed(c)
}
