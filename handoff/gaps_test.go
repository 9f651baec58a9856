package handoff

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff/protocol"
)

// The tests of this file are for mistakes that no other test noticed (make mutate).

// A few streams that are refused are their users' trouble, as long as the destination still has the transaction.
func TestFewRefusedStreams(t *testing.T) {
	many := []string{"u1", "u2", "u3", "u4", "u5"}
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, many...)
		defer r.set.Close()
		report := r.holdAndRelease("b", func() { r.b.banned["u2"], r.b.banned["u4"] = true, true })
		if report.State != StateDone || report.Moved != 3 || report.Failed != 2 || len(report.Named) != 2 {
			t.Errorf("%+v", report)
		}
		for _, n := range report.Named {
			if n.Session != "u2" && n.Session != "u4" || n.Cause != string(backend.CauseAttach) {
				t.Errorf("%+v", n)
			}
		}
		if took := report.Ended.Sub(report.Started); took > 5*time.Second {
			t.Errorf("the others waited %v", took)
		}
		balanced(t, report)
		r.owners()
	})
	synctest.Test(t, func(t *testing.T) { // most of them: that is the destination's fault, until it is the last try
		r := newRig(t, many...)
		defer r.set.Close()
		report := r.holdAndRelease("b", func() {
			for _, u := range many[:3] {
				r.b.banned[u] = true
			}
			r.a.mu.Lock()
			r.a.dead = true
			r.a.mu.Unlock()
		})
		if report.State != StateDone || report.Moved != 2 || report.Failed != 3 {
			t.Errorf("most: %+v", report)
		}
		if took := report.Ended.Sub(report.Started); took < 5*time.Minute {
			t.Errorf("most: given up after %v", took)
		}
		balanced(t, report)
		r.owners()
	})
	synctest.Test(t, func(t *testing.T) { // one of one
		r := newRig(t, "u1")
		defer r.set.Close()
		report := r.holdAndRelease("b", func() { r.b.banned["u1"] = true })
		if took := report.Ended.Sub(report.Started); report.Failed != 1 || len(report.Named) != 1 || report.Named[0].Cause != string(backend.CauseAttach) || took > 5*time.Second {
			t.Errorf("one of one: %+v, after %v", report, took)
		}
		balanced(t, report)
	})
	for name, unfit := range map[string]func(*rig){
		"it has forgotten the transaction": func(r *rig) { r.b.abortLocked() },
		"its process ends":                 func(r *rig) { r.b.start() },
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, r *rig) {
				report := r.holdAndRelease("b", func() {
					r.sessions.attach = causes("u2", backend.CauseAttach)
					first := true
					r.b.fault = func(verb string) fault {
						if verb == "STATUS" && first {
							first = false
							r.sessions.attach = nil
							unfit(r)
						}
						return fault{}
					}
				})
				if report.State != StateDone || report.Moved != 3 || len(report.Named) != 0 {
					t.Errorf("%+v", report)
				}
				r.owners()
			})
		})
	}
	t.Run("it cannot be asked", func(t *testing.T) {
		in(t, func(t *testing.T, r *rig) {
			report := r.holdAndRelease("b", func() {
				r.sessions.attach = causes("u2", backend.CauseAttach)
				attached := false
				r.sessions.before = func(call string) { attached = attached || call == "Attach" }
				r.b.fault = func(verb string) fault {
					if verb == "CONNECT" && attached && r.sessions.attach != nil {
						r.sessions.attach = nil
						return fault{err: errLost}
					}
					return fault{}
				}
			})
			if report.State != StateDone || report.Moved != 3 || len(report.Named) != 0 {
				t.Errorf("%+v", report)
			}
			r.owners()
		})
	})
	t.Run("it does not say", func(t *testing.T) {
		in(t, func(t *testing.T, r *rig) {
			report := r.holdAndRelease("b", func() {
				r.sessions.attach = causes("u2", backend.CauseAttach)
				r.b.fault = func(verb string) fault {
					if verb == "STATUS" && r.sessions.attach != nil {
						r.sessions.attach = nil
						return fault{err: errLost}
					}
					return fault{}
				}
			})
			if report.State != StateDone || report.Moved != 3 || len(report.Named) != 0 {
				t.Errorf("%+v", report)
			}
			r.owners()
		})
	})
}

// A proxy that does not say whom it has thawed gets no second try: the move reverts.
func TestNotBegunAnewWithoutAThaw(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		r.b.taken = "u2"
		r.sessions.answer = func(call string, m backend.Moved) backend.Moved {
			if call == "Thaw" && m.U == "u1" {
				m.Cause = backend.CauseTimeout
			}
			return m
		}
		report, err := r.drain(Request{})
		if err != nil || report.State != StateReverted || report.Moved != 0 {
			t.Errorf("%+v, %v", report, err)
		}
		if n := len(r.b.kicks); n != 1 {
			t.Errorf("%d imports", n)
		}
		balanced(t, report)
		r.owners()
	})
}

