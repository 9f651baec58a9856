package handoff

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff/protocol"
	"github.com/ircferry/ircferry/internal/config"
)

// in runs a test with a rig of three users at a in a bubble, where time costs nothing.
func in(t *testing.T, f func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "u1", "u2", "u3")
		defer func() { r.set.Close() }()
		f(t, r)
	})
}

// on answers a fault for the nth time that a verb is asked, and none otherwise.
func on(verb string, n int, f fault) func(string) fault {
	seen := 0
	return func(v string) fault {
		if v == verb {
			if seen++; seen == n {
				return f
			}
		}
		return fault{}
	}
}

func journals(t *testing.T, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestDrainMovesEverybody(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		report, err := r.drain(Request{})
		if err != nil || report.State != StateDone || report.Moved != 3 || report.To != "b" {
			t.Fatalf("report %+v, err %v", report, err)
		}
		balanced(t, report)
		r.owners()
		if x := r.sessions.splices["u1"]; string(x.RQ) != "PRIVMSG x :y\r\n" || string(x.SQ) != "sq" {
			t.Errorf("queues did not come along: %+v", x)
		}
		if left := journals(t, r.dir); len(left) > 0 {
			t.Errorf("journals left: %v", left)
		}
		from, _ := r.c.find("main", "a")
		if from.Admin() != backend.Drain || from.Pool().Serving() != "b" {
			t.Errorf("a is %s, serving is %s", from.Admin(), from.Pool().Serving())
		}
	})
}

// The failure table of doc.go, before the point of no return: everybody is on the old backend and live in it only
// (lessons C3.17, C3.18, C3.21, C3.23).
func TestC3_17_18_21_23FailureBeforeReleaseReverts(t *testing.T) {
	refusal := &protocol.Error{Code: "refused", Text: "no"}
	for name, c := range map[string]struct {
		break_ func(*rig)
		step   Step
		req    Request
	}{
		"import refused": {func(r *rig) { r.b.fault = on("IMPORT", 1, fault{err: refusal}) }, StepPrepare, Request{}},
		"a stream cannot be attached, under --strict": {func(r *rig) { r.sessions.attach = causes("u2", backend.CauseAttach) }, StepPrepare, Request{Strict: true}},
		"source refuses export":                       {func(r *rig) { r.a.fault = on("EXPORT", 1, fault{err: refusal}) }, StepPull, Request{}},
		"source stalls in export":                     {func(r *rig) { r.a.fault = on("EXPORT", 1, fault{stall: true}) }, StepPull, Request{}},
		"connection lost in export":                   {func(r *rig) { r.a.fault = on("EXPORT", 1, fault{err: errLost, doIt: true}) }, StepPull, Request{}},
		"source lies about its counts":                {func(r *rig) { r.sessions.readUp = causes("u2", backend.CauseCount) }, StepPull, Request{}},
		"stream shorter than its count":               {func(r *rig) { r.sessions.readUp = causes("u2", backend.CauseBehind) }, StepPull, Request{}},
		"old stream stalls":                           {func(r *rig) { r.sessions.readUp = causes("u2", backend.CauseTimeout) }, StepPull, Request{}},
		"destination refuses records":                 {func(r *rig) { r.b.fault = on("PREPARE", 1, fault{err: refusal}) }, StepPush, Request{}},
		"destination stalls":                          {func(r *rig) { r.b.fault = on("PREPARE", 1, fault{stall: true}) }, StepPush, Request{}},
		"destination dies":                            {func(r *rig) { r.b.fault = on("PREPARE", 1, fault{err: errLost, kill: true}) }, StepPush, Request{}},
		"conflict": {func(r *rig) { r.b.notes.Conflicts = []protocol.Note{{U: "u2", Code: "nick-in-use"}} },
			StepPush, Request{}},
		"users came in past us meanwhile":  {func(r *rig) { r.a.came = 1 }, StepPull, Request{}},
		"a user who was not selected":      {func(r *rig) { r.a.extra = "u9"; r.a.live["u9"] = true }, StepPull, Request{}},
		"destination lies about its users": {func(r *rig) { r.b.notes.Users = 1 }, StepPush, Request{}},
		"disk full at the intent to release": {func(r *rig) { r.c.toDisk = at(4, func() error { return syscall.ENOSPC }) },
			StepRelease, Request{}},
		"cancelled while the intent is written": {func(r *rig) {
			r.c.toDisk = at(4, func() error { return r.c.Cancel(r.c.of("main").ID()) })
		}, StepRelease, Request{}},
		"source stalls at release up to the park time": {func(r *rig) {
			r.a.fault = func(verb string) fault { return fault{stall: verb == "RELEASE" || verb == "STATUS"} }
		}, StepRelease, Request{}},
		"warning under --strict": {func(r *rig) { r.b.notes.Warns = []protocol.Note{{U: "u2", Code: "unknown-key"}} },
			StepPush, Request{Strict: true}},
		"freeze time over": {func(r *rig) {
			r.a.fault = on("RELEASE", 1, fault{err: &protocol.Error{Code: protocol.CodeResumed}})
		}, StepRelease, Request{}},
		"release lost, source resumed": {func(r *rig) { r.a.fault = on("RELEASE", 1, fault{err: errLost}) }, StepRelease, Request{}},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, r *rig) {
				c.break_(r)
				report, err := r.drain(c.req)
				var failure *Error
				if err != nil || report.State != StateReverted || report.Moved > 0 || report.Failed > 0 {
					t.Fatalf("report %+v, err %v", report, err)
				}
				if report.Error == "" || !strings.HasPrefix(report.Error, string(c.step)) || errors.As(err, &failure) {
					t.Errorf("error %q, want one of step %s", report.Error, c.step)
				}
				for u, at := range r.sessions.at {
					if at != "main/a" {
						t.Errorf("session %s is at %q", u, at)
					}
				}
				balanced(t, report)
				r.owners()
				if left := journals(t, r.dir); len(left) > 0 {
					t.Errorf("journals left: %v", left)
				}
				if from, _ := r.c.find("main", "a"); from.Admin() != backend.Ready {
					t.Errorf("a is %s after a reverted drain", from.Admin())
				}
			})
		})
	}
}

