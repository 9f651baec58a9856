package main

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff"
	"github.com/ircferry/ircferry/internal/config"
	"github.com/ircferry/ircferry/internal/ircclient"
)

// faultCase is one step of a move that goes wrong in a real process. fault strings are those of ircferry demo-ircd --fault.
type faultCase struct {
	name    string
	a, b    string // faults of the source and the destination
	state   handoff.State
	at      string // who has the users afterwards
	gone    bool   // the sessions end with their ircd: there was nothing to go back to
	oneFail bool   // one session is closed and named, the others go on
}

// TestC2_11EveryStepBroken holds the failure table of handoff/doc.go against real processes under traffic: the outcome, that nobody is
// live twice, and that no line is lost, doubled or seen on the way (lessons C2.11, C3.17, C3.18, C3.23).
func TestC2_11EveryStepBroken(t *testing.T) {
	for _, c := range []faultCase{
		{name: "import refused", b: "IMPORT:refuse", state: handoff.StateReverted, at: "a"},
		{name: "export refused", a: "EXPORT:refuse", state: handoff.StateReverted, at: "a"},
		{name: "export stalls", a: "EXPORT:delay:4s", state: handoff.StateReverted, at: "a"},
		{name: "connection lost at export", a: "EXPORT:close", state: handoff.StateReverted, at: "a"},
		{name: "END lost", a: "END:drop", state: handoff.StateReverted, at: "a"},
		{name: "END lies about its counts", a: "END:lie", state: handoff.StateReverted, at: "a"},
		{name: "wrong checksum of the source", a: "END:sum", state: handoff.StateReverted, at: "a"},
		{name: "damaged record", a: "USER:damage*1", state: handoff.StateReverted, at: "a"},
		{name: "source lies about a stream", a: "USER:lie*1", state: handoff.StateReverted, at: "a"},
		{name: "source dies before END", a: "END:exit", state: handoff.StateReverted, gone: true},
		{name: "prepare refused", b: "PREPARE:refuse", state: handoff.StateReverted, at: "a"},
		{name: "prepare stalls", b: "PREPARE:delay:4s", state: handoff.StateReverted, at: "a"},
		{name: "destination dies at prepare", b: "PREPARE:exit", state: handoff.StateReverted, at: "a"},
		{name: "PREPARED lost", b: "PREPARED:drop", state: handoff.StateReverted, at: "a"},
		{name: "PREPARED lies about its users", b: "PREPARED:lie", state: handoff.StateReverted, at: "a"},
		{name: "destination dies after prepare", b: "PREPARED:exit", state: handoff.StateReverted, at: "a"},
		{name: "RELEASE lost", a: "RELEASE:drop", state: handoff.StateReverted, at: "a"},
		{name: "connection lost at release", a: "RELEASE:close", state: handoff.StateReverted, at: "a"},
		{name: "freeze time over before release", a: "RELEASE:delay:3s", state: handoff.StateReverted, at: "a"},
		{name: "RELEASED lost", a: "RELEASED:drop", state: handoff.StateDone, at: "b"},
		{name: "connection lost after release", a: "RELEASED:close", state: handoff.StateDone, at: "b"},
		{name: "source dies after release", a: "RELEASED:exit", state: handoff.StateDone, at: "b"},
		{name: "source dies after END", a: "RELEASE:exit", state: handoff.StateDone, at: "b"},
		{name: "COMMIT lost", b: "COMMIT:drop*1", state: handoff.StateDone, at: "b"},
		{name: "connection lost at commit", b: "COMMIT:close*1", state: handoff.StateDone, at: "b"},
		{name: "COMMITTED lost", b: "COMMITTED:drop*1", state: handoff.StateDone, at: "b"},
		{name: "connection lost after commit", b: "COMMITTED:close*1", state: handoff.StateDone, at: "b"},
		{name: "commit refused once", b: "COMMIT:refuse*1", state: handoff.StateDone, at: "b"},
		{name: "destination dies at commit", b: "COMMIT:exit", state: handoff.StateReverted, at: "a"},
		{name: "destination dies after commit", b: "COMMITTED:exit", state: handoff.StateReverted, at: "a"},
		{name: "one stream lost before LIVE", b: "LIVE:close*1", state: handoff.StateDone, at: "b", oneFail: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			runFault(t, c)
		})
	}
}

