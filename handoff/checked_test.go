package handoff

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff/protocol"
	"github.com/ircferry/ircferry/internal/config"
)

// What a command finds by the checks of health, and what it says when it does not.

// healthy has the checks find both ircds.
func (r *rig) healthy() {
	r.t.Helper()
	r.checked.Store(true)
	for _, name := range []string{"a", "b"} {
		b, _ := r.c.find("main", name)
		b.Recheck()
	}
	time.Sleep(time.Second) // of the bubble
	synctest.Wait()
}

// reconfigured changes the pool of the rig.
func (r *rig) reconfigured(change func(*config.Pool)) {
	r.t.Helper()
	from, _ := r.c.find("main", "a")
	pool := from.Pool().Config()
	pool.Backends = slices.Clone(pool.Backends)
	change(&pool)
	if err := r.set.Apply(map[string]config.Pool{"main": pool}); err != nil {
		r.t.Fatal(err)
	}
	synctest.Wait()
}

func TestDrainFindsItsDestination(t *testing.T) {
	for _, to := range []string{"", "b"} {
		in(t, func(t *testing.T, r *rig) {
			r.healthy()
			m, err := r.c.Drain(Request{Pool: "main", From: "a", To: to})
			if err != nil {
				t.Fatal(err)
			}
			if report := r.await(m); report.State != StateDone || report.Moved != 3 || report.To != "b" || report.Kind != KindDrain {
				t.Errorf("%+v", report)
			}
			r.owners()
		})
	}
	in(t, func(t *testing.T, r *rig) {
		r.healthy()
		r.reconfigured(func(p *config.Pool) { p.Topology = config.Linked })
		if _, err := r.c.Drain(Request{Pool: "main", From: "a", To: "b"}); !isRefused(err) || !strings.Contains(err.Error(), "is one of linked servers") {
			t.Errorf("of a linked pool: %v", err)
		}
	})
	in(t, func(t *testing.T, r *rig) {
		r.healthy()
		for _, to := range []string{"z", "a"} {
			if _, err := r.c.Drain(Request{Pool: "main", From: "a", To: to}); err == nil || to == "z" && !strings.Contains(err.Error(), `no backend "z"`) {
				t.Errorf("to %s: %v", to, err)
			}
		}
		if from, _ := r.c.find("main", "a"); from.Admin() != backend.Ready || len(r.c.Moves()) > 0 {
			t.Errorf("a is %s, %d moves", from.Admin(), len(r.c.Moves()))
		}
	})
}