// A backend whose address was changed by a reload has sessions that its ircd knows nothing of: to hold them would let the operator stop the
// wrong one.
func TestIrcdThatKnowsNoneOfTheUsersReverts(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		r.a.live = map[string]bool{}
		m, err := r.c.Hold(Request{Pool: "main", From: "a"})
		if err != nil {
			t.Fatal(err)
		}
		if report := r.await(m); report.State != StateReverted || report.Reverted != 3 || !strings.Contains(report.Error, "none of the 3 users") {
			t.Errorf("report %+v", report)
		}
	})
}

// at runs f in the place of the nth time that a journal goes to disk.
func at(n int, f func() error) func(*os.File) error {
	return func(*os.File) error {
		if n--; n == 0 {
			return f()
		}
		return nil
	}
}

func causes(u string, c backend.Cause) map[string]backend.Cause {
	return map[string]backend.Cause{u: c}
}

// After the point of no return the users are placed somewhere, and once.
func TestFailureAfterReleaseStillPlacesEverybody(t *testing.T) {
	refusal := &protocol.Error{Code: protocol.CodeNotAttached, U: "u2"}
	for name, c := range map[string]struct {
		break_ func(*rig)
		at     string
		state  State
	}{
		"release lost, released":        {func(r *rig) { r.a.fault = on("RELEASE", 1, fault{err: errLost, doIt: true}) }, "main/b", StateDone},
		"release lost, still frozen":    {func(r *rig) { r.a.deaf, r.a.fault = true, on("RELEASE", 1, fault{stall: true}) }, "main/b", StateDone},
		"source dies after END":         {func(r *rig) { r.a.fault = on("RELEASE", 1, fault{err: errLost, kill: true}) }, "main/b", StateDone},
		"source restarts after END":     {func(r *rig) { r.a.fault = on("RELEASE", 1, fault{err: errLost, kill: true, revive: true}) }, "main/b", StateDone},
		"commit lost, committed":        {func(r *rig) { r.b.fault = on("COMMIT", 1, fault{err: errLost, doIt: true}) }, "main/b", StateDone},
		"commit lost, still prepared":   {func(r *rig) { r.b.fault = on("COMMIT", 1, fault{err: errLost}) }, "main/b", StateDone},
		"commit stalls":                 {func(r *rig) { r.b.fault = on("COMMIT", 1, fault{stall: true}) }, "main/b", StateDone},
		"commit refused once":           {func(r *rig) { r.b.fault = on("COMMIT", 1, fault{err: refusal}) }, "main/b", StateDone},
		"destination restarts at once":  {func(r *rig) { r.b.fault = on("COMMIT", 1, fault{err: errLost, kill: true, revive: true}) }, "main/b", StateDone},
		"destination dies, source back": {func(r *rig) { r.b.fault = on("COMMIT", 1, fault{err: errLost, kill: true}) }, "main/a", StateReverted},
		"destination commits and dies":  {func(r *rig) { r.b.fault = on("COMMIT", 1, fault{err: errLost, doIt: true, kill: true}) }, "main/a", StateReverted},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, r *rig) {
				c.break_(r)
				report, err := r.drain(Request{})
				if err != nil || report.State != c.state || report.Failed+report.Left > 0 {
					t.Fatalf("report %+v, err %v", report, err)
				}
				for u, at := range r.sessions.at {
					if at != c.at {
						t.Errorf("session %s is at %q, want %s", u, at, c.at)
					}
				}
				balanced(t, report)
				r.owners()
				from, _ := r.c.find("main", "a")
				if back := c.at == "main/a"; back != (from.Admin() == backend.Ready) || back != (from.Pool().Serving() == "a") {
					t.Errorf("a is in %s, serving is %s", from.Admin(), from.Pool().Serving())
				}
				if left := journals(t, r.dir); len(left) > 0 {
					t.Errorf("journals left: %v", left)
				}
			})
		})
	}
}

