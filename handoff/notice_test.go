package handoff

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff/protocol"
	"github.com/ircferry/ircferry/internal/config"
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

// A drain that is asked for while a move of the pool puts its users in waits for its end.
func TestDrainWaitsForTheEndOfTheMoveBefore(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		from, _ := r.c.find("main", "a")
		to, _ := r.c.find("main", "b")
		pool := from.Pool().Config()
		pool.Backends = append(slices.Clone(pool.Backends), config.Backend{Name: "c", Address: "127.0.0.1:1", Weight: 100})
		if err := r.set.Apply(map[string]config.Pool{"main": pool}); err != nil {
			t.Fatal(err)
		}
		r.b.fault = on("COMMIT", 1, fault{slow: 3 * time.Second})
		m, err := r.c.start(Request{Kind: KindDrain, Pool: "main", From: "a", To: "b"}, from, to)
		if err != nil {
			t.Fatal(err)
		}
		for m.Report().Step != StepCommit {
			time.Sleep(time.Millisecond) // of the bubble
		}
		next, err := r.c.Drain(Request{Pool: "main", From: "c"})
		if err != nil || next.Report().State != StateDone || m.Report().State != StateDone {
			t.Fatalf("%v, and the move before is %s", err, m.Report().State)
		}
		r.await(m)
		r.owners()
	})
}

// A client is drained away from only if somebody else can take new ones: ready and up.
func TestWhoIsUsableBeside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		set, err := backend.NewSet(backend.Options{Dial: func(_ context.Context, _, address string) (net.Conn, error) {
			if address == "127.0.0.1:2" && down.Load() {
				return nil, syscall.ECONNREFUSED
			}
			here, there := net.Pipe()
			there.Close()
			return here, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer set.Close()
		pool := config.Default().Pools["main"]
		pool.Topology = config.Linked
		pool.Check = config.Check{Type: config.CheckTCP, Inter: config.Duration(time.Second), Rise: 1, Fall: 1, Timeout: config.Duration(time.Second)}
		pool.Backends = []config.Backend{{Name: "a", Address: "127.0.0.1:1", Weight: 100}, {Name: "b", Address: "127.0.0.1:2", Weight: 100}}
		if err := set.Apply(map[string]config.Pool{"main": pool}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		p, _ := set.Pool("main")
		a, _ := p.Backend("a")
		b, _ := p.Backend("b")
		usable := func(what string, want bool) {
			t.Helper()
			if usableBeside(a) != want {
				t.Errorf("%s: usable %v", what, !want)
			}
		}
		usable("up", true)
		if err := b.SetAdmin(backend.Drain); err != nil {
			t.Fatal(err)
		}
		usable("in drain", false)
		if err := b.SetAdmin(backend.Ready); err != nil {
			t.Fatal(err)
		}
		usable("ready again", true)
		down.Store(true)
		time.Sleep(3 * time.Second)
		synctest.Wait()
		usable("down", false)
	})
}

func TestWatchOfWhatIsNotThere(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		if _, changed, found := r.c.Watch("nothing"); found || changed != nil {
			t.Error("found")
		}
	})
}

// What an ircd has answered, whatever it was, need not be asked again.
func TestWhatIsAnAnswer(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{{nil, true}, {fmt.Errorf("abort: %w", &protocol.Error{Code: protocol.CodeCommitted}), true}, {errLost, false}, {context.DeadlineExceeded, false}} {
		if answered(c.err) != c.want {
			t.Errorf("%v", c.err)
		}
	}
}

// An ERROR that names a user is about one of this move, or a lie.
func TestWhomAnErrorNames(t *testing.T) {
	x := &run{snap: newSnapshot()}
	if _, err := x.snap.add(protocol.NewMessage("USER", "u", "u1", "nick", "n")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		err      error
		stranger bool
	}{
		{&protocol.Error{Code: protocol.CodeBadRecord, U: "u1"}, false},
		{&protocol.Error{Code: protocol.CodeBadRecord, U: "z9"}, true},
		{&protocol.Error{Code: protocol.CodeBadRecord}, false},
		{errLost, false},
	} {
		if got := x.known(c.err); errors.Is(got, errStranger) != c.stranger || !errors.Is(got, c.err) {
			t.Errorf("%v becomes %v", c.err, got)
		}
	}
}

