package handoff

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff/protocol"
)

// What is not there is said, by name, and nothing is begun.
func TestCommandsForWhatIsNotThere(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		for name, command := range map[string]func(Request) error{
			"drain":   func(q Request) error { _, err := r.c.Drain(q); return err },
			"hold":    func(q Request) error { _, err := r.c.Hold(q); return err },
			"dry run": func(q Request) error { _, err := r.c.DryRun(t.Context(), q); return err },
		} {
			for _, q := range []Request{{Pool: "nowhere", From: "a"}, {Pool: "main", From: "nobody"}} {
				if err := command(q); err == nil || !strings.Contains(err.Error(), q.Pool) && !strings.Contains(err.Error(), q.From) {
					t.Errorf("%s of %s/%s: %v", name, q.Pool, q.From, err)
				}
			}
		}
		if _, err := r.c.Release("main", "nobody", "b", "test"); err == nil {
			t.Error("released what was not held")
		}
		if err := r.c.Cancel("no-such-move"); err == nil {
			t.Error("cancelled what was not begun")
		}
		if report, found := r.c.Move("no-such-move"); found {
			t.Errorf("found %+v", report)
		}
		if report, _, found := r.c.Watch("no-such-move"); found {
			t.Errorf("watched %+v", report)
		}
		if r.sessions.gated || len(r.c.Moves()) > 0 || len(journals(t, r.dir)) > 0 {
			t.Error("something was begun")
		}
	})
}

// A move can be watched to its end, and whose sessions it has is known as long as it has them.
func TestMoveIsWatched(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		m, err := r.c.Hold(Request{Pool: "main", From: "a"})
		if err != nil {
			t.Fatal(err)
		}
		<-m.Parked()
		synctest.Wait()
		report, changed, found := r.c.Watch(m.ID())
		if !found || report.State != StateParked || !r.c.Moving("main/a") || r.c.Moving("main/b") || r.c.Moving("other/a") {
			t.Errorf("found %v: %+v; moving a %v, b %v", found, report, r.c.Moving("main/a"), r.c.Moving("main/b"))
		}
		if _, err := r.c.Release("main", "a", "b", "test"); err != nil {
			t.Fatal(err)
		}
		select {
		case <-changed:
		case <-time.After(time.Minute):
			t.Error("the change is not told")
		}
		r.await(m)
		if report, found := r.c.Move(m.ID()); !found || report.State != StateDone || r.c.Moving("main/a") {
			t.Errorf("%+v; moving %v", report, r.c.Moving("main/a"))
		}
	})
}

// The newest moves are remembered.
func TestMovesAreRemembered(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		var ids []string
		for range keptMoves + 3 {
			m := newMove("id"+token(4), Request{Pool: "main", From: "a"}, func(error) {}, nil)
			ids = append(ids, m.ID())
			r.c.keep(m)
		}
		got := r.c.Moves()
		if len(got) != keptMoves {
			t.Fatalf("%d moves", len(got))
		}
		if _, found := r.c.Move(ids[2]); found {
			t.Error("the oldest is remembered")
		}
		if _, found := r.c.Move(ids[3]); !found {
			t.Error("one that is not too old is forgotten")
		}
	})
}

// The end of the daemon waits for moves, but not for ever.
func TestCloseWaitsForMoves(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		r.sessions.before = func(call string) {
			if call == "Thaw" {
				time.Sleep(3 * time.Second)
			}
		}
		r.a.fault = on("EXPORT", 1, fault{slow: 2 * time.Second})
		from, _ := r.c.find("main", "a")
		to, _ := r.c.find("main", "b")
		m, err := r.c.start(Request{Kind: KindDrain, Pool: "main", From: "a", To: "b"}, from, to)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.c.Close(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a move that thaws: %v", err)
		}
		if err := r.c.Close(t.Context()); err != nil {
			t.Error(err)
		}
		report := r.await(m)
		if report.State != StateReverted || !strings.Contains(report.Error, errDaemonEnds.Error()) {
			t.Errorf("%+v", report)
		}
		r.owners()
	})
}