// A destination that dies while streams are attached to it refuses them from then on: nobody waits until the time of the step is over.
func TestDestinationDiesWhileStreamsAreAttached(t *testing.T) {
	for name, c := range map[string]struct {
		break_ func(*rig)
		state  State
		at     string
	}{
		"in prepare": {func(r *rig) { r.b.fault = on("IMPORT", 1, fault{kill: true}) }, StateReverted, "main/a"},
		"while all are frozen": {func(r *rig) {
			r.a.fault = func(verb string) fault {
				r.b.mu.Lock()
				defer r.b.mu.Unlock()
				r.b.dead = r.b.dead || verb == "EXPORT"
				return fault{}
			}
		}, StateReverted, "main/a"},
		"when it is back after the point of no return": {func(r *rig) {
			commit, again := on("COMMIT", 1, fault{err: errLost, kill: true, revive: true}), on("IMPORT", 2, fault{kill: true})
			r.b.fault = func(verb string) fault {
				if f := commit(verb); f != (fault{}) {
					return f
				}
				return again(verb)
			}
		}, StateReverted, "main/a"},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, r *rig) {
				c.break_(r)
				report, err := r.drain(Request{})
				if err != nil || report.State != c.state || report.Failed+report.Left > 0 {
					t.Fatalf("report %+v, err %v", report, err)
				}
				if took := report.Ended.Sub(report.Started) - checkedTime; took > 2*time.Second { // the checks' second is behind the thaw
					t.Errorf("everybody waited for %s: %v", took, report.Took)
				}
				for u, at := range r.sessions.at {
					if at != c.at {
						t.Errorf("session %s is at %q, want %s", u, at, c.at)
					}
				}
				balanced(t, report)
				r.owners()
			})
		})
	}
}

// Behind the point of no return a user whom the destination cannot take is closed and named, and the others do not wait for him.
func TestConflictOfAParkedUserIsHisAlone(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		m, err := r.c.Hold(Request{Pool: "main", From: "a"})
		if err != nil {
			t.Fatal(err)
		}
		<-m.Parked()
		first := true
		r.b.fault = func(verb string) fault {
			if verb == "PREPARE" {
				r.b.notes.Conflicts = nil
				if first {
					first, r.b.notes.Conflicts = false, []protocol.Note{{U: "u2", Code: "nick-in-use"}}
				}
			}
			return fault{}
		}
		if _, err := r.c.Release("main", "a", "b", "test"); err != nil {
			t.Fatal(err)
		}
		report := r.await(m)
		if report.State != StateDone || report.Moved != 2 || report.Failed != 1 || report.Named[0].Session != "u2" || report.Named[0].Cause != string(backend.CauseConflict) {
			t.Errorf("%+v", report)
		}
		balanced(t, report)
		if r.b.live["u2"] || r.sessions.at["u2"] != "ended" {
			t.Errorf("u2 is live: %v, its session at %q", r.b.live["u2"], r.sessions.at["u2"])
		}
	})
}

// Those who came in past us see the others quit, and only if the operator allows it.
func TestVisibleMoveHasAQuitReason(t *testing.T) {
	for unmovable, want := range map[int]string{0: "", 2: "Moved to another server"} {
		in(t, func(t *testing.T, r *rig) {
			r.a.hello.Unmovable, r.a.came = unmovable, unmovable
			report, err := r.drain(Request{AllowVisible: true})
			if err != nil || report.State != StateDone || r.a.quit != want {
				t.Errorf("%d who came in past us: quit reason %q, %+v, %v", unmovable, r.a.quit, report, err)
			}
		})
	}
}

// A restart is not a move to another server, and is not called one.
func TestQuitReasonOfARestart(t *testing.T) {
	for kind, want := range map[Kind]string{KindRestart: "The server is being restarted", KindHold: "The server is stopped for a while"} {
		in(t, func(t *testing.T, r *rig) {
			r.a.hello.Unmovable, r.a.came = 1, 1
			m, err := r.c.Hold(Request{Kind: kind, Pool: "main", From: "a", AllowVisible: true})
			if err != nil {
				t.Fatal(err)
			}
			<-m.Parked()
			if r.a.quit != want {
				t.Errorf("%s: quit reason %q, want %q", kind, r.a.quit, want)
			}
			if _, err := r.c.Release("main", "a", "b", "test"); err != nil {
				t.Fatal(err)
			}
			r.await(m)
		})
	}
}

func TestNobodyTakesTheUsersWithinTheParkTime(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		r.a.fault = on("RELEASE", 1, fault{doIt: true, kill: true})
		r.b.fault = on("COMMIT", 1, fault{err: errLost, kill: true})
		report, err := r.drain(Request{})
		if err != nil || report.State != StateFailed || report.Failed != 3 {
			t.Fatalf("report %+v, err %v", report, err)
		}
		balanced(t, report)
		if _, err := os.Stat(report.Journal); err != nil || report.Journal == "" {
			t.Errorf("the journal %q is not kept: %v", report.Journal, err)
		}
		info, err := os.Stat(report.Journal)
		if err == nil && info.Mode().Perm() != 0o600 {
			t.Errorf("journal mode %v", info.Mode())
		}
		if again, err := findInterrupted(r.dir, nil); err != nil || len(again) > 0 {
			t.Errorf("a move that has failed is found as interrupted: %v, %v", again, err)
		}
	})
}