// A record of a user who has left, which is there to let him quit, and which the ircd cannot read costs nobody but him.
func TestRecordOfWhoHasLeftIsRefused(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		report := r.holdAndRelease("b", func() {
			r.sessions.mu.Lock()
			r.sessions.end("u2")
			r.sessions.mu.Unlock()
			r.b.fault = func(verb string) fault {
				if verb == "PREPARE" && slices.Contains(r.b.imports.users, "u2") {
					return fault{err: &protocol.Error{Code: protocol.CodeBadRecord, U: "u2"}}
				}
				return fault{}
			}
		})
		if report.State != StateDone || report.Moved != 2 || report.Left != 1 || len(r.b.kicks) != 2 {
			t.Errorf("%d imports: %+v", len(r.b.kicks), report)
		}
		if report.Ended.Sub(report.Started) > 5*time.Second {
			t.Errorf("the others waited %v", report.Ended.Sub(report.Started))
		}
		balanced(t, report)
		r.owners()
	})
}

// An ircd that is asked once more to commit what it had prepared, and does, is not asked to abort it.
func TestCommitThatIsRepeatedIsNotAborted(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		r.b.fault = on("COMMIT", 1, fault{err: errLost})
		report, err := r.drain(Request{})
		if err != nil || report.State != StateDone || report.Moved != 3 || len(r.b.kicks) != 1 || len(r.b.aborted) > 0 {
			t.Errorf("%d imports, aborted %v: %+v, %v", len(r.b.kicks), r.b.aborted, report, err)
		}
		r.owners()
	})
}

// Everything makes haste from the freeze on, and no longer than clients wait for what is under way.
func TestHurryOfADrainAndOfAHold(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		var hurries atomic.Int64
		r.c.opt.Hurry = func() func() {
			hurries.Add(1)
			return func() { hurries.Add(-1) }
		}
		asked := map[string]int64{}
		note := func(verb string) fault {
			asked[verb] = hurries.Load()
			return fault{}
		}
		r.a.fault, r.b.fault = note, note
		r.sessions.before = func(call string) { asked[call] = hurries.Load() }
		if report, err := r.drain(Request{}); err != nil || report.State != StateDone || hurries.Load() != 0 {
			t.Errorf("%d hurries at the end: %+v, %v", hurries.Load(), report, err)
		}
		for verb, want := range map[string]int64{"IMPORT": 0, "Attach": 0, "Freeze": 1, "EXPORT": 1, "RELEASE": 1, "COMMIT": 1, "Splice": 1} {
			if verb != "Attach" && asked[verb] != want { // streams are attached before the freeze and behind it
				t.Errorf("%s: %d hurries, want %d", verb, asked[verb], want)
			}
		}
	})
	in(t, func(t *testing.T, r *rig) {
		var hurries atomic.Int64
		r.c.opt.Hurry = func() func() {
			hurries.Add(1)
			return func() { hurries.Add(-1) }
		}
		m, err := r.c.Hold(Request{Pool: "main", From: "a"})
		if err != nil {
			t.Fatal(err)
		}
		<-m.Parked()
		if n := hurries.Load(); n != 0 {
			t.Errorf("%d hurries while the users are parked", n)
		}
		if err := r.c.Cancel(m.ID()); err != nil {
			t.Fatal(err)
		}
		r.await(m)
	})
}