// A dry run by the operator's command says what is in the way, or what the move would do, and leaves nothing.
func TestDryRunByTheCommand(t *testing.T) {
	refusal := &protocol.Error{Code: protocol.CodeInternal}
	for name, c := range map[string]struct {
		change  func(*rig)
		req     Request
		refuses string
		err     string
		step    Step
		who     string
	}{
		"all is well":           {func(*rig) {}, Request{From: "a"}, "", "", "", ""},
		"to a backend by name":  {func(*rig) {}, Request{From: "a", To: "b"}, "", "", "", ""},
		"no such backend":       {func(*rig) {}, Request{From: "z"}, "", `no backend "z"`, "", ""},
		"no such destination":   {func(*rig) {}, Request{From: "a", To: "z"}, "", `no backend "z"`, "", ""},
		"to itself":             {func(*rig) {}, Request{From: "a", To: "a"}, "is the backend that is drained", "", "", ""},
		"of one without driver": {func(r *rig) { r.relayTo(r.t) }, Request{From: "b"}, "main/b has no driver: its sessions would stay", "", "", ""},
		"of a linked pool": {func(r *rig) {
			r.reconfigured(func(p *config.Pool) { p.Topology = config.Linked })
		}, Request{From: "a"}, "is one of linked servers", "", "", ""},
		"without descriptors":            {func(r *rig) { r.sessions.limit = 10 }, Request{From: "a"}, "descriptors", "", "", ""},
		"too many users":                 {func(r *rig) { r.b.hello.MaxUsers = 2 }, Request{From: "a"}, "main/b takes 2 users, has 0, and 3 would come", "", "", ""},
		"the proxy does not say":         {func(r *rig) { r.sessions.fails = func(string) error { return errLost } }, Request{From: "a"}, "", "connection reset", StepCheck, "main/a"},
		"the source cannot be had":       {func(r *rig) { r.a.fault = on("CONNECT", 1, fault{err: errLost}) }, Request{From: "a"}, "", "connection reset", StepCheck, "main/a"},
		"the destination cannot be had":  {func(r *rig) { r.b.fault = on("CONNECT", 1, fault{err: errLost}) }, Request{From: "a"}, "", "connection reset", StepCheck, "main/b"},
		"the destination takes nothing":  {func(r *rig) { r.b.fault = on("IMPORT", 1, fault{err: refusal}) }, Request{From: "a"}, "", "internal", StepPush, "b"},
		"a record that makes no sense":   {func(r *rig) { r.a.extra = "u1"; r.a.live["u1"] = true }, Request{From: "a"}, "", "u1", StepPull, "a"},
		"a link that nobody answers for": {func(r *rig) { r.link("leaf.example"); r.b.fault = on("GREET", 1, fault{err: errLost}) }, Request{From: "a"}, "", "connection reset", StepPush, "b"},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, r *rig) {
				r.healthy()
				c.change(r)
				c.req.Pool = "main"
				plan, err := r.c.DryRun(t.Context(), c.req)
				if c.err == "" && err != nil || !strings.Contains(errText(err), c.err) {
					t.Errorf("error %v, want %q", err, c.err)
				}
				var at *Error
				if errors.As(err, &at); c.step != "" && (at == nil || at.Step != c.step || at.Backend != c.who) {
					t.Errorf("error at %+v, want %s of %s", at, c.step, c.who)
				}
				if got := strings.Join(plan.Refusals, "; "); c.refuses == "" && got != "" || !strings.Contains(got, c.refuses) {
					t.Errorf("refusals %q, want %q", got, c.refuses)
				}
				if c.err == "" && c.refuses == "" && (plan.To != "b" || plan.Users != 3) {
					t.Errorf("%+v", plan)
				}
				if len(r.c.rehearsing) > 0 || len(r.a.source) > 0 || r.b.imports != nil || len(journals(t, r.dir)) > 0 {
					t.Errorf("left behind: %v, %v, %v", r.c.rehearsing, r.a.source, r.b.imports)
				}
				r.leftOpen()
			})
		})
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// A drain of a backend without a driver is refused if new clients would have nowhere to go.
func TestDrainOfTheLastBackendWithoutADriver(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		r.relayTo(t)
		r.reconfigured(func(p *config.Pool) { p.Topology = config.Linked })
		if _, err := r.c.Drain(Request{Pool: "main", From: "b"}); !isRefused(err) || !strings.Contains(err.Error(), "is the last usable backend of its pool: new clients") {
			t.Errorf("%v", err)
		}
		if b, _ := r.c.find("main", "b"); b.Admin() != backend.Ready {
			t.Errorf("b is %s", b.Admin())
		}
		r.healthy()
		if m, err := r.c.Drain(Request{Pool: "main", From: "b"}); err != nil || m.Report().State != StateDone {
			t.Errorf("beside one that is up: %v", err)
		}
	})
	in(t, func(t *testing.T, r *rig) {
		r.relayTo(t)
		hold, err := r.c.Hold(Request{Pool: "main", From: "a"})
		if err != nil {
			t.Fatal(err)
		}
		<-hold.Parked()
		if _, err := r.c.Drain(Request{Pool: "main", From: "b"}); !isRefused(err) || !strings.Contains(err.Error(), "are held by move "+hold.ID()) {
			t.Errorf("beside a hold: %v", err)
		}
		if err := r.c.Cancel(hold.ID()); err != nil {
			t.Fatal(err)
		}
		r.await(hold)
	})
}