func TestSourceDiesWithOutputUnread(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		r.sessions.readUp = causes("u2", backend.CauseBehind)
		r.a.fault = func(v string) fault {
			if v == "EXPORT" {
				return fault{kill: true}
			}
			return fault{}
		}
		report, err := r.drain(Request{})
		if err != nil || report.State != StateDone || report.Moved != 2 || report.Failed != 1 || report.Named[0].Cause != "behind" {
			t.Fatalf("report %+v, err %v", report, err)
		}
		balanced(t, report)
	})
}

// "It may be stopped now" is the coordinator's word, when nobody is live there any more (lesson C8.56).
func TestC8_56HoldParksUntilRelease(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		m, err := r.c.Hold(Request{Pool: "main", From: "a"})
		if err != nil {
			t.Fatal(err)
		}
		<-m.Parked()
		if len(r.a.live) > 0 || m.Report().State != StateParked {
			t.Fatalf("parked: %v live, %+v", r.a.live, m.Report())
		}
		var refused *Refused
		if _, err := r.c.Hold(Request{Pool: "main", From: "a"}); !errors.As(err, &refused) || !strings.Contains(refused.Hint, "ferryctl release main/a") {
			t.Errorf("a second move in the pool: %v", err)
		}
		r.a.mu.Lock()
		r.a.start()
		r.a.mu.Unlock()
		if _, err := r.c.Release("main", "a", "", "test"); err != nil {
			t.Fatal(err)
		}
		report := r.await(m)
		if report.State != StateDone || report.Moved != 3 || !report.Released {
			t.Fatalf("report %+v", report)
		}
		balanced(t, report)
		r.owners()
	})
}

// At the end of the park time the process of before gets its users back, if it runs: nobody is closed for a release that was forgotten, or
// for a restart that did not restart anything.
func TestParkTimeOverWhileTheOldProcessRuns(t *testing.T) {
	for _, kind := range []Kind{KindHold, KindRestart} {
		in(t, func(t *testing.T, r *rig) {
			m, err := r.c.Hold(Request{Pool: "main", From: "a", Kind: kind})
			if err != nil {
				t.Fatal(err)
			}
			<-m.Parked()
			began := time.Now()
			if kind == KindRestart {
				if _, err := r.c.Release("main", "a", "", "test"); err != nil {
					t.Fatal(err)
				}
			}
			report := r.await(m)
			if report.State != StateReverted || report.Failed != 0 || report.Error == "" || len(r.a.live) != 3 {
				t.Errorf("%s: %+v, %d live", kind, report, len(r.a.live))
			}
			if kind == KindRestart && !strings.Contains(report.Error, "still the process of before") {
				t.Errorf("the cause is not told: %s", report.Error)
			}
			if took := time.Since(began); took < 10*time.Minute {
				t.Errorf("%s: already after %v", kind, took)
			}
			if left, _ := filepath.Glob(filepath.Join(r.dir, "*")); len(left) > 0 {
				t.Errorf("%s: journals left: %v", kind, left)
			}
			balanced(t, report)
			r.owners()
		})
	}
}

// A daemon that is told to end must not wait for moves.park: its clients would hear nothing until it is killed.
func TestDaemonEndsWhileUsersAreHeld(t *testing.T) {
	for _, kind := range []Kind{KindHold, KindRestart} {
		in(t, func(t *testing.T, r *rig) {
			m, err := r.c.Hold(Request{Pool: "main", From: "a", Kind: kind})
			if err != nil {
				t.Fatal(err)
			}
			<-m.Parked()
			if kind == KindRestart { // it waits for another process
				if _, err := r.c.Release("main", "a", "", "test"); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
			}
			began := time.Now()
			if err := r.c.Close(t.Context()); err != nil || time.Since(began) > time.Second {
				t.Fatalf("Close after %v: %v", time.Since(began), err)
			}
			report := r.await(m)
			if report.State != StateFailed || report.Left != 3 || !strings.Contains(report.Error, "daemon ends") {
				t.Errorf("report %+v", report)
			}
			balanced(t, report)
			for u, at := range r.sessions.at {
				if at == "ended" {
					t.Errorf("session %s was ended by the move, not by the daemon", u)
				}
			}
			found, err := findInterrupted(r.dir, nil)
			if err != nil || len(found) != 1 || found[0].Users != 3 || !found[0].Released {
				t.Errorf("journal %+v, %v", found, err)
			}
		})
	}
}

func TestRestartWaitsForANewEpoch(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		m, err := r.c.Hold(Request{Kind: KindRestart, Pool: "main", From: "a"})
		if err != nil {
			t.Fatal(err)
		}
		<-m.Parked()
		if _, err := r.c.Release("main", "a", "", "test"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second) // of the bubble
		synctest.Wait()
		if report := m.Report(); report.State != StateRunning || len(r.a.live) > 0 {
			t.Fatalf("pushed into the process that is to be restarted: %+v", report)
		}
		r.a.mu.Lock()
		r.a.start()
		r.a.mu.Unlock()
		if report := r.await(m); report.State != StateDone || report.Moved != 3 {
			t.Fatalf("report %+v", report)
		}
		r.owners()
	})
}