// A journal of a move that has ended goes; one that cannot be read is put aside with the others.
func TestJournalsOfAnEarlierDaemon(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"ended":  "MOVE id=ended kind=drain pool=main from=a to=b tx=1 epoch=e was=ready\nRELEASE tx=1\nRELEASED tx=1\nCOMMITTED tx=1 to=b\n",
		"torn":   "MOVE id=torn kind=drain pool=main from=a to=b tx=2 epoch=e was=maint\nIMPORT tx=3 to=c\nUSER u=u1\nUSER u=u2\n",
		"broken": "MOVE id=\x01=\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name+".journal"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	found, err := findInterrupted(dir, nil)
	if err != nil || len(found) != 2 {
		t.Fatalf("%+v, %v", found, err)
	}
	broken, torn := found[0], found[1]
	if broken.ID != "broken" || broken.Pool != "" || torn.ID != "torn" || torn.Released || torn.Users != 2 || torn.Was != backend.Maint || torn.Kind != KindDrain || torn.To != "b" {
		t.Errorf("%+v\n%+v", broken, torn)
	}
	if len(torn.Open) != 2 || torn.Open[0] != (transaction{To: "b", Tx: "2"}) || torn.Open[1] != (transaction{To: "c", Tx: "3"}) {
		t.Errorf("open: %+v", torn.Open)
	}
	left, _ := filepath.Glob(filepath.Join(dir, "*"))
	if len(left) != 2 || left[0] != broken.Path || left[1] != torn.Path {
		t.Errorf("left %q, want %q and %q", left, broken.Path, torn.Path)
	}
}

// Records that make no sense are no records.
func TestRecordsThatMakeNoSense(t *testing.T) {
	for name, rec := range map[string]protocol.Message{
		"no u":  protocol.NewMessage("USER", "nick", "n", "out", "1"),
		"bad u": protocol.NewMessage("USER", "u", "a b", "nick", "n", "out", "1"),
		"bad":   protocol.NewMessage("USER", "u", "i.1", "nick", "n", "out", "x"),
	} {
		s := newSnapshot()
		if _, err := s.add(rec); err == nil || len(s.Users) > 0 || len(s.Records) > 0 {
			t.Errorf("%s: %v, %d users, %d records", name, err, len(s.Users), len(s.Records))
		}
	}
	s := newSnapshot()
	out, err := s.add(protocol.NewMessage("USER", "u", "i.1", "nick", "n", "in", "7", "out", "9", "rq", "PING", "sq", "PONG"))
	if err != nil || out.Has("rq") || out.Has("sq") || out.Has("in") || out.Has("out") || out.Get("nick") != "n" {
		t.Errorf("%v, %v", out, err)
	}
	if x := s.Users["i.1"]; x == nil || x.Nick != "n" || x.Out != 9 || string(x.RQ) != "PING" || string(x.SQ) != "PONG" {
		t.Errorf("%+v", x)
	}
}

// A destination that counts other users than it was given is not believed.
func TestDestinationThatMiscounts(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		r.b.notes.Users = 1
		if report, err := r.drain(Request{}); err != nil || report.State != StateReverted || report.Reverted != 3 || !strings.Contains(report.Error, "users") {
			t.Errorf("%+v, %v", report, err)
		}
		r.owners()
	})
	in(t, func(t *testing.T, r *rig) {
		report := r.holdAndRelease("b", func() {
			r.b.notes.Users = -1
			time.AfterFunc(time.Minute, func() {
				r.b.mu.Lock()
				defer r.b.mu.Unlock()
				r.b.notes.Users = 0
			})
		})
		if took := report.Ended.Sub(report.Started); report.State != StateDone || report.Moved != 3 || len(report.Named) > 0 || took < time.Minute {
			t.Errorf("after %v: %+v", took, report)
		}
		r.owners()
	})
}