// Where somebody cannot move and the two ircds cannot be had once more, the move reverts.
func TestNotBegunAnewWithoutTheIrcds(t *testing.T) {
	for name, of := range map[string]func(*rig) *fakeIrcd{"source": func(r *rig) *fakeIrcd { return r.a }, "destination": func(r *rig) *fakeIrcd { return r.b }} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, r *rig) {
				r.b.taken = "u2"
				conflict := false
				r.b.fault = func(verb string) fault {
					conflict = conflict || verb == "PREPARE"
					if of(r) == r.b && conflict && verb == "CONNECT" {
						return fault{err: errLost}
					}
					return fault{}
				}
				r.a.fault = func(verb string) fault {
					if of(r) == r.a && conflict && verb == "CONNECT" {
						return fault{err: errLost}
					}
					return fault{}
				}
				report, err := r.drain(Request{})
				if err != nil || report.State != StateReverted || report.Moved != 0 || len(report.Named) != 1 || report.Named[0].Session != "u2" {
					t.Errorf("%+v, %v", report, err)
				}
				balanced(t, report)
			})
		})
	}
}

// A rehearsal that fails says where, and leaves nothing.
func TestDryRunThatFails(t *testing.T) {
	refused := fault{err: &protocol.Error{Code: protocol.CodeInternal}}
	for name, c := range map[string]struct {
		fault func(*rig)
		step  Step
		who   string
	}{
		"import":  {func(r *rig) { r.b.fault = on("IMPORT", 1, refused) }, StepPush, "b"},
		"record":  {func(r *rig) { r.b.fault = on("RECORD", 1, refused) }, StepPull, "a"},
		"export":  {func(r *rig) { r.a.fault = on("EXPORT", 1, refused) }, StepPull, "a"},
		"prepare": {func(r *rig) { r.b.fault = on("PREPARE", 1, refused) }, StepPush, "b"},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, r *rig) {
				c.fault(r)
				from, _ := r.c.find("main", "a")
				to, _ := r.c.find("main", "b")
				refs, _ := r.sessions.On(t.Context(), "main/a")
				plan := Plan{Pool: "main", From: "a", To: "b"}
				err := r.c.rehearse(t.Context(), &plan, Request{Pool: "main", From: "a", To: "b"}, from, to, refs)
				var e *Error
				if !errors.As(err, &e) || e.Step != c.step || e.Backend != c.who {
					t.Errorf("%v", err)
				}
				for tx, state := range r.b.dest {
					if state != protocol.DestAborted {
						t.Errorf("tx %s is %s at the destination", tx, state)
					}
				}
			})
		})
	}
}

// A drain without a driver is a move like any other to whoever asks for it.
func TestDrainOfARelayBackendIsReported(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		r.relayTo(t)
		r.sessions.at["u3"] = "main/b"
		m, err := r.c.Drain(Request{Pool: "main", From: "b", Actor: "test"})
		if err != nil {
			t.Fatal(err)
		}
		report, found := r.c.Move(m.ID())
		if !found || len(r.c.Moves()) != 1 || report.State != StateDone || report.Left != 1 || report.Attempted != 1 || !strings.Contains(report.Note, "no driver") {
			t.Errorf("found %v: %+v", found, report)
		}
		if b, _ := r.c.find("main", "b"); b.Admin() != backend.Drain {
			t.Errorf("b is in %s", b.Admin())
		}
		if r.sessions.at["u3"] != "main/b" || len(r.c.active) > 0 {
			t.Errorf("u3 is at %q, active %v", r.sessions.at["u3"], r.c.active)
		}
	})
}

// Each step of a move is told with its time, and together they are all of it.
func TestTimesOfTheSteps(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		r.a.fault = on("RELEASE", 1, fault{slow: 300 * time.Millisecond})
		r.b.fault = on("PREPARE", 1, fault{slow: 200 * time.Millisecond})
		report, err := r.drain(Request{})
		if err != nil || report.State != StateDone {
			t.Fatalf("%+v, %v", report, err)
		}
		sum := 0.0
		for _, ms := range report.Took {
			sum += ms
		}
		if total := float64(report.Ended.Sub(report.Started).Microseconds()) / 1000; sum != total {
			t.Errorf("%v are %v ms of %v", report.Took, sum, total)
		}
		if report.Took[StepRelease] < 300 || report.Took[StepPush] < 200 || report.Took[StepCheck] > 100 {
			t.Errorf("%v", report.Took)
		}
	})
}

// What the disk has not done in time is a failure for all that comes later: nobody builds on half a journal.
func TestJournalAfterADiskThatHung(t *testing.T) {
	hold := make(chan bool)
	j, err := createJournal(t.Context(), t.TempDir(), "m", func(f *os.File) error { <-hold; return nil })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	mark := protocol.NewMessage("RELEASED", "tx", token(16))
	if err := j.sync(ctx, mark); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), j.Path()) {
		t.Errorf("a disk that hangs: %v", err)
	}
	close(hold)
	if err := j.mark(mark); err == nil {
		t.Error("a mark behind what was given up")
	}
	if err := j.sync(t.Context(), mark); err == nil {
		t.Error("a sync behind what was given up")
	}
	j.leave(t.Context())
}

func TestJournalThatCannotBeMade(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := createJournal(t.Context(), filepath.Join(file, "journals"), "m", (*os.File).Sync); err == nil || !strings.Contains(err.Error(), "journal directory") {
		t.Errorf("below a file: %v", err)
	}
	j, err := createJournal(t.Context(), dir, "m", (*os.File).Sync)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := createJournal(t.Context(), dir, "m", (*os.File).Sync); !errors.Is(err, os.ErrExist) {
		t.Errorf("another of that name: %v", err)
	}
	if _, err := os.Stat(j.Path()); err != nil {
		t.Errorf("the first: %v", err)
	}
	j.leave(t.Context())
}
