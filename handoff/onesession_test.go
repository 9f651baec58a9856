package handoff

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff/protocol"
)

// Whom a peer names is looked up in the move: a session of another pool is nobody's to end.
func TestAPeerNamesAStranger(t *testing.T) {
	conflict := func(r *rig) func(string) fault {
		n := 0
		return func(verb string) fault {
			if r.b.notes.Conflicts = nil; verb == "PREPARE" {
				if n++; n == 1 {
					r.b.notes.Conflicts = []protocol.Note{{U: "z9", Code: "nick-in-use"}}
				}
			}
			return fault{}
		}
	}
	for name, f := range map[string]func(r *rig) func(string) fault{
		"CONFLICT": conflict,
		"ERROR of COMMIT": func(*rig) func(string) fault {
			return on("COMMIT", 1, fault{err: refusal(protocol.CodeNotAttached, "", "z9")})
		},
		"ERROR of PREPARE": func(*rig) func(string) fault {
			return on("PREPARE", 1, fault{err: refusal(protocol.CodeBadRecord, "", "z9")})
		},
	} {
		in(t, func(t *testing.T, r *rig) {
			r.sessions.at["z9"], r.sessions.streams["z9"] = "other/z", newFakeIrcd("z").open("z9")
			report := r.holdAndRelease("b", func() { r.b.fault = f(r) })
			if report.State != StateDone || report.Moved != 3 {
				t.Errorf("%s: %+v", name, report)
			}
			if r.sessions.at["z9"] != "other/z" {
				t.Errorf("%s: the session of another pool is at %q", name, r.sessions.at["z9"])
			}
		})
	}
}

// Before the release a conflict of a stranger is a lie of the ircd's, and nobody's blame.
func TestAPeerNamesAStrangerBeforeTheRelease(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		r.b.notes.Conflicts = []protocol.Note{{U: "z9", Code: "nick-in-use"}}
		report, err := r.drain(Request{})
		if err != nil || report.State != StateReverted || len(report.Named) > 0 || !strings.Contains(report.Error, errStranger.Error()) {
			t.Errorf("%+v, %v", report, err)
		}
		r.owners()
	})
}

// Answers of the proxy that name a session twice, or another, are those of whom was asked.
func TestOutcomesAreOneForEach(t *testing.T) {
	got := outcomes([]string{"a", "b", "c"}, []backend.Moved{{U: "b"}, {U: "x"}, {U: "b", Cause: backend.CauseGone}, {U: "a"}}, backend.CauseTimeout)
	if len(got) != 3 || got[0].U != "a" || got[1].Cause != "" || got[2] != (backend.Moved{U: "c", Cause: backend.CauseTimeout}) {
		t.Errorf("%+v", got)
	}
}

// Nothing begins after Close.
func TestNothingBeginsAfterClose(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		if err := r.c.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		if report, err := r.drain(Request{}); !isRefused(err) {
			t.Errorf("drain: %+v, %v", report, err)
		}
		if _, err := r.c.Hold(Request{Pool: "main", From: "a"}); !isRefused(err) {
			t.Errorf("hold: %v", err)
		}
		if plan, err := r.c.DryRun(t.Context(), Request{Pool: "main", From: "a", To: "b"}); err == nil && len(plan.Refusals) == 0 {
			t.Errorf("dry run: %+v", plan)
		}
		if _, err := r.c.claimRehearsal("main"); err != errClosed {
			t.Errorf("rehearsal: %v", err)
		}
		if r.sessions.gated || len(journals(t, r.dir)) > 0 {
			t.Error("something was begun")
		}
	})
}