// An error names the step and whose it is.
func TestErrorsNameStepAndBackend(t *testing.T) {
	refused := fault{err: &protocol.Error{Code: protocol.CodeInternal}}
	for want, break_ := range map[string]func(*rig){
		"pull main/a: ": func(r *rig) { r.a.fault = on("EXPORT", 1, refused) },
		"push main/b: ": func(r *rig) { r.b.fault = on("PREPARE", 1, refused) },
	} {
		in(t, func(t *testing.T, r *rig) {
			break_(r)
			if report, err := r.drain(Request{}); err != nil || report.State != StateReverted || !strings.HasPrefix(report.Error, want) {
				t.Errorf("%q, %v, want %q...", report.Error, err, want)
			}
		})
	}
}

// A report is a picture: who changes it changes nothing of the move.
func TestReportIsACopy(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		r.b.taken = "u2"
		r.b.notes.Warns = []protocol.Note{{U: "u1", Code: "unknown-key"}}
		report, err := r.drain(Request{})
		if err != nil || len(report.Named) != 1 || len(report.Warnings) != 1 || len(report.Took) == 0 {
			t.Fatalf("%+v, %v", report, err)
		}
		step, took := StepCheck, report.Took[StepCheck]
		report.Named[0].Session, report.Warnings[0].Code, report.Took[step] = "changed", "changed", took+1
		again, _ := r.c.Move(report.ID)
		if again.Named[0].Session != "u2" || again.Warnings[0].Code != "unknown-key" || again.Took[step] != took {
			t.Errorf("%+v", again)
		}
	})
}

// Clients who wait are in a hurry while something is tried for them, and not while the next try is waited for.
func TestHurryOnlyWhileSomethingIsTried(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		var hurries, most atomic.Int64
		r.c.opt.Hurry = func() func() {
			most.Store(max(most.Load(), hurries.Add(1)))
			return func() { hurries.Add(-1) }
		}
		report := r.holdAndRelease("b", func() {
			r.b.notes.Users = -1 // no try is good
			for n := 1; n < 4; n++ {
				time.AfterFunc(time.Duration(n)*7*time.Second+time.Second/3, func() {
					if now := hurries.Load(); now != 0 {
						t.Errorf("%d hurries while the next try is waited for", now)
					}
					if n == 3 {
						r.b.mu.Lock()
						defer r.b.mu.Unlock()
						r.b.notes.Users = 0
					}
				})
			}
		})
		if report.State != StateDone || report.Moved != 3 || hurries.Load() != 0 || most.Load() != 1 {
			t.Errorf("%+v; %d hurries at the end, %d at a time", report, hurries.Load(), most.Load())
		}
	})
}

// An ABORT that is answered is not asked again; one whose conversation is broken gets another.
func TestAbandonIsAskedOnce(t *testing.T) {
	for name, f := range map[string]fault{"answered": {}, "broken": {err: errLost}} {
		in(t, func(t *testing.T, r *rig) {
			asked, connects := 0, 0
			first := true
			r.b.fault = func(verb string) fault {
				switch verb {
				case "CONNECT":
					if connects++; connects == 2 && r.b.talks != 0 {
						t.Errorf("%s: the conversation of before is open still", name)
					}
				case "ABORT":
					if asked++; first {
						first = false
						return f
					}
				}
				return fault{}
			}
			to, _ := r.c.find("main", "b")
			dst, err := r.b.Connect(t.Context(), to)
			if err != nil {
				t.Fatal(err)
			}
			tx := token(16)
			if err := dst.Import(t.Context(), tx, token(16), time.Minute, "", false); err != nil {
				t.Fatal(err)
			}
			if !r.c.abandon(dst, to, tx) || r.b.dest[tx] != protocol.DestAborted {
				t.Errorf("%s: the import is %s", name, r.b.dest[tx])
			}
			if want := map[string]int{"answered": 1, "broken": 2}[name]; asked != want || connects != want {
				t.Errorf("%s: asked %d times by %d conversations, want %d", name, asked, connects, want)
			}
		})
	}
}

