package main

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ircferry/ircferry/admin"
)

// A daemon that is killed: the next process goes on with all connections, of which nobody notices anything, also when kills, restarts and upgrades mix.
func TestKilledWithKeeper(t *testing.T) {
	f, _ := keptFerry(t)
	c := f.crowd(24, 3, 20*time.Millisecond)
	before := f.status()
	for _, how := range []syscall.Signal{syscall.SIGKILL, syscall.SIGKILL, syscall.SIGUSR1, syscall.SIGKILL, 0, syscall.SIGKILL} {
		if how == 0 {
			f.must()
			await(t, "the keeper is up behind an upgrade", func() bool { return f.status().Keeper.Up })
			how = syscall.SIGKILL
		}
		f.kill(how)
		st := f.status()
		cause := admin.RecoveredFromKill
		if how == syscall.SIGUSR1 {
			cause = admin.RecoveredFromRestart
		}
		if r := st.Recovered; r == nil || r.Cause != cause || r.Sessions != 24 || len(r.Ended) > 0 || st.Instance != before.Instance {
			t.Fatalf("behind %v: %+v\n%s", how, r, f.log)
		}
	}
	f.unharmed(c)
}

// kill ends the daemon, whichever process it is, and starts the next one when the keeper has everything.
func (f *ferry) kill(s syscall.Signal) {
	f.t.Helper()
	await(f.t, "the keeper is up", func() bool { k := f.status().Keeper; return k != nil && k.Up && k.Memory >= 2 })
	if pid := f.status().PID; pid != f.cmd.Process.Pid {
		syscall.Kill(pid, s)
	} else {
		f.cmd.Process.Signal(s)
	}
	f.awaitEnd()
	f.run()
}

// Killed in the take-over itself, at each of its steps, on either side: the next start goes on all the same.
func TestKilledInATakeOver(t *testing.T) {
	f, _ := keptFerry(t)
	c := f.crowd(12, 2, 20*time.Millisecond)
	for _, at := range []struct {
		step string
		by   syscall.Signal
	}{{"found", syscall.SIGKILL}, {"recovered", syscall.SIGKILL}, {"found", syscall.SIGUSR1}, {"inherited", syscall.SIGUSR1}} {
		f.cmd.Process.Signal(at.by)
		f.awaitEnd()
		f.stumbleAt(at.step, "killed")
		f.begin()
		f.awaitEnd()
		f.stumbleAt("never", "exit")
		f.run()
		if st := f.status(); st.Sessions.Total != 12 || st.Recovered == nil || len(st.Recovered.Ended) > 0 {
			t.Fatalf("%s behind %v: %d sessions, %+v\n%s", at.step, at.by, st.Sessions.Total, st.Recovered, f.log)
		}
		await(t, "the keeper is up", func() bool { return f.status().Keeper.Up })
	}
	f.unharmed(c)
}

// What cannot be read is given up, at once, and the daemon serves: nobody hangs until the grace time is over.
func TestNothingToGoOnWith(t *testing.T) {
	f, _ := keptFerry(t)
	client := dialIRC(t, f.plain, "al")
	f.cmd.Process.Signal(syscall.SIGKILL)
	f.awaitEnd()
	spoil(t, f.keeper)
	f.run()
	untilEnd(t, client)
	if st := f.status(); st.Recovered != nil || st.Sessions.Total != 0 || !strings.Contains(f.log.String(), "cannot be gone on with") {
		t.Errorf("%+v, %d sessions\n%s", st.Recovered, st.Sessions.Total, f.log)
	}
	await(t, "the keeper has this daemon's", func() bool { k := f.status().Keeper; return k.Up && k.Memory == 2 })
	dialIRC(t, f.plain, "bo").Close()
}

// spoil has the keeper hold an arena that nobody can read.
func spoil(t *testing.T, socket string) {
	t.Helper()
	c := dialKeeper(t, socket)
	defer c.Close()
	if err := c.Claim(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	file, err := os.CreateTemp(t.TempDir(), "arena")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	file.WriteString(strings.Repeat("of another kind ", 4096))
	if err := c.KeepMemory(memoryArena, int(file.Fd())); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// An attended daemon that is killed comes again by itself.
func TestAttendedDaemonIsKilled(t *testing.T) {
	f := attendedFerry(t)
	c := f.crowd(12, 2, 20*time.Millisecond)
	for range 3 {
		await(t, "the keeper is up", func() bool { return f.status().Keeper.Up })
		pid := f.status().PID
		syscall.Kill(pid, syscall.SIGKILL)
		f.awaitAnother(pid)
	}
	f.unharmed(c)
}