func runFault(t *testing.T, c faultCase) {
	dir := t.TempDir()
	a, b := startIrcd(t, dir, "a", faultArgs(c.a)...), startIrcd(t, dir, "b", faultArgs(c.b)...)
	cfg := testConfig(t, map[string]string{"a": "unix:" + a.socket, "b": "unix:" + b.socket})
	if c.state == handoff.StateReverted { // a slow machine may not make a revert of the others
		cfg.Moves.MaxPause = config.Duration(1500 * time.Millisecond)
	}
	d := startTestDaemon(t, cfg)
	const clients = 8
	w := newWorld(t, d)
	w.populate(clients, 2)
	w.runTalk()
	report := drain(t, d, "a", "b")
	if c.gone {
		await(t, "sessions ended with their ircd", func() bool { return d.proxy.Counts().Sessions == 0 })
	} else if !c.oneFail {
		w.talkOn(50)
	}
	w.stop()
	if report.State != c.state || report.Attempted != clients || report.Attempted != report.Moved+report.Reverted+report.Failed+report.Left {
		t.Errorf("report %+v", report)
	}
	if c.gone {
		return
	}
	c.checkOutcome(t, w, report)
	alive := map[string]*process{"a": a, "b": b}[c.at]
	want := clients
	if c.oneFail {
		want--
	}
	await(t, "users where the report says", func() bool {
		h, err := hello(t.Context(), "unix:"+alive.socket)
		return err == nil && h.Users == want
	})
	other := map[string]*process{"a": b, "b": a}[c.at]
	if h, err := hello(t.Context(), "unix:"+other.socket); err == nil && h.Users != 0 {
		t.Errorf("%d users are live at %s too", h.Users, other.name)
	}
}

func (c faultCase) checkOutcome(t *testing.T, w *world, report handoff.Report) {
	t.Helper()
	quiet := patience
	if c.oneFail { // what the one is not told any more is never delivered
		await(t, "the one is gone", func() bool { return w.oracle.Counts().Disconnects > 0 })
		quiet = time.Second
	}
	counts := w.oracle.Settle(quiet)
	switch {
	case c.oneFail && (report.Failed != 1 || counts.Disconnects != 1 || len(report.Named) != 1):
		t.Errorf("want one session closed and named: %+v, %v", report, counts)
	case !c.oneFail && !counts.Clean():
		t.Errorf("%v\n%s", counts, strings.Join(w.oracle.Samples(), "\n"))
	case !c.oneFail && report.Failed+report.Left > 0:
		t.Errorf("sessions failed or left: %+v", report)
	}
}

func faultArgs(f string) []string {
	if f == "" {
		return nil
	}
	return []string{"--fault", f}
}

// TestPlacingGoesOnBehindALostConversation: what a destination keeps of a try does not keep parked users from the next one.
func TestPlacingGoesOnBehindALostConversation(t *testing.T) {
	for _, fault := range []string{"IMPORT:close*1", "IMPORTING:close*1", "PREPARE:close*1", "PREPARED:close*1", "ATTACHED:close*3"} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			d, _, _, _ := pair(t, nil, faultArgs(fault))
			w := newWorld(t, d)
			w.populate(8, 2)
			w.runTalk()
			m, err := d.moves.Hold(handoff.Request{Pool: "main", From: "a"})
			if err != nil {
				t.Fatal(err)
			}
			<-m.Parked()
			if _, err := d.moves.Release("main", "a", "b", "test"); err != nil {
				t.Fatal(err)
			}
			report := ended(t, m)
			w.talkOn(50)
			w.stop()
			if counts := w.oracle.Settle(patience); report.State != handoff.StateDone || report.Moved != 8 || !counts.Clean() {
				t.Errorf("%+v\n%v\n%s", report, counts, strings.Join(w.oracle.Samples(), "\n"))
			}
		})
	}
}

// TestDrainAgainAfterALostConversation: nor does it keep a drain from being tried again at once.
func TestDrainAgainAfterALostConversation(t *testing.T) {
	d, addr, _, _ := pair(t, nil, []string{"--fault", "PREPARED:close*1"})
	alice := ircclient.TestUser(t, addr, "alice")
	if r := drain(t, d, "a", "b"); r.State != handoff.StateReverted {
		t.Fatalf("%+v", r)
	}
	mustMove(t, d, 1)
	alice.Fence()
}

