package main

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// attendedFerry is a daemon with its keeper, attended by one process, as in a container.
func attendedFerry(t *testing.T) *ferry {
	t.Helper()
	f := newFerry(t, os.Args[0])
	f.attended = true
	f.run()
	await(t, "the keeper is up", func() bool { k := f.status().Keeper; return k != nil && k.Up && k.Memory >= 2 })
	return f
}

// A container's first process: it restarts the daemon and the keeper, passes signals on, and ends with all of them.
func TestAttended(t *testing.T) {
	f := attendedFerry(t)
	c := f.crowd(12, 2, 20*time.Millisecond)
	first := f.status()
	if first.PID == f.cmd.Process.Pid || first.Keeper.PID == f.cmd.Process.Pid {
		t.Fatalf("daemon %d and keeper %d are not processes of their own", first.PID, first.Keeper.PID)
	}

	syscall.Kill(first.Keeper.PID, syscall.SIGKILL)
	await(t, "another keeper", func() bool { k := f.status().Keeper; return k.Up && k.PID != first.Keeper.PID && k.Descriptors >= 24 })

	f.cmd.Process.Signal(syscall.SIGUSR1)
	f.awaitAnother(first.PID)
	second := f.status().PID

	u := f.must()
	f.cmd.Process.Signal(syscall.SIGUSR1) // behind an upgrade, too
	f.awaitAnother(u.PID)
	if third := f.status().PID; third == second {
		t.Errorf("process %d is back", second)
	}
	await(t, "the keeper is up", func() bool { return f.status().Keeper.Up })
	f.unharmed(c)

	keeper := f.status().Keeper.PID
	f.cmd.Process.Signal(syscall.SIGTERM)
	f.awaitEnd()
	await(t, "the keeper has ended", func() bool { return syscall.Kill(keeper, 0) == syscall.ESRCH })
	if code := f.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// awaitAnother waits for another process than that to answer, with everything up.
func (f *ferry) awaitAnother(pid int) {
	f.t.Helper()
	await(f.t, "another process", func() bool {
		st, err := f.client.Status(f.t.Context())
		return err == nil && st.PID != pid
	})
	f.awaitUp("a", "b")
}

// Who kills the one that attends wants an end: daemon and keeper end in order.
func TestAttendantKilled(t *testing.T) {
	f := attendedFerry(t)
	client := dialIRC(t, f.plain, "al")
	st := f.status()
	f.cmd.Process.Kill()
	if said := untilEnd(t, client); !strings.Contains(said, "ERROR :") {
		t.Errorf("the client got %q", said)
	}
	for _, pid := range []int{st.PID, st.Keeper.PID} {
		await(t, "the process has ended", func() bool { return syscall.Kill(pid, 0) == syscall.ESRCH })
	}
	f.cmd.Wait()
}

// A daemon that cannot be started is not started again and again, and its keeper does not stay.
func TestAttendedDaemonThatCannotStart(t *testing.T) {
	f := newFerry(t, os.Args[0])
	text, err := os.ReadFile(f.path())
	if err != nil {
		t.Fatal(err)
	}
	f.write(f.path(), strings.Replace(string(text), `http: {address: ""}`, `http: {address: "`+listenSomewhere(t)+`"}`, 1))
	cmd := exec.Command(os.Args[0], "run", "-c", f.path(), "--keeper")
	cmd.Env = append(os.Environ(), asProgram+"=1", "NOTIFY_SOCKET=")
	out, err := cmd.CombinedOutput()
	if err == nil || cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "another program listens there") {
		t.Errorf("exit code %d\n%s", cmd.ProcessState.ExitCode(), out)
	}
	cmd = exec.Command(os.Args[0], "run", "-c", f.path(), "--keeper")
	cmd.Env = append(os.Environ(), asProgram+"=1", "NOTIFY_SOCKET=/run/nowhere")
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "ircferry-keeper.service") {
		t.Errorf("under a service manager: %v\n%s", err, out)
	}
}