// Channels that somebody has made in the meantime give way to those of the users behind the point of no return, and where the users
// belong: never in a move that can still go back, and never in an ircd that was only meant to help out.
func TestYoungerChannelsGiveWayBehindTheRelease(t *testing.T) {
	refusal := &protocol.Error{Code: protocol.CodeConflict}
	hold := func(to string) func(*testing.T, *rig) {
		return func(t *testing.T, r *rig) {
			m, err := r.c.Hold(Request{Pool: "main", From: "a"})
			if err != nil {
				t.Fatal(err)
			}
			<-m.Parked()
			if _, err := r.c.Release("main", "a", to, "test"); err != nil {
				t.Fatal(err)
			}
			if report := r.await(m); report.State != StateDone || report.Moved != 3 {
				t.Fatalf("%+v", report)
			}
		}
	}
	drain := func(fail func(r *rig)) func(*testing.T, *rig) {
		return func(t *testing.T, r *rig) {
			fail(r)
			if report, err := r.drain(Request{}); err != nil || report.Failed+report.Left > 0 {
				t.Fatalf("%+v, %v", report, err)
			}
		}
	}
	for name, c := range map[string]struct {
		move func(*testing.T, *rig)
		a, b []string // of each IMPORT there
	}{
		"a dry run":                {func(t *testing.T, r *rig) { r.dryRun(t) }, nil, []string{""}},
		"a replace":                {drain(func(*rig) {}), nil, []string{""}},
		"a replace, refused late":  {drain(func(r *rig) { r.b.fault = on("COMMIT", 1, fault{err: refusal}) }), nil, []string{"", kickReason}},
		"a replace, put back":      {drain(func(r *rig) { r.b.fault = on("COMMIT", 1, fault{err: errLost, kill: true}) }), []string{kickReason}, []string{""}},
		"a hold":                   {hold(""), []string{kickReason}, nil},
		"a hold, to another ircd":  {hold("b"), nil, []string{""}},
		"a hold that is forgotten": {func(t *testing.T, r *rig) { m, _ := r.c.Hold(Request{Pool: "main", From: "a"}); r.await(m) }, []string{kickReason}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, r *rig) {
				c.move(t, r)
				if !slices.Equal(r.a.kicks, c.a) || !slices.Equal(r.b.kicks, c.b) {
					t.Errorf("kicks at a %q, want %q; at b %q, want %q", r.a.kicks, c.a, r.b.kicks, c.b)
				}
			})
		})
	}
}

// TestConflictOfAChannelIsNamed: while users wait for a channel that should not be there, the operator is told which it is; once it is gone the
// move goes on.
func TestConflictOfAChannelIsNamed(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		m, err := r.c.Hold(Request{Kind: KindRestart, Pool: "main", From: "a"})
		if err != nil {
			t.Fatal(err)
		}
		<-m.Parked()
		notes := func(n protocol.Prepared) {
			r.a.mu.Lock()
			defer r.a.mu.Unlock()
			r.a.notes = n
		}
		notes(protocol.Prepared{Conflicts: []protocol.Note{{C: "#sea", Code: "channel-exists", Text: "another channel has the name"}}})
		r.a.mu.Lock()
		r.a.start()
		r.a.mu.Unlock()
		if _, err := r.c.Release("main", "a", "", "test"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second) // of the bubble
		synctest.Wait()
		if report := m.Report(); report.State != StateRunning || !strings.Contains(report.Note, "channel-exists #sea another channel has the name") {
			t.Errorf("report %+v", report)
		}
		notes(protocol.Prepared{})
		if report := r.await(m); report.State != StateDone || report.Moved != 3 {
			t.Errorf("report %+v", report)
		}
		r.owners()
	})
}

// TestLastTryIsForThoseWhoCanBeTaken: what is in the way of one user or channel when the park time is over costs whom it concerns, not
// everybody. Up to then the operator may end it.
func TestLastTryIsForThoseWhoCanBeTaken(t *testing.T) {
	for name, c := range map[string]struct {
		taken string
		to    string // of the release; "": none
		gone  bool   // the old process, for good
		state State
		lost  string
	}{
		"a channel, in a restart":             {"#sea", "a", false, StateReverted, "u1"},
		"a channel, in another ircd":          {"#sea", "b", true, StateDone, "u1"},
		"a nick, in a hold that is forgotten": {"u2", "", false, StateReverted, "u2"},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, r *rig) {
				r.a.sea = []string{"u1"}
				m, err := r.c.Hold(Request{Pool: "main", From: "a"})
				if err != nil {
					t.Fatal(err)
				}
				<-m.Parked()
				r.a.mu.Lock()
				r.a.taken, r.b.taken, r.a.dead = c.taken, c.taken, c.gone
				r.a.mu.Unlock()
				began := time.Now()
				if c.to != "" {
					if _, err := r.c.Release("main", "a", c.to, "test"); err != nil {
						t.Fatal(err)
					}
				}
				report := r.await(m)
				if report.State != c.state || report.Moved != 2 || report.Failed != 1 || report.Named[0].Session != c.lost ||
					report.Named[0].Cause != string(backend.CauseConflict) {
					t.Errorf("%+v", report)
				}
				if took := time.Since(began); took < 10*time.Minute {
					t.Errorf("already after %v", took)
				}
				if r.sessions.at[c.lost] != "ended" || len(journals(t, r.dir)) > 0 {
					t.Errorf("%s at %q, journals %v", c.lost, r.sessions.at[c.lost], journals(t, r.dir))
				}
				balanced(t, report)
				r.owners()
			})
		})
	}
}