// Each session's pause is told, with the kind of its move.
func TestPausesAreTold(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		told := 0
		r.c.opt.Paused = func(pool string, kind Kind, pause time.Duration) {
			if pool != "main" || kind != KindDrain || pause != time.Millisecond {
				t.Errorf("%s %s %v", pool, kind, pause)
			}
			told++
		}
		r.a.fault = on("RELEASE", 1, fault{err: &protocol.Error{Code: protocol.CodeResumed}})
		if report, err := r.drain(Request{}); err != nil || report.State != StateReverted || told != 3 {
			t.Errorf("reverted: %d told; %+v, %v", told, report, err)
		}
		told = 0
		if report, err := r.drain(Request{}); err != nil || report.State != StateDone || told != 3 {
			t.Errorf("done: %d told; %+v, %v", told, report, err)
		}
	})
}

// What interrupted moves had begun is aborted, as soon as the ircd can be asked, and nobody waits for it longer than he said.
func TestForgetAbortsWhatWasBegun(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		to, _ := r.c.find("main", "b")
		dst, err := r.b.Connect(t.Context(), to)
		if err != nil {
			t.Fatal(err)
		}
		tx := token(16)
		if err := dst.Import(t.Context(), tx, token(16), 5*time.Minute, "", false); err != nil {
			t.Fatal(err)
		}
		r.b.hidden = true
		begin := time.Now()
		r.c.Forget([]Interrupted{{Pool: "main", Open: []transaction{{To: "b", Tx: tx}, {To: "nobody", Tx: tx}}}}, 10*time.Second)
		if took := time.Since(begin); took != 10*time.Second || r.b.dest[tx] != protocol.DestStaging {
			t.Errorf("after %v it is %s", took, r.b.dest[tx])
		}
		r.b.mu.Lock()
		r.b.hidden = false
		r.b.mu.Unlock()
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if r.b.dest[tx] != protocol.DestAborted {
			t.Errorf("it is %s still", r.b.dest[tx])
		}
		begin = time.Now()
		r.c.Forget([]Interrupted{{Pool: "main", Open: []transaction{{To: "b", Tx: tx}}}}, time.Minute)
		if took := time.Since(begin); took > time.Second {
			t.Errorf("waited %v for what was answered", took)
		}
	})
}

// A stream that is lost before COMMIT is attached once more, where COMMIT is refused without it, and its user goes with the others.
func TestStreamThatIsLostBeforeCommit(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		r.b.older = true
		report := r.holdAndRelease("b", func() {
			first := true
			r.b.fault = func(verb string) fault {
				if verb == "COMMIT" && first {
					first = false
					r.b.imports.streams["u2"].theirs = false
				}
				return fault{}
			}
		})
		if report.State != StateDone || report.Moved != 3 || len(report.Named) != 0 {
			t.Errorf("%+v", report)
		}
		r.owners()
	})
}

// A source that refuses the RELEASE that is asked again keeps its users.
func TestReleaseRefusedTheSecondTime(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		r.a.deaf = true
		n := 0
		r.a.fault = func(verb string) fault {
			if verb == "RELEASE" {
				switch n++; n {
				case 1:
					return fault{stall: true}
				case 2:
					return fault{err: &protocol.Error{Code: protocol.CodeInternal}}
				}
			}
			return fault{}
		}
		report, err := r.drain(Request{})
		if err != nil || report.State != StateReverted || report.Reverted != 3 || n != 2 || !strings.Contains(report.Error, "release") {
			t.Errorf("RELEASE came %d times: %+v, %v", n, report, err)
		}
		r.owners()
	})
}

// A COMMIT that is refused when it is asked again is undone there, and the users are placed anew.
func TestCommitRefusedTheSecondTime(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		report := r.holdAndRelease("b", func() {
			n := 0
			r.b.fault = func(verb string) fault {
				if verb == "COMMIT" {
					switch n++; n {
					case 1:
						return fault{err: errLost}
					case 2:
						return fault{err: &protocol.Error{Code: protocol.CodeInternal}}
					}
				}
				return fault{}
			}
		})
		if report.State != StateDone || report.Moved != 3 || len(r.b.kicks) != 2 {
			t.Errorf("%d imports: %+v", len(r.b.kicks), report)
		}
		r.owners()
	})
}