// One session that cannot move is left where it is, if nobody who moves can see it there; else the move reverts and names it.
func TestOneSessionThatCannotMove(t *testing.T) {
	for name, c := range map[string]struct {
		trouble func(*rig)
		sea     []string
		strict  bool
		cause   backend.Cause
		state   State
	}{
		"a stream that is refused":             {func(r *rig) { r.b.banned["u2"] = true }, nil, false, backend.CauseAttach, StateDone},
		"a nick that is taken":                 {func(r *rig) { r.b.taken = "u2" }, nil, false, backend.CauseConflict, StateDone},
		"alone on its channel":                 {func(r *rig) { r.b.taken = "u2" }, []string{"u2"}, false, backend.CauseConflict, StateDone},
		"on a channel with others":             {func(r *rig) { r.b.taken = "u2" }, []string{"u1", "u2"}, false, backend.CauseConflict, StateReverted},
		"refused, on a channel with others":    {func(r *rig) { r.b.banned["u2"] = true }, []string{"u1", "u2"}, false, backend.CauseAttach, StateReverted},
		"under --strict":                       {func(r *rig) { r.b.taken = "u2" }, nil, true, backend.CauseConflict, StateReverted},
		"a stream that is refused, --strict":   {func(r *rig) { r.b.banned["u2"] = true }, nil, true, backend.CauseAttach, StateReverted},
		"a stream that times out, over and on": {func(r *rig) { r.sessions.attach = causes("u2", backend.CauseTimeout) }, nil, false, backend.CauseTimeout, StateDone},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, r *rig) {
				r.a.sea = c.sea
				c.trouble(r)
				report, err := r.drain(Request{Strict: c.strict})
				if err != nil || report.State != c.state || len(report.Named) != 1 || report.Named[0].Session != "u2" || report.Named[0].Cause != string(c.cause) {
					t.Fatalf("%+v, %v", report, err)
				}
				if text := report.Named[0].Text; (c.cause == backend.CauseConflict) != strings.Contains(text, "nick-in-use: bob has the nick") {
					t.Errorf("the report says %q of it", text)
				}
				if c.state == StateDone && (report.Moved != 2 || report.Left != 1) || c.state == StateReverted && (report.Reverted != 3 || !strings.Contains(report.Error, "u2")) {
					t.Errorf("%+v", report)
				}
				if r.sessions.at["u2"] != "main/a" || !r.a.live["u2"] {
					t.Errorf("u2 is at %q, live in a: %v", r.sessions.at["u2"], r.a.live["u2"])
				}
				balanced(t, report)
				r.owners()
			})
		})
	}
}

// Between the look at the channels and EXPORT whoever is left out may join one: what END tells has the last word, and a source that
// cannot tell it is asked for all or nothing.
func TestWhoIsLeftOutJoinsAChannelMeanwhile(t *testing.T) {
	for name, c := range map[string]struct {
		older, visible bool
		state          State
		says           string
	}{
		"joins":                      {state: StateReverted, says: "have joined a channel of those who move meanwhile"},
		"joins, and may see it":      {visible: true, state: StateDone},
		"of a source that tells not": {older: true, state: StateReverted, says: "u2"},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, r *rig) {
				r.b.banned["u2"], r.a.older = true, c.older
				if c.visible {
					r.a.hello.Unmovable = 1
				}
				exports := 0
				r.a.fault = func(verb string) fault {
					if verb == "EXPORT" {
						if exports++; exports == 2 { // the first was the look
							r.a.sea = []string{"u1", "u2"}
						}
					}
					return fault{}
				}
				report, err := r.drain(Request{AllowVisible: c.visible})
				if err != nil || report.State != c.state || !strings.Contains(report.Error, c.says) {
					t.Fatalf("%+v, %v", report, err)
				}
				if !r.a.live["u2"] || c.older == (exports > 1) || (r.a.quit != "") != c.visible {
					t.Errorf("u2 is live: %v; %d exports, quit %q", r.a.live["u2"], exports, r.a.quit)
				}
				balanced(t, report)
				r.owners()
			})
		})
	}
}

// A journal is found after a loss of power only if its directory was synced.
func TestJournalDirectoryIsSynced(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		var synced []string
		r.c.toDisk = func(f *os.File) error { synced = append(synced, f.Name()); return f.Sync() }
		released := 0
		r.a.fault = func(verb string) fault {
			if verb == "RELEASE" {
				released = len(synced)
			}
			return fault{}
		}
		if report, err := r.drain(Request{}); err != nil || report.State != StateDone {
			t.Fatalf("%+v, %v", report, err)
		}
		if !slices.Contains(synced[:released], r.dir) {
			t.Errorf("synced before RELEASE: %v", synced[:released])
		}
	})
	failed := errors.New("no")
	in(t, func(t *testing.T, r *rig) {
		r.c.toDisk = func(f *os.File) error {
			if f.Name() == r.dir {
				return failed
			}
			return nil
		}
		if report, err := r.drain(Request{}); err != nil || report.State != StateReverted || !strings.Contains(report.Error, "directory") {
			t.Errorf("%+v, %v", report, err)
		}
		r.owners()
	})
}