func TestC3_25CancelOfAParkedMovePushesBack(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		m, err := r.c.Hold(Request{Kind: KindRestart, Pool: "main", From: "a"})
		if err != nil {
			t.Fatal(err)
		}
		<-m.Parked()
		if err := r.c.Cancel(m.ID()); err != nil {
			t.Fatal(err)
		}
		if report := r.await(m); report.State != StateDone || report.Moved != 3 || r.a.epoch != 1 || report.Released {
			t.Fatalf("report %+v", report)
		}
		r.owners()
	})
}

func TestC3_25CancelWhileItWaitsForANewEpoch(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		m, err := r.c.Hold(Request{Kind: KindRestart, Pool: "main", From: "a"})
		if err != nil {
			t.Fatal(err)
		}
		<-m.Parked()
		if _, err := r.c.Release("main", "a", "", "test"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second) // of the bubble: it waits by then
		if err := r.c.Cancel(m.ID()); err != nil {
			t.Fatal(err)
		}
		if report := r.await(m); report.State != StateDone || r.a.epoch != 1 || report.Released {
			t.Fatalf("report %+v", report)
		}
		r.owners()
	})
}

func TestC3_25CancelBeforeReleaseReverts(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		r.sessions.unreg["u3"] = true // prepare takes two seconds for it
		from, _ := r.c.find("main", "a")
		to, _ := r.c.find("main", "b")
		m, err := r.c.start(Request{Kind: KindDrain, Pool: "main", From: "a", To: "b"}, from, to)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := r.c.Cancel(m.ID()); err != nil {
			t.Fatal(err)
		}
		report := r.await(m)
		if report.State != StateReverted || !strings.Contains(report.Error, ErrCancelled.Error()) {
			t.Fatalf("report %+v", report)
		}
		r.owners()
	})
}

func TestC1_2NotRegisteredIsOpenedAnew(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		r.sessions.unreg["u2"], r.sessions.unreg["u3"] = true, true
		delete(r.a.live, "u2")
		delete(r.a.live, "u3")
		r.sessions.reopen = causes("u3", backend.CauseRegistration)
		report, err := r.drain(Request{})
		if err != nil || report.State != StateDone || report.Moved != 2 || report.Reopened != 1 || report.Failed != 1 {
			t.Fatalf("report %+v, err %v", report, err)
		}
		balanced(t, report)
	})
}

func TestC1_9QuitInFlightIsLeftToItsStream(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		delete(r.a.live, "u2") // the ircd has run its QUIT, the session does not know yet
		report, err := r.drain(Request{})
		if err != nil || report.State != StateDone || report.Moved != 2 || report.Left != 1 || report.Named[0].Cause != "not-exported" {
			t.Fatalf("report %+v, err %v", report, err)
		}
		balanced(t, report)
		if r.sessions.at["u2"] != "main/a" || r.b.live["u2"] || r.sessions.frozen["u2"] {
			t.Errorf("u2 is at %q, live in b %v", r.sessions.at["u2"], r.b.live["u2"])
		}
	})
}

func TestGuards(t *testing.T) {
	for name, c := range map[string]struct {
		make func(*rig)
		say  string
	}{
		"descriptors":      {func(r *rig) { r.sessions.limit = 60 }, "descriptors"},
		"users past us":    {func(r *rig) { r.a.hello.Unmovable = 2 }, "--allow-visible"},
		"linked servers":   {func(r *rig) { r.a.hello.Links = 1 }, "--allow-visible"},
		"destination full": {func(r *rig) { r.b.hello.MaxUsers = 2 }, "takes 2 users"},
		"C3.20 same ircd":  {func(r *rig) { r.b = r.a }, "same ircd process"},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, r *rig) {
				c.make(r)
				_, err := r.drain(Request{})
				if !isRefused(err) || !strings.Contains(err.Error(), c.say) {
					t.Fatalf("err %v, want a refusal with %q", err, c.say)
				}
				if from, _ := r.c.find("main", "a"); from.Admin() != backend.Ready {
					t.Errorf("a is %s after a refusal", from.Admin())
				}
				if r.a != r.b {
					r.owners()
				}
				if len(r.c.active) > 0 || len(journals(t, r.dir)) > 0 {
					t.Errorf("a refusal left something behind")
				}
			})
		})
	}
}

