package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ircferry/ircferry/admin"
	"github.com/ircferry/ircferry/handoff"
)

var (
	backAgain = []change{func(r *handoff.Report) { r.State, r.Released = handoff.StateRunning, true }, at(handoff.StepPush), done}
	// a cancel of a parked move: the same, into what is there
	putBack = []change{func(r *handoff.Report) { r.State, r.Released = handoff.StateRunning, false }, at(handoff.StepPush), done}
)

func TestRestartRunsTheCommandWhileUsersAreParked(t *testing.T) {
	d := newDaemon(t)
	d.onHold, d.onRelease = []change{at(handoff.StepPull), parked}, backAgain
	ran := filepath.Join(t.TempDir(), "ran")
	a := d.call(t, "restart", "main/a", "--exec", "echo to stdout; echo to stderr >&2; touch "+ran)
	a.want(t, 0, []string{"to stdout\n", "restart m1 of main/a: done"}, []string{"to stderr\n"})
	if n := strings.Count(a.err, "5 users of main/a are held"); n != 1 {
		t.Errorf("the hold was told %d times: %v", n, a)
	}
	if _, err := os.Stat(ran); err != nil {
		t.Error(err)
	}
	if got, want := d.said(), "restart main/a, release main/a"; got != want {
		t.Errorf("the daemon was asked: %s, want %s", got, want)
	}
}

// An upgrade of the daemon keeps commands out for a while; ferryctl asks again, since parked users wait for its word.
func TestCommandsWaitForAnUpgrade(t *testing.T) {
	d := newDaemon(t)
	d.onHold, d.onRelease, d.onCancel = []change{parked}, backAgain, putBack
	d.upgrades.Store(2)
	d.call(t, "hold", "main/a").want(t, 0, []string{"5 users of main/a are held"}, nil)
	d.upgrades.Store(2)
	d.call(t, "release", "main/a").want(t, 0, []string{"done"}, nil)
	ran := filepath.Join(t.TempDir(), "ran")
	go func() {
		for os.WriteFile(ran, nil, 0o600) != nil || len(d.said()) < len("hold main/a, release main/a, restart main/a") {
			time.Sleep(time.Millisecond)
		}
		d.upgrades.Store(2)
		os.Remove(ran)
	}()
	d.call(t, "restart", "main/a", "--exec", "while [ -e "+ran+" ]; do sleep 0.01; done").want(t, 0, []string{"done"}, nil)
	if got, want := d.said(), "hold main/a, release main/a, restart main/a, release main/a"; got != want {
		t.Errorf("the daemon was asked: %s, want %s", got, want)
	}
}

func TestRestartWithJSONKeepsStdoutForTheDocument(t *testing.T) {
	d := newDaemon(t)
	d.onHold, d.onRelease = []change{parked}, backAgain
	a := d.call(t, "restart", "main/a", "-o", "json", "--exec", "echo noise")
	a.want(t, 0, []string{`"state": "done"`}, []string{"noise"})
	if !strings.HasPrefix(a.out, "{") {
		t.Errorf("stdout is not one document: %v", a)
	}
}

func TestFailingCommandPushesUsersBack(t *testing.T) {
	d := newDaemon(t)
	d.onHold, d.onCancel = []change{parked}, putBack
	d.call(t, "restart", "main/a", "--exec", "exit 7").want(t, 1, []string{"done"},
		[]string{"the command failed (exit status 7); the users of main/a go back into the ircd that answers there"})
	if got, want := d.said(), "restart main/a, cancel m1"; got != want {
		t.Errorf("the daemon was asked: %s, want %s", got, want)
	}
}

func TestCommandIsNotRunIfUsersCouldNotBeParked(t *testing.T) {
	d := newDaemon(t)
	d.onHold = []change{reverted}
	ran := filepath.Join(t.TempDir(), "ran")
	d.call(t, "restart", "main/a", "--exec", "touch "+ran).want(t, 1, []string{"reverted"}, []string{"the command was not run"})
	if _, err := os.Stat(ran); err == nil {
		t.Error("the command was run")
	}
}

// Somebody else cancels while COMMAND runs: the users are in the old ircd again, and COMMAND must not stop it now, nor what
// it has started.
func TestCancelByAnotherEndsTheCommand(t *testing.T) {
	d := newDaemon(t)
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	d.onHold, d.onCancel = []change{parked}, putBack
	go func() {
		if _, err := os.ReadFile(fifo); err != nil { // until the command runs
			t.Error(err)
		}
		d.scripted.play("m1", putBack)
	}()
	d.cancelErr = &handoff.Refused{Reason: "move m1 has ended (done)"}
	a := d.call(t, "restart", "main/a", "--exec", "echo > "+fifo+"; sleep 60; true")
	a.want(t, 1, []string{"done", "cancelled: the users were put back into main/a"}, []string{"somebody else ended the hold (", "while the command ran; the users"})
}