// TestDestinationComesBackAndTakesTheUsers: it dies when nobody else has the users, and the only other backend is the old one, which died too.
func TestDestinationComesBackAndTakesTheUsers(t *testing.T) {
	dir := t.TempDir()
	a, b := startIrcd(t, dir, "a", "--fault", "RELEASED:exit"), startIrcd(t, dir, "b", "--fault", "COMMIT:exit")
	d := startTestDaemon(t, testConfig(t, map[string]string{"a": "unix:" + a.socket, "b": "unix:" + b.socket}))
	w := newWorld(t, d)
	w.populate(8, 2)
	w.runTalk()
	m, err := d.moves.Drain(handoff.Request{Pool: "main", From: "a", To: "b"})
	if err != nil {
		t.Fatal(err)
	}
	await(t, "the users are in the journal only", func() bool { return m.Report().Step == handoff.StepPark })
	b.kill()
	b.start()
	report := ended(t, m)
	w.talkOn(50)
	w.stop()
	if counts := w.oracle.Settle(patience); report.State != handoff.StateDone || report.Moved != 8 || !counts.Clean() {
		t.Errorf("%+v\n%v\n%s", report, counts, strings.Join(w.oracle.Samples(), "\n"))
	}
}

// TestRestartInPlace: hold, end the process in order, start it again, release; ten times under traffic.
func TestRestartInPlace(t *testing.T) {
	t.Parallel() // most of it is waiting for checks
	dir := t.TempDir()
	a := startIrcd(t, dir, "a")
	d := startTestDaemon(t, testConfig(t, map[string]string{"a": "unix:" + a.socket}))
	w := newWorld(t, d)
	w.populate(16, 4)
	w.run()
	for i := range 10 {
		m, err := d.moves.Hold(handoff.Request{Kind: handoff.KindRestart, Pool: "main", From: "a"})
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-m.Parked():
		case <-m.Done():
			t.Fatalf("hold %d: %+v", i, m.Report())
		}
		a.terminate()
		a.start()
		if _, err := d.moves.Release("main", "a", "", "test"); err != nil {
			t.Fatal(err)
		}
		report := ended(t, m)
		if report.State != handoff.StateDone || report.Failed > 0 {
			t.Fatalf("restart %d: %+v", i, report)
		}
		// New clients are let in now: the checks must know the new process, not the one of before, or have been waited for for a second.
		b, _ := d.backends.Backend("main/a")
		epoch := awaitHello(t, "unix:"+a.socket).Epoch
		knows := func() bool { known, _, _ := b.Hello(); return known.Epoch == epoch && b.Oper() == backend.Up }
		if !knows() && report.Took[handoff.StepThaw] < 1000 {
			t.Errorf("restart %d: after %.0f ms new clients are let to a process that the checks do not know", i, report.Took[handoff.StepThaw])
		}
		await(t, "the checks know the new process", knows)
	}
	w.stop()
	if counts := w.oracle.Settle(patience); !counts.Clean() {
		t.Errorf("%v\n%s", counts, strings.Join(w.oracle.Samples(), "\n"))
	}
}

// TestC3_19StalledIrcdIsRefusedBeforeAnybodyIsFrozen: an ircd that does not answer HELLO is no party of a move.
func TestC3_19StalledIrcdIsRefusedBeforeAnybodyIsFrozen(t *testing.T) {
	t.Parallel() // most of it is waiting for what is stopped
	dir := t.TempDir()
	a, b := startIrcd(t, dir, "a"), startIrcd(t, dir, "b")
	d := startTestDaemon(t, testConfig(t, map[string]string{"a": "unix:" + a.socket, "b": "unix:" + b.socket}))
	w := newWorld(t, d)
	w.populate(8, 2)
	w.runTalk()
	b.stop()
	if m, err := d.moves.Drain(handoff.Request{Pool: "main", From: "a", To: "b"}); err == nil {
		t.Errorf("a drain to a stopped process began: %+v", ended(t, m))
	}
	w.talkOn(50)
	b.signal(syscall.SIGCONT)
	awaitUp(t, d, "main/b")
	readyAgain(t, d, "a")
	if r := drain(t, d, "a", "b"); r.State != handoff.StateDone || r.Moved != 8 {
		t.Errorf("%+v", r)
	}
	w.talkOn(50)
	w.stop()
	if counts := w.oracle.Settle(patience); !counts.Clean() {
		t.Errorf("%v\n%s", counts, strings.Join(w.oracle.Samples(), "\n"))
	}
}