// A source that stands still, and does not answer RELEASE twice, has its users until it has said that it has let them go.
func TestReleaseThatIsNotAnsweredTwice(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		r.a.deaf = true
		n := 0
		r.a.fault = func(verb string) fault {
			if verb == "RELEASE" {
				if n++; n < 3 {
					return fault{stall: true}
				}
			}
			return fault{}
		}
		committed := 0
		r.b.fault = func(verb string) fault {
			if verb == "COMMIT" {
				committed = n
			}
			return fault{}
		}
		report, err := r.drain(Request{})
		if err != nil || report.State != StateDone || report.Moved != 3 || committed != 3 {
			t.Errorf("committed behind RELEASE %d: %+v, %v", committed, report, err)
		}
		balanced(t, report)
		r.owners()
	})
}

// A stream that is lost and cannot be attached again is its user's trouble at once: the ircd is not asked in vain.
func TestStreamThatCannotBeAttachedAgain(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		r.b.older = true
		commits := 0
		report := r.holdAndRelease("b", func() {
			r.b.fault = func(verb string) fault {
				if verb == "COMMIT" {
					if commits++; commits == 1 {
						r.b.imports.streams["u2"].theirs = false
						r.b.banned["u2"] = true
					}
				}
				return fault{}
			}
		})
		if report.State != StateDone || report.Moved != 2 || report.Failed != 1 || commits != 2 {
			t.Errorf("%d COMMITs: %+v", commits, report)
		}
		balanced(t, report)
		r.owners()
	})
}

// Records wait in memory until there is much of them, or until they have to be on disk.
func TestJournalIsWrittenInPieces(t *testing.T) {
	j, err := createJournal(t.Context(), t.TempDir(), "m", (*os.File).Sync)
	if err != nil {
		t.Fatal(err)
	}
	defer j.leave(t.Context())
	size := func() int64 {
		t.Helper()
		if err := j.wait(t.Context(), func() error { return nil }); err != nil { // the disk has come to it
			t.Fatal(err)
		}
		info, err := os.Stat(j.Path())
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	if err := j.record(protocol.NewMessage("USER", "u", "u1")); err != nil || size() != 0 {
		t.Errorf("one record: %v, %d bytes on disk", err, size())
	}
	for range 100 {
		if err := j.record(protocol.NewMessage("USER", "u", "u1", "x", strings.Repeat("x", 1000+journalBuffer/100))); err != nil {
			t.Fatal(err)
		}
	}
	if n := size(); n < journalBuffer || len(j.buf) >= journalBuffer {
		t.Errorf("many records: %d bytes on disk, %d in memory", n, len(j.buf))
	}
}

// A move ends when the checks know the process that has the users: who asks next is told what is there now.
func TestMoveEndsWhenTheChecksKnowTheProcess(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		m, err := r.c.Hold(Request{Kind: KindRestart, Pool: "main", From: "a"})
		if err != nil {
			t.Fatal(err)
		}
		<-m.Parked()
		r.a.mu.Lock()
		r.a.start()
		r.a.mu.Unlock()
		if _, err := r.c.Release("main", "a", "", "test"); err != nil {
			t.Fatal(err)
		}
		for m.Report().Step != StepThaw {
			time.Sleep(time.Millisecond) // of the bubble
		}
		time.Sleep(checkedTime / 2)
		select {
		case <-m.Done():
			t.Error("it has ended, and no check has seen the new process")
		default:
		}
		r.checked.Store(true)
		began := time.Now()
		r.await(m)
		a, _ := r.c.find("main", "a")
		if h, _, _ := a.Hello(); h.Epoch != "a2" || a.Oper() != backend.Up || time.Since(began) > time.Second {
			t.Errorf("a is %s with epoch %q, after %v", a.Oper(), h.Epoch, time.Since(began))
		}
		r.owners()
	})
}