// The ircd's unit releases the users itself when COMMAND has started it (configs/inspircd/inspircd.service.conf): COMMAND goes on, and all is well.
func TestReleaseByTheUnitLetsTheCommandGoOn(t *testing.T) {
	d := newDaemon(t)
	dir := t.TempDir()
	begun, goOn := filepath.Join(dir, "begun"), filepath.Join(dir, "go-on")
	for _, fifo := range []string{begun, goOn} {
		if err := syscall.Mkfifo(fifo, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d.onHold = []change{parked}
	go func() {
		if _, err := os.ReadFile(begun); err != nil {
			t.Error(err)
		}
		d.scripted.play("m1", []change{func(r *handoff.Report) { r.State, r.Released = handoff.StateRunning, true }, done})
		if err := os.WriteFile(goOn, nil, 0o600); err != nil {
			t.Error(err)
		}
	}()
	ran := filepath.Join(dir, "ran")
	a := d.call(t, "restart", "main/a", "--exec", "echo > "+begun+"; cat "+goOn+"; touch "+ran)
	a.want(t, 0, []string{"done"}, nil)
	if strings.Contains(a.err, "not released") || strings.Contains(a.err, "somebody else") {
		t.Errorf("said %q", a.err)
	}
	if _, err := os.Stat(ran); err != nil {
		t.Error("the command was not let go on")
	}
}

// A restart whose ircd was waited for, and that somebody cancelled, has not restarted anything.
func TestCancelByAnotherWhileTheIrcdIsAwaited(t *testing.T) {
	d := newDaemon(t)
	d.onHold, d.onRelease = []change{parked}, append(backAgain[:1:1], putBack...)
	d.call(t, "restart", "main/a", "--exec", "true").want(t, 1, []string{"cancelled: the users were put back into main/a"}, nil)
}

// SIGTERM comes to ferryctl alone, and ends what COMMAND has started all the same.
func TestTerminationEndsWhatTheCommandHasStarted(t *testing.T) {
	d := newDaemon(t)
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	d.scripted.mu.Lock()
	d.onHold, d.onCancel = []change{parked}, putBack
	d.scripted.mu.Unlock()
	p, wait := process(t, d, "restart", "main/a", "--exec", "(echo $BASHPID; exec sleep 60) > "+fifo+"; true")
	begun, err := os.OpenFile(fifo, os.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer begun.Close()
	if _, err := begun.Read(make([]byte, 10)); err != nil { // until it runs
		t.Fatal(err)
	}
	p.Signal(syscall.SIGTERM)
	wait().want(t, exitInterrupted, []string{"done"}, []string{"interrupted; the users of main/a go back"})
	begun.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, err := begun.Read(make([]byte, 10)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("what the command had started still runs: %d, %v", n, err)
	}
}

func TestRestartWithoutCommandWaitsForTheIrcd(t *testing.T) {
	d := newDaemon(t)
	d.onHold, d.onRelease = []change{parked}, backAgain
	d.call(t, "restart", "main/a").want(t, 0, []string{"done"}, []string{"the users of main/a are parked; restart its ircd now"})
}

// process runs ferryctl as a process of its own, so that signals are real ones.
func process(t *testing.T, d *daemon, args ...string) (*os.Process, func() answer) {
	t.Helper()
	dir := t.TempDir()
	open := func(name string) *os.File {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	null := open("in")
	out, errs := open("out"), open("err")
	p, err := os.StartProcess(os.Args[0], append([]string{"ferryctl"}, args...), &os.ProcAttr{
		Env: append(os.Environ(), "FERRYCTL_TEST_MAIN=1", "IRCFERRY_SOCKET="+d.socket), Files: []*os.File{null, out, errs},
		Sys: &syscall.SysProcAttr{Setpgid: true}})
	if err != nil {
		t.Fatal(err)
	}
	watchdog := time.AfterFunc(2*time.Minute, func() { p.Kill() })
	return p, func() answer {
		state, err := p.Wait()
		if err != nil {
			t.Fatal(err)
		}
		watchdog.Stop()
		o, _ := os.ReadFile(out.Name())
		e, _ := os.ReadFile(errs.Name())
		return answer{state.ExitCode(), string(o), string(e)}
	}
}

func TestInterruptDuringTheCommandPushesUsersBack(t *testing.T) {
	for _, signal := range []func(*os.Process){
		func(p *os.Process) { p.Signal(syscall.SIGINT) },
		func(p *os.Process) { p.Signal(syscall.SIGTERM) },
		func(p *os.Process) { syscall.Kill(-p.Pid, syscall.SIGINT) }, // Ctrl-C: the command gets it as well
	} {
		d := newDaemon(t)
		fifo := filepath.Join(t.TempDir(), "fifo")
		if err := syscall.Mkfifo(fifo, 0o600); err != nil {
			t.Fatal(err)
		}
		d.scripted.mu.Lock() // another process is no order that the race detector knows
		d.onHold, d.onCancel = []change{parked}, putBack
		d.scripted.mu.Unlock()
		p, wait := process(t, d, "restart", "main/a", "--exec", "echo > "+fifo+"; exec sleep 60")
		if _, err := os.ReadFile(fifo); err != nil { // until the command runs
			t.Fatal(err)
		}
		signal(p)
		wait().want(t, exitInterrupted, []string{"done"}, []string{"interrupted; the users of main/a go back"})
		if got, want := d.said(), "restart main/a, cancel m1"; got != want {
			t.Errorf("the daemon was asked: %s, want %s", got, want)
		}
	}
}

// Ctrl-C ends COMMAND too, and its end may be seen before the signal of our own: that is an interrupt, and not a failing command
// and then an interrupt of the waiting.
func TestInterruptThatKillsTheCommandFirst(t *testing.T) {
	d := newDaemon(t)
	d.onHold, d.onCancel = []change{parked}, putBack
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	interrupts := make(chan os.Signal, 1)
	go func() {
		os.ReadFile(fifo)                 // ends with the command
		time.Sleep(20 * time.Millisecond) // its end is seen first
		interrupts <- os.Interrupt
	}()
	call(t, interrupts, "--socket", d.socket, "restart", "main/a", "--exec", "exec 3>"+fifo+"; kill -INT $$").want(t, exitInterrupted, []string{"done"},
		[]string{"interrupted; the users of main/a go back"})
}

// interruptAt calls ferryctl and interrupts it as soon as the move has come to that point of its script.
func interruptAt(t *testing.T, d *daemon, script *[]change, args ...string) answer {
	t.Helper()
	interrupts := make(chan os.Signal, 2)
	*script = append(*script, func(*handoff.Report) { interrupts <- os.Interrupt })
	return call(t, interrupts, append([]string{"--socket", d.socket}, args...)...)
}

func TestInterruptOfADrainCancelsIt(t *testing.T) {
	d := newDaemon(t)
	d.onDrain, d.onCancel = []change{at(handoff.StepPrepare)}, []change{reverted}
	interruptAt(t, d, &d.onDrain, "drain", "main/a").want(t, exitInterrupted, []string{"reverted"}, []string{"interrupted; cancelling move m1"})
}

func TestInterruptPastThePointOfNoReturnWaits(t *testing.T) {
	d := newDaemon(t)
	d.onDrain = []change{at(handoff.StepCommit)}
	d.cancelErr = &handoff.Refused{Reason: "move m1 is past the point of no return", Hint: "it ends by itself"}
	go func() {
		for !strings.Contains(d.said(), "cancel m1") {
			time.Sleep(time.Millisecond)
		}
		d.scripted.play("m1", []change{done})
	}()
	interruptAt(t, d, &d.onDrain, "drain", "main/a").want(t, exitInterrupted, []string{"done"}, []string{"past the point of no return; it ends by itself"})
}

func TestInterruptOfARestartBeforeTheParkReverts(t *testing.T) {
	d := newDaemon(t)
	d.onHold, d.onCancel = []change{at(handoff.StepPrepare)}, []change{reverted}
	interruptAt(t, d, &d.onHold, "restart", "main/a", "--exec", "true").want(t, exitInterrupted, []string{"reverted"}, []string{"interrupted before the users were parked"})
}

func TestInterruptOfAReleaseOnlyEndsTheWaiting(t *testing.T) {
	d := newDaemon(t)
	d.onHold, d.onRelease = []change{parked}, []change{func(r *handoff.Report) { r.State = handoff.StateRunning }}
	d.call(t, "hold", "main/a")
	interruptAt(t, d, &d.onRelease, "release", "main/a").want(t, exitInterrupted, nil, []string{"move m1 goes on, ferryctl show move m1 tells how it ends"})
	if strings.Contains(d.said(), "cancel") {
		t.Errorf("it was cancelled: %s", d.said())
	}
}

func TestEventsFollowUntilInterrupted(t *testing.T) {
	d := newDaemon(t)
	d.call(t, "maint", "main/b")
	d.call(t, "events").want(t, 0, []string{"command  main/b", "maint"}, nil)
	interrupts := make(chan os.Signal, 1)
	interrupts <- os.Interrupt
	call(t, interrupts, "--socket", d.socket, "events", "-f").want(t, exitInterrupted, nil, nil)
}

// Who follows a daemon that ends is told, and a script can tell it from what it wanted itself.
func TestEventsFollowUntilTheDaemonEnds(t *testing.T) {
	d := newDaemon(t)
	d.events.Publish(admin.Event{Time: time.Now(), Kind: admin.EventDaemon, Object: "d", Word: "stop"})
	out := &seen{word: "stop", then: func() { go d.stop() }}
	var errs locked
	code := run(t.Context(), []string{"--socket", d.socket, "events", "-f"}, streams{in: strings.NewReader(""), out: out, err: &errs, getenv: func(string) string { return "" }})
	answer{code, "", errs.String()}.want(t, exitUnreachable, nil, []string{"the daemon has ended the events"})
}

// seen calls then when a word is written.
type seen struct {
	word string
	then func()
}

func (s *seen) Write(p []byte) (int, error) {
	if strings.Contains(string(p), s.word) {
		s.then()
	}
	return len(p), nil
}
