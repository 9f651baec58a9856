package main

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/admin"
	"github.com/ircferry/ircferry/handoff"
	"github.com/ircferry/ircferry/internal/ircclient"
)

// holds parks the users of main/a.
func (f *ferry) holds(ctx context.Context, restart bool) string {
	f.t.Helper()
	done, err := f.client.Hold(ctx, admin.HoldRequest{Backend: "main/a", Restart: restart})
	if err != nil {
		f.t.Fatal(err)
	}
	m, err := f.client.Follow(ctx, done.Move.ID, nil)
	if err != nil || m.State != handoff.StateParked {
		f.t.Fatalf("hold: %+v, %v", m, err)
	}
	return m.ID
}

// ends waits for the end of a move, as ferryctl does: over all processes that answer.
func (f *ferry) ends(ctx context.Context, id string) <-chan admin.Move {
	end := make(chan admin.Move, 1)
	go func() {
		rev := ""
		for {
			m, err := f.client.AwaitMove(ctx, id, rev, 30*time.Second)
			if err != nil {
				f.t.Errorf("follow move %s: %v", id, err)
			}
			if err != nil || m.State.Ended() {
				end <- m
				return
			}
			rev = m.Rev
		}
	}()
	return end
}

func over(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	t.Cleanup(cancel)
	return ctx
}