func isRefused(err error) bool {
	var refused *Refused
	return errors.As(err, &refused)
}

func TestJournalNotWritableReverts(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		r.c.opt.Journals = "/dev/full/moves"
		report, err := r.drain(Request{})
		if err != nil || report.State != StateReverted {
			t.Fatalf("report %+v, err %v", report, err)
		}
		r.owners()
	})
}

func TestInterruptedMoveIsFoundAndKept(t *testing.T) {
	dir := t.TempDir()
	ctx := t.Context()
	j, err := createJournal(ctx, dir, "1120-101010-abcd", (*os.File).Sync)
	if err != nil {
		t.Fatal(err)
	}
	j.begin(ctx, protocol.NewMessage("MOVE", "id", "1120-101010-abcd", "kind", "hold", "pool", "main", "from", "a", "to", "", "tx", token(16), "epoch", "e1", "was", "ready"))
	j.record(protocol.NewMessage("USER", "u", "u1", "nick", "n", "sq", "secret"))
	j.sync(ctx, protocol.NewMessage("RELEASE", "tx", token(16)))
	j.leave(ctx)
	_, found, err := New(Options{Journals: dir})
	if err != nil || len(found) != 1 || found[0].Users != 1 || !found[0].Released || found[0].From != "a" || found[0].Was != backend.Ready {
		t.Fatalf("found %+v, err %v", found, err)
	}
	if in := found[0]; in.ID != "1120-101010-abcd" || in.Pool != "main" || in.Kind != KindHold || len(in.Tx) != 32 || len(in.Open) != 1 || in.Open[0] != (transaction{To: "a", Tx: in.Tx}) {
		t.Errorf("found %+v", in)
	}
	if _, err := os.Stat(found[0].Path); err != nil {
		t.Error(err)
	}
	if _, again, _ := New(Options{Journals: dir}); len(again) > 0 {
		t.Errorf("reported again: %+v", again)
	}
}

// What the journal must hold before anybody could lose it: at RELEASE the records and the intent are on disk.
func TestJournalIsWrittenBeforeTheRelease(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		asked := false
		r.a.fault = func(verb string) fault {
			if verb != "RELEASE" {
				return fault{}
			}
			asked = true
			paths := journals(t, r.dir)
			if len(paths) != 1 {
				t.Errorf("journals at RELEASE: %v", paths)
				return fault{}
			}
			found, ended, err := readJournal(paths[0])
			if err != nil || ended || !found.Released || found.Users != 3 || found.From != "a" {
				t.Errorf("the journal at RELEASE says %+v, ended %v, %v", found, ended, err)
			}
			return fault{}
		}
		if report, err := r.drain(Request{}); err != nil || report.State != StateDone || !asked {
			t.Fatalf("report %+v, err %v", report, err)
		}
	})
}

// A disk that takes long is waited for before the point of no return, where max_pause bounds it, and never after it, where everybody would.
func TestNobodyWaitsForTheDiskAfterTheRelease(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		slow := false
		r.a.fault = func(verb string) fault {
			slow = slow || verb == "RELEASE"
			return fault{}
		}
		r.b.fault = on("COMMIT", 1, fault{err: errLost, kill: true, revive: true}) // so that there is an IMPORT too
		said := false
		r.c.toDisk = func(f *os.File) error {
			if slow {
				if r.sessions.gated {
					t.Error("new clients wait for the disk")
				}
				time.Sleep(20 * time.Second)
				_, said, _ = readJournal(f.Name())
			}
			return f.Sync()
		}
		report, err := r.drain(Request{})
		if err != nil || report.State != StateDone || report.Moved != 3 {
			t.Fatalf("report %+v, err %v", report, err)
		}
		for step, ms := range report.Took {
			if ms > 1000 && step != StepThaw {
				t.Errorf("everybody waited for the disk: %v", report.Took)
			}
		}
		if !said {
			t.Error("the journal was removed, and its end is not on disk")
		}
		if left := journals(t, r.dir); len(left) > 0 {
			t.Errorf("journals left: %v", left)
		}
	})
}

// What a destination keeps of a try whose conversation was lost is in the way of the next one until it is aborted: parked users must not have
// to wait for its lease, which is longer than the park time.
func TestLostTryIsAbortedBeforeTheNext(t *testing.T) {
	for name, f := range map[string]func(string) fault{
		"import lost":        on("IMPORT", 1, fault{err: errLost, doIt: true}),
		"prepare lost":       on("PREPARE", 1, fault{err: errLost, doIt: true}),
		"abort not answered": abortsStall(3),
	} {
		in(t, func(t *testing.T, r *rig) {
			m, err := r.c.Hold(Request{Pool: "main", From: "a"})
			if err != nil {
				t.Fatal(err)
			}
			<-m.Parked()
			r.b.fault = f
			if _, err := r.c.Release("main", "a", "b", "test"); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			if report := r.await(m); report.State != StateDone || report.Moved != 3 || time.Since(began) > time.Minute {
				t.Errorf("%s: after %v: %+v", name, time.Since(began), report)
			}
			r.owners()
		})
	}
}