// Journals that cannot be read, or put aside, stop the start, or are told by their path.
func TestJournalsThatCannotBeTakenOver(t *testing.T) {
	if _, _, err := New(Options{Journals: "["}); err == nil || !strings.Contains(err.Error(), "look for journals in [") {
		t.Errorf("no directory: %v", err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "x.journal")
	if err := os.WriteFile(path, []byte("MOVE id=x pool=main from=a\nno line\nRELEASE tx=1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(path+".interrupted", "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, _, err := New(Options{Journals: dir}); err == nil || !strings.Contains(err.Error(), "put journal aside") {
		t.Errorf("in the way: %v", err)
	}
	if err := os.RemoveAll(path + ".interrupted"); err != nil {
		t.Fatal(err)
	}
	_, found, err := New(Options{Journals: dir})
	if err != nil || len(found) != 1 || found[0].ID != "x" || found[0].Path != path+".interrupted" || found[0].Released {
		t.Errorf("%+v, %v", found, err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "y.journal"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, found, err := New(Options{Journals: dir}); err != nil || len(found) != 1 || found[0].ID != "y" {
		t.Errorf("a directory: %+v, %v", found, err)
	}
	ended := filepath.Join(dir, "z.journal")
	if err := os.WriteFile(ended, []byte("MOVE id=z pool=main from=a\nABORTED tx=1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, found, err := New(Options{Journals: dir}); err != nil || len(found) != 0 {
		t.Errorf("an ended move: %+v, %v", found, err)
	}
	if _, err := os.Stat(ended); !os.IsNotExist(err) {
		t.Errorf("its journal: %v", err)
	}
}

// A destination that tells no address for streams takes nobody, and nobody is frozen for it.
func TestDestinationWithoutAnAddressForStreams(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		r.b.hello.Stream = "nowhere"
		report, err := r.drain(Request{})
		if err != nil || report.State != StateReverted || !strings.Contains(report.Error, "prepare main/a: stream address of main/b") || r.sessions.longest > 0 {
			t.Errorf("%+v, %v", report, err)
		}
		balanced(t, report)
		r.owners()
	})
}

// Whatever else than committed an ircd says of a transaction whose COMMIT was not answered, the users are given to it anew.
func TestWhatBecameOfACommit(t *testing.T) {
	for name, state := range map[string]protocol.DestState{"it was aborted": protocol.DestAborted, "it is half built": protocol.DestStaging, "it was forgotten": ""} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, r *rig) {
				lose := on("COMMIT", 1, fault{err: errLost})
				r.b.fault = func(verb string) fault {
					f := lose(verb)
					if f.err != nil {
						tx := r.b.imports.tx
						if state != protocol.DestStaging {
							r.b.abortLocked()
						}
						r.b.dest[tx] = state
					}
					return f
				}
				report, err := r.drain(Request{})
				if err != nil || report.State != StateDone || report.Moved != 3 || len(r.b.kicks) != 2 {
					t.Errorf("%d imports: %+v, %v", len(r.b.kicks), report, err)
				}
				if took := report.Ended.Sub(report.Started); took > 5*time.Second {
					t.Errorf("it took %v", took)
				}
				balanced(t, report)
				r.owners()
			})
		})
	}
}

// An ircd that never says whether it has committed has lost the users when the park time is over: their streams are closed, so that nobody is live there, and
// the old ircd takes them back.
func TestCommitOfWhichNobodyEverHears(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		lose := on("COMMIT", 1, fault{err: errLost, doIt: true})
		r.b.fault = func(verb string) fault {
			f := lose(verb)
			r.b.hidden = r.b.hidden || f.err != nil
			return f
		}
		report, err := r.drain(Request{})
		if err != nil || report.State != StateReverted || report.Reverted != 3 || len(r.b.live) > 0 || !strings.Contains(report.Error, "the users were put back into main/a") {
			t.Errorf("%+v, %v; live in b: %v", report, err, r.b.live)
		}
		if took := report.Ended.Sub(report.Started); took < 10*time.Minute || took > 11*time.Minute {
			t.Errorf("it took %v", took)
		}
		if left := journals(t, r.dir); len(left) > 0 {
			t.Errorf("journals: %v", left)
		}
		balanced(t, report)
		r.owners()
	})
}

// An older destination has to be given all anew without who has gone, and each step of that may fail: then the move reverts.
func TestBuildAnewThatFails(t *testing.T) {
	for name, c := range map[string]struct {
		verb string
		nth  int
		says string
	}{
		"abort":            {"ABORT", 1, "import anew without 1 sessions that ended"},
		"import":           {"IMPORT", 2, "import anew without 1 sessions that ended"},
		"the first record": {"RECORD", 4, "pass record on to main/b"},
		"the last record":  {"RECORD", 5, "pass record on to main/b"},
		"prepare":          {"PREPARE", 1, "prepare: "},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, r *rig) {
				r.b.older = true
				r.sessions.before = func(call string) {
					if call == "ReadUp" {
						r.sessions.mu.Lock()
						defer r.sessions.mu.Unlock()
						r.sessions.end("u2")
					}
				}
				r.b.fault = on(c.verb, c.nth, fault{err: &protocol.Error{Code: protocol.CodeInternal}})
				report, err := r.drain(Request{})
				if err != nil || report.State != StateReverted || report.Reverted != 2 || report.Left != 1 || r.a.quit != "" {
					t.Errorf("%+v, %v", report, err)
				}
				if !strings.HasPrefix(report.Error, "push main/b: "+c.says) {
					t.Errorf("error %q", report.Error)
				}
				balanced(t, report)
				r.owners()
			})
		})
	}
	in(t, func(t *testing.T, r *rig) { // and another one goes meanwhile
		r.b.older = true
		attaches := 0
		r.sessions.before = func(call string) {
			r.sessions.mu.Lock()
			defer r.sessions.mu.Unlock()
			switch call {
			case "ReadUp":
				r.sessions.end("u2")
			case "Attach":
				if attaches++; attaches == 4 {
					r.sessions.end("u3")
				}
			}
		}
		report, err := r.drain(Request{})
		if err != nil || report.State != StateReverted || !strings.Contains(report.Error, "1 more sessions ended meanwhile") {
			t.Errorf("%d times attached: %+v, %v", attaches, report, err)
		}
		balanced(t, report)
		r.owners()
	})
}