// Whoever waits in a pause has its PINGs answered in the name of its server, if that is known.
func TestPauseKnowsTheServersName(t *testing.T) {
	for known, want := range map[bool]string{true: "a", false: ""} {
		in(t, func(t *testing.T, r *rig) {
			r.checked.Store(known)
			a, _ := r.c.find("main", "a")
			a.Recheck()
			time.Sleep(time.Minute)
			m, err := r.c.Pause(Request{Pool: "main", From: "a"})
			if err != nil {
				t.Fatal(err)
			}
			<-m.Parked()
			r.sessions.mu.Lock()
			if got, waits := r.sessions.waits["u1"]; !waits || got != want {
				t.Errorf("known %v: waits %v in the name of %q", known, waits, got)
			}
			r.sessions.mu.Unlock()
			r.await(m)
		})
	}
}

// What would be seen is said of those who would be seen.
func TestWhatWouldBeSeenOfLinks(t *testing.T) {
	const others, services = "users there would see ours quit and join again, and ours would see them quit", "services would be away until they have linked again"
	h := hello("leaf.example", "services.example")
	for _, c := range []struct {
		names []string
		want  string
	}{
		{[]string{"leaf.example"}, others}, {[]string{"Services.example"}, services}, {[]string{"services.example", "leaf.example"}, others + "; " + services},
		{nil, others + "; " + services}, // it does not say which
	} {
		if got := wouldSee(h, c.names); got != c.want {
			t.Errorf("%v: %q, want %q", c.names, got, c.want)
		}
	}
}

// ABORTs that are owed are asked of those to whom they are owed, and stay owed until they are answered.
func TestAbortsThatAreOwed(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		to, _ := r.c.find("main", "b")
		dst, err := r.b.Connect(t.Context(), to)
		if err != nil {
			t.Fatal(err)
		}
		x := &run{owed: []transaction{{To: "a", Tx: "1"}, {To: "b", Tx: "2"}, {To: "b", Tx: "3"}}}
		r.b.fault = on("ABORT", 2, fault{err: errLost})
		if err := x.payAborts(t.Context(), dst, to); !errors.Is(err, errLost) || !slices.Equal(r.b.aborted, []string{"2"}) {
			t.Errorf("asked of b: %v, %v", r.b.aborted, err)
		}
		if len(x.owed) != 2 || x.owed[0].Tx != "1" || x.owed[1].Tx != "3" {
			t.Errorf("owed: %v", x.owed)
		}
		again, err := r.b.Connect(t.Context(), to)
		if err != nil {
			t.Fatal(err)
		}
		if err := x.payAborts(t.Context(), again, to); err != nil || !slices.Equal(r.b.aborted, []string{"2", "3"}) || len(x.owed) != 1 {
			t.Errorf("asked of b: %v, %v; owed %v", r.b.aborted, err, x.owed)
		}
	})
}

// A record that cannot be written is an error, and nothing of it is in the journal.
func TestRecordThatCannotBeWritten(t *testing.T) {
	j, err := createJournal(t.Context(), t.TempDir(), "m", (*os.File).Sync)
	if err != nil {
		t.Fatal(err)
	}
	defer j.leave(t.Context())
	if err := j.record(protocol.NewMessage("USER", "u", "u1", "x", strings.Repeat("x", 5<<20))); err == nil || !strings.Contains(err.Error(), j.Path()) {
		t.Errorf("%v", err)
	}
	if err := j.record(protocol.NewMessage("USER", "u", "u2")); err != nil || string(j.buf) != "USER u=u2\n" {
		t.Errorf("%v, %.100q", err, j.buf)
	}
}

// The operator's word that comes when an ircd has prepared the users, and before COMMIT can leave, is heard.
func TestCancelBetweenPrepareAndCommit(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		m, err := r.c.Hold(Request{Pool: "main", From: "a"})
		if err != nil {
			t.Fatal(err)
		}
		<-m.Parked()
		if running := r.c.Running(); len(running) != 1 || running[0].ID != m.ID() {
			t.Errorf("running: %+v", running)
		}
		commits := 0
		r.b.fault = func(verb string) fault {
			switch verb {
			case "PREPARE":
				if err := r.c.Cancel(m.ID()); err != nil {
					t.Error(err)
				}
			case "COMMIT":
				commits++
			}
			return fault{}
		}
		if _, err := r.c.Release("main", "a", "b", "test"); err != nil {
			t.Fatal(err)
		}
		if report := r.await(m); report.State != StateDone || report.To != "a" || commits != 0 || len(r.b.live) > 0 {
			t.Errorf("%d COMMITs: %+v", commits, report)
		}
		if len(r.c.Running()) != 0 {
			t.Error("it runs still")
		}
		r.owners()
	})
}