// Parked users go along through three upgrades, between others who talk; the move ends in the last process, with one report, one line in the list and one
// in the counters, and whoever waits for its end is told.
func TestUpgradesTakeTheParked(t *testing.T) {
	f := startFerry(t)
	c := f.crowd(60, 4, 50*time.Millisecond)
	ctx := over(t)
	id := f.holds(ctx, false)
	end := f.ends(ctx, id)
	dry, err := f.upgrade(admin.UpgradeRequest{DryRun: true})
	if err != nil || len(dry.Refusals) != 0 || len(dry.Moves) != 1 || !strings.Contains(dry.Moves[0], id) || dry.States["parked"] != 60 {
		t.Errorf("dry run %+v, %v", dry, err)
	}
	for range 3 {
		u := f.must()
		if u.Sessions != 60 || u.States["parked"] != 60 || len(u.Moves) != 1 || !strings.Contains(u.Moves[0], id) {
			t.Errorf("%+v", u)
		}
		if m, err := f.client.Move(ctx, id); err != nil || m.State != handoff.StateParked || m.Attempted != 60 {
			t.Errorf("the move in process %d: %+v, %v", u.PID, m, err)
		}
	}
	late, err := ircclient.Dial(ctx, f.plain, ircclient.Options{}) // new clients wait as in the process that closed the gate
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	late.Send("NICK late")
	late.Send("USER late 0 * :late")
	await(t, "one who waits", func() bool { return f.status().Sessions.States["waiting"] == 1 })
	if _, err := f.client.Release(ctx, admin.ReleaseRequest{Backend: "main/a"}); err != nil {
		t.Fatal(err)
	}
	m := <-end
	if m.ID != id || m.State != handoff.StateDone || m.Moved != 60 || m.Attempted != 60 || len(m.Named) != 0 || m.Took[handoff.StepPark] <= 0 || m.Journal != "" {
		t.Errorf("%+v", m)
	}
	if moves, err := f.client.Moves(ctx); err != nil || len(moves) != 1 {
		t.Errorf("moves %+v, %v", moves, err)
	}
	if left, _ := os.ReadDir(f.dir + "/state/moves"); len(left) > 0 {
		t.Errorf("journals: %v", left)
	}
	if _, err := late.Await(" 001 "); err != nil {
		t.Errorf("who came meanwhile: %v", err)
	}
	f.unharmed(c)
	c.talk(50 * time.Millisecond)
	f.must()
	var words []string
	if err := f.client.Events(ctx, 0, false, func(e admin.Event) error {
		if e.Kind == admin.EventMove && e.Object == id {
			words = append(words, e.Word)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	for _, once := range []string{"prepare", "parked", "push", "done"} {
		if n := len(slices.DeleteFunc(slices.Clone(words), func(w string) bool { return w != once })); n != 1 {
			t.Errorf("events of the move: %v, want %s once", words, once)
		}
	}
	f.unharmed(c)
}

// An ircd that is away while its users are held does not keep an upgrade, and finds its users in the new process.
func TestUpgradeWhileTheIrcdIsAway(t *testing.T) {
	for _, told := range []bool{false, true} { // it was said before the upgrade that the users go back, or it is said in the new process
		f := startFerry(t)
		c := f.crowd(24, 3, 50*time.Millisecond)
		ctx := over(t)
		id := f.holds(ctx, true)
		f.ircds["a"].kill()
		release := func() {
			t.Helper()
			if _, err := f.client.Release(ctx, admin.ReleaseRequest{Backend: "main/a"}); err != nil {
				t.Fatal(err)
			}
		}
		if told {
			release()
		}
		f.must()
		f.must()
		if !told {
			release()
		}
		end := f.ends(ctx, id)
		f.must()
		f.ircds["a"].start()
		if m := <-end; m.State != handoff.StateDone || m.Moved != 24 || !m.Released {
			t.Errorf("%+v", m)
		}
		f.unharmed(c)
		f.awaitUp("a", "b")
		if st := f.status(); st.Sessions.Total != 24 || st.Sessions.States["relay"] != 24 {
			t.Errorf("%+v", st.Sessions)
		}
	}
}

// A pause goes on in the new process, for what is left of its time, and can be resumed there.
func TestUpgradesInAPause(t *testing.T) {
	f := startFerry(t)
	c := f.crowd(20, 2, 50*time.Millisecond)
	ctx := over(t)
	for _, length := range []time.Duration{time.Minute, 3 * time.Second} {
		done, err := f.client.Pause(ctx, admin.PauseRequest{Backend: "main/a", For: admin.Duration(length)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.client.Follow(ctx, done.Move.ID, nil); err != nil {
			t.Fatal(err)
		}
		end := f.ends(ctx, done.Move.ID)
		if u := f.must(); u.States["frozen"] != 20 {
			t.Errorf("%+v", u)
		}
		if length == time.Minute {
			if _, err := f.client.Resume(ctx, "main/a"); err != nil {
				t.Fatal(err)
			}
		}
		if m := <-end; m.State != handoff.StateDone || m.Reverted != 20 || m.Ended.Sub(m.Started) > length+5*time.Second || length < time.Minute && m.Ended.Sub(m.Started) < length {
			t.Errorf("a pause of %v: %+v", length, m)
		}
	}
	f.unharmed(c)
}

// Whatever becomes of the new process, the old one goes on with the parked: at the end they are released there.
func TestFailedUpgradesWithTheParked(t *testing.T) {
	f := startFerry(t)
	c := f.crowd(20, 2, 50*time.Millisecond)
	ctx := over(t)
	id := f.holds(ctx, false)
	pid := f.status().PID
	for _, step := range []string{"prepared", "legacy", "descriptors", "ready", "go"} {
		f.stumbleAt(step, "killed")
		if _, err := f.upgrade(admin.UpgradeRequest{}); err == nil {
			t.Errorf("%s: upgraded", step)
		}
		if st := f.status(); st.PID != pid || st.Sessions.States["parked"] != 20 {
			t.Errorf("%s: %+v", step, st.Sessions)
		}
	}
	os.Remove(f.stumbleFile())
	if _, err := f.client.Cancel(ctx, id); err != nil {
		t.Fatal(err)
	}
	if m := <-f.ends(ctx, id); m.State != handoff.StateDone || m.Moved != 20 || !m.Undone() {
		t.Errorf("%+v", m)
	}
	f.unharmed(c)
}

// A move that has just begun is waited for.
func TestUpgradeWaitsForMoves(t *testing.T) {
	f := startFerry(t)
	c := f.crowd(40, 2, 50*time.Millisecond)
	ctx := over(t)
	done, err := f.client.Drain(ctx, admin.DrainRequest{Backend: "main/a"})
	if err != nil {
		t.Fatal(err)
	}
	f.must()
	if m, err := f.client.Move(ctx, done.Move.ID); err != nil || m.State != handoff.StateDone || m.Moved != 40 {
		t.Errorf("%+v, %v", m, err)
	}
	f.unharmed(c)
}
