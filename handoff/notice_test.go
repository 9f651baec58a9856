package handoff

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff/protocol"
)

// Mistakes that were made here by `make mutate` and that no test had noticed.

// Whoever waits for longer has the PINGs of its client answered in the name of the server that it was on.
func TestWhoIsHeldIsParkedInTheNameOfItsServer(t *testing.T) {
	parked := func(t *testing.T, r *rig) {
		t.Helper()
		r.sessions.mu.Lock()
		defer r.sessions.mu.Unlock()
		if want := map[string]string{"u1": "a", "u2": "a", "u3": "a"}; !maps.Equal(r.sessions.parked, want) {
			t.Errorf("parked: %v, want %v", r.sessions.parked, want)
		}
	}
	in(t, func(t *testing.T, r *rig) {
		m, err := r.c.Hold(Request{Pool: "main", From: "a"})
		if err != nil {
			t.Fatal(err)
		}
		<-m.Parked()
		parked(t, r)
		if err := r.c.Cancel(m.ID()); err != nil {
			t.Fatal(err)
		}
		r.await(m)
		r.owners()
	})
	in(t, func(t *testing.T, r *rig) { // a drain whose COMMIT is not answered
		r.b.fault = on("COMMIT", 1, fault{stall: true})
		asked := false
		r.sessions.before = func(call string) { asked = asked || call == "Streams" }
		report, err := r.drain(Request{})
		if err != nil || report.State != StateDone || !asked {
			t.Errorf("%+v, %v", report, err)
		}
		parked(t, r)
		r.owners()
	})
	in(t, func(t *testing.T, r *rig) { // one whose destination refuses it
		r.b.fault = on("COMMIT", 1, fault{err: &protocol.Error{Code: protocol.CodeInternal}})
		report, err := r.drain(Request{})
		if err != nil || report.State != StateDone {
			t.Errorf("%+v, %v", report, err)
		}
		parked(t, r)
		r.owners()
	})
}

// A revert lets the world of the old ircd go on before the clients: what they say then is answered.
func TestTheOldWorldGoesOnBeforeTheClients(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		r.b.fault = on("PREPARE", 1, fault{err: &protocol.Error{Code: protocol.CodeInternal}})
		thaws := 0
		r.sessions.before = func(call string) {
			if call != "Thaw" {
				return
			}
			thaws++
			r.a.mu.Lock()
			defer r.a.mu.Unlock()
			if r.a.export != nil {
				t.Error("the clients go on, and the ircd stands still")
			}
		}
		if report, err := r.drain(Request{}); err != nil || report.State != StateReverted || thaws != 1 {
			t.Errorf("%d thaws: %+v, %v", thaws, report, err)
		}
		r.owners()
	})
}

// The kernel's word that a process has ended is evidence, whatever the streams look like from here.
func TestEvidenceOfTheKernel(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		r.a.known = true
		r.a.fault = on("RELEASE", 1, fault{err: errLost, kill: true})
		r.sessions.before = func(call string) {
			if call == "Streams" {
				time.Sleep(time.Hour) // of the bubble: the proxy cannot say
			}
		}
		began := time.Now()
		report, err := r.drain(Request{})
		if err != nil || report.State != StateDone || report.Moved != 3 {
			t.Errorf("%+v, %v", report, err)
		}
		if took := report.Ended.Sub(began); took > time.Minute {
			t.Errorf("believed after %v", took)
		}
		balanced(t, report)
		r.owners()
	})
}

// What a report's state is to who waits for it, releases it, or begins the next move.
func TestWhatAReportMeans(t *testing.T) {
	for _, c := range []struct {
		name                  string
		r                     Report
		undone, waits, ending bool
	}{
		{"a hold that was cancelled", Report{Kind: KindHold, State: StateDone}, true, false, false},
		{"a restart that was cancelled", Report{Kind: KindRestart, State: StateDone}, true, false, false},
		{"a hold that was released", Report{Kind: KindHold, State: StateDone, Released: true}, false, false, false},
		{"a hold that was reverted", Report{Kind: KindHold, State: StateReverted}, false, false, false},
		{"a drain", Report{Kind: KindDrain, State: StateDone}, false, false, false},
		{"parked", Report{Kind: KindHold, State: StateParked, out: true}, false, true, false},
		{"waiting for an ircd", Report{Kind: KindDrain, State: StateRunning, Step: StepPark, out: true}, false, true, false},
		{"a pause is nobody's to release", Report{Kind: KindPause, State: StateParked}, false, false, false},
		{"at its begin", Report{Kind: KindDrain, State: StateRunning, Step: StepPull}, false, false, false},
		{"being put in", Report{Kind: KindDrain, State: StateRunning, Step: StepCommit, out: true}, false, false, true},
		{"ended behind RELEASE", Report{Kind: KindDrain, State: StateDone, out: true}, false, false, false},
		{"ended while it waited", Report{Kind: KindDrain, State: StateFailed, Step: StepPark, out: true}, false, false, false},
	} {
		if c.r.Undone() != c.undone || c.r.waits() != c.waits || c.r.ending() != c.ending {
			t.Errorf("%s: undone %v, waits %v, ending %v", c.name, c.r.Undone(), c.r.waits(), c.r.ending())
		}
	}
}

// The pauses of a report are those of who was served again, wherever that was.
func TestPausesOfAReport(t *testing.T) {
	s := newMachine()
	for _, u := range []string{"a", "b", "c", "d", "e"} {
		s.on(event{what: frozen, u: u, nick: "n"})
	}
	s.on(event{what: wentBack, u: "a", moved: backend.Moved{Pause: 10 * time.Millisecond, HeldLines: 2, HeldBytes: 20}})
	s.on(event{what: wentBack, u: "b", moved: backend.Moved{Pause: 30 * time.Millisecond, HeldLines: 1, HeldBytes: 5}})
	s.on(event{what: wentBack, u: "c", moved: backend.Moved{HeldLines: 1}}) // too short to be measured
	s.on(event{what: wentBack, u: "d"})                                     // not stopped
	s.on(event{what: takenOut, u: "e", outcome: "left", cause: backend.CauseGone})
	var r Report
	s.write(&r)
	if (r.Pause != Pause{P50: 10, P99: 10, Max: 30}) || r.HeldLines != 4 || r.HeldBytes != 25 || r.Reverted != 4 || r.Left != 1 || r.Attempted != 5 {
		t.Errorf("%+v", r)
	}
}

// A journal that cannot be put aside stays where it is, and says so.
func TestJournalThatCannotBePutAside(t *testing.T) {
	dir := t.TempDir()
	j, err := createJournal(t.Context(), dir, "m", (*os.File).Sync)
	if err != nil {
		t.Fatal(err)
	}
	path := j.Path()
	if err := os.MkdirAll(filepath.Join(path+".failed", "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := j.keep(t.Context()); err == nil || !strings.Contains(err.Error(), "put journal aside") || j.Path() != path {
		t.Errorf("%v, at %s", err, j.Path())
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

// Who attaches streams for long looks whether the destination is still there, by a conversation that is ended each time.
func TestSlowAttachLeavesNoConversations(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		most := 0
		r.sessions.before = func(call string) {
			if call == "Attach" {
				time.Sleep(2 * time.Second)
				r.b.mu.Lock()
				most = max(most, r.b.talks)
				r.b.mu.Unlock()
			}
		}
		if report, err := r.drain(Request{}); err != nil || report.State != StateDone {
			t.Errorf("%+v, %v", report, err)
		}
		synctest.Wait()
		if most > 2 { // the move's, and the one that looks
			t.Errorf("%d conversations at once", most)
		}
		r.owners()
	})
}