// abortsStall loses the answer of the first PREPARE, and answers ABORT only behind n of them.
func abortsStall(n int) func(string) fault {
	prepare := on("PREPARE", 1, fault{err: errLost, doIt: true})
	return func(verb string) fault {
		if verb == "ABORT" {
			if n--; n >= 0 {
				return fault{stall: true}
			}
		}
		return prepare(verb)
	}
}

// The same for a drain that was reverted: the operator may try again at once.
func TestDrainAgainAfterARevert(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		r.b.fault = on("PREPARE", 1, fault{err: errLost, doIt: true})
		if report, err := r.drain(Request{}); err != nil || report.State != StateReverted {
			t.Fatalf("%+v, %v", report, err)
		}
		if report, err := r.drain(Request{}); err != nil || report.State != StateDone || report.Moved != 3 {
			t.Errorf("%+v, %v", report, err)
		}
		r.owners()
	})
}

// A lease has a bound in the protocol; moves.park and --timeout have none.
func TestLongerThanALease(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		r.c.opt.Limits = func() Limits { return Limits{Deadline: 2 * time.Hour, MaxPause: 5 * time.Second, Park: 2 * time.Hour} }
		if report, err := r.drain(Request{}); err != nil || report.State != StateDone {
			t.Fatalf("%+v, %v", report, err)
		}
		m, err := r.c.Hold(Request{Pool: "main", From: "b"})
		if err != nil {
			t.Fatal(err)
		}
		<-m.Parked()
		if _, err := r.c.Release("main", "b", "", "test"); err != nil {
			t.Fatal(err)
		}
		if report := r.await(m); report.State != StateDone {
			t.Errorf("%+v", report)
		}
	})
}

// A command that sets the admin state says before what to set back, so that a daemon that is killed in between leaves no backend in drain.
func TestJournalKnowsTheAdminStateBeforeItIsSet(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		from, _ := r.c.find("main", "a")
		asked := false
		r.c.toDisk = func(f *os.File) error {
			if f.Name() == r.dir {
				return nil
			}
			in, _, err := readJournal(f.Name())
			if err != nil || in.Was != backend.Ready || !asked && from.Admin() != backend.Ready {
				t.Errorf("a is in %s: %+v, %v", from.Admin(), in, err)
			}
			asked = true
			return nil
		}
		if report, err := r.drain(Request{}); err != nil || report.State != StateDone || !asked {
			t.Fatalf("report %+v, err %v", report, err)
		}
	})
}

// A hold of a linked server keeps new clients away from it alone: no gate, and the state of before comes back, however it ends.
func TestHoldOfALinkedServer(t *testing.T) {
	for _, cancel := range []bool{false, true} {
		in(t, func(t *testing.T, r *rig) {
			from, _ := r.c.find("main", "a")
			r.reconfigured(func(p *config.Pool) { p.Topology = config.Linked })
			m, err := r.c.Hold(Request{Pool: "main", From: "a"})
			if err != nil {
				t.Fatal(err)
			}
			<-m.Parked()
			if from.Admin() != backend.Drain || r.sessions.gated {
				t.Errorf("held: a is in %s, gate %v", from.Admin(), r.sessions.gated)
			}
			if cancel {
				err = r.c.Cancel(m.ID())
			} else {
				_, err = r.c.Release("main", "a", "", "test")
			}
			if err != nil {
				t.Fatal(err)
			}
			if report := r.await(m); report.State != StateDone || from.Admin() != backend.Ready {
				t.Errorf("a is in %s: %+v", from.Admin(), report)
			}
			r.owners()
		})
	}
}

func TestUserOfTwoRecordsIsRefused(t *testing.T) {
	s := newSnapshot()
	if _, err := s.add(protocol.NewMessage("USER", "u", "u1", "out", "1")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.add(protocol.NewMessage("USER", "u", "u1", "out", "2")); err == nil {
		t.Error("taken twice")
	}
}

// A restart that follows on one at once: its hold waits for the end of the first, however long the disk takes, and is not refused. The
// unit of an ircd would stop it with the users in it.
func TestHoldWaitsForTheEndOfTheMoveBefore(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		slow := false
		r.a.fault = func(verb string) fault {
			slow = slow || verb == "RELEASE"
			return fault{}
		}
		r.c.toDisk = func(f *os.File) error {
			if slow {
				slow = false
				time.Sleep(10 * time.Second)
			}
			return f.Sync()
		}
		from, _ := r.c.find("main", "a")
		to, _ := r.c.find("main", "b")
		m, err := r.c.start(Request{Kind: KindDrain, Pool: "main", From: "a", To: "b"}, from, to)
		if err != nil {
			t.Fatal(err)
		}
		for m.Report().Step != StepThaw {
			time.Sleep(time.Millisecond) // of the bubble
		}
		next, err := r.c.Hold(Request{Pool: "main", From: "b"})
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-m.Done():
		default:
			t.Error("two moves at once")
		}
		<-next.Parked()
		if err := r.c.Cancel(next.ID()); err != nil {
			t.Fatal(err)
		}
		r.await(next)
		r.owners()
	})
}