// A COMMIT that is refused for nobody's sake is nobody's blame.
func TestCommitThatIsRefusedForNobody(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		to, _ := r.c.find("main", "b")
		x := &run{snap: newSnapshot(), state: newMachine()}
		var b *blame
		e := &protocol.Error{Code: protocol.CodeInternal}
		if err := x.blameCommit(e, to); errors.As(err, &b) || !errors.Is(err, e) {
			t.Errorf("%v", err)
		}
		e = &protocol.Error{Code: protocol.CodeNotAttached, U: "z9"}
		if err := x.blameCommit(e, to); errors.As(err, &b) || !errors.Is(err, errStranger) {
			t.Errorf("%v", err)
		}
	})
}

// Only the pause of that very backend is resumed.
func TestResumeOfWhatIsNotPaused(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		refused := func(what, name string) {
			t.Helper()
			if m, err := r.c.Resume("main", name); m != nil || !isRefused(err) || !strings.Contains(err.Error(), "main/"+name+" is not paused") {
				t.Errorf("%s: %v", what, err)
			}
		}
		refused("nothing", "a")
		m, err := r.c.Pause(Request{Pool: "main", From: "a"})
		if err != nil {
			t.Fatal(err)
		}
		<-m.Parked()
		refused("another backend", "b")
		if _, err := r.c.Resume("main", "a"); err != nil {
			t.Fatal(err)
		}
		r.await(m)
		if m, err = r.c.Hold(Request{Pool: "main", From: "a"}); err != nil {
			t.Fatal(err)
		}
		<-m.Parked()
		refused("a hold", "a")
		if err := r.c.Cancel(m.ID()); err != nil {
			t.Fatal(err)
		}
		if report := r.await(m); report.State != StateDone {
			t.Errorf("%+v", report)
		}
		r.owners()
	})
}

// An ircd that refuses an import is not asked to take streams for it, and one that takes it shows how far it is.
func TestNothingIsAttachedWithoutAnImport(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		imports, attached, progress := 0, 0, 0
		left := -1
		report := r.holdAndRelease("b", func() {
			r.sessions.before = func(call string) {
				if call == "Attach" && imports < 2 {
					attached++
				}
			}
			r.b.fault = func(verb string) fault {
				switch verb {
				case "IMPORT":
					if imports++; imports == 1 {
						return fault{err: &protocol.Error{Code: protocol.CodeInternal}}
					}
					if imports == 3 {
						r.sessions.mu.Lock()
						left = len(r.sessions.next)
						r.sessions.mu.Unlock()
					}
				case "PREPARE":
					if progress = r.c.Moves()[0].Progress; imports == 2 {
						return fault{err: &protocol.Error{Code: protocol.CodeInternal}}
					}
				}
				return fault{}
			}
		})
		if report.State != StateDone || report.Moved != 3 || imports != 3 || attached != 0 || progress != 3 || left != 0 {
			t.Errorf("%d imports, %d times attached before the second, %d streams left before the third, progress %d: %+v", imports, attached, left, progress, report)
		}
		r.owners()
	})
}

// What is waited for is told without the step and the backend, which stand beside it.
func TestCauseOfAnError(t *testing.T) {
	if got := cause(fmt.Errorf("wrapped: %w", &Error{StepPark, "main/a", errLost})); got != errLost {
		t.Errorf("%v", got)
	}
	if got := cause(errLost); got != errLost {
		t.Errorf("%v", got)
	}
}
