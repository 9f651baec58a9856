package main

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ircferry/ircferry/admin"
	"github.com/ircferry/ircferry/internal/ircclient"
)

// SIGUSR2 is an upgrade. Whoever started the daemon has one process all the time, which ends with the last daemon and passes signals on.
func TestUpgradeBySignalAndStandBy(t *testing.T) {
	f := startFerry(t)
	c := f.crowd(12, 2, 50*time.Millisecond)
	for i := range 3 {
		f.cmd.Process.Signal(syscall.SIGUSR2)
		await(t, "upgrade", func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			st, err := f.client.Status(ctx)
			return err == nil && st.Upgrades.Done == i+1
		})
		pid := f.status().PID
		await(t, "the process before to have gone", func() bool { return slices.Equal(childrenOf(t, f.cmd.Process.Pid), []int{pid}) })
	}
	f.unharmed(c)
	c.close()
	f.cmd.Process.Signal(syscall.SIGTERM)
	if err := f.cmd.Wait(); err != nil {
		t.Errorf("the end of the daemon: %v", err)
	}
	if _, err := net.Dial("tcp", f.plain); err == nil {
		t.Error("somebody listens still")
	}
}

// Who kills the process that stays ends the daemon, in order.
func TestStandByIsKilled(t *testing.T) {
	f := startFerry(t)
	client := f.guest()
	f.must()
	u := f.must()
	await(t, "the processes before to have gone", func() bool { return slices.Equal(childrenOf(t, f.cmd.Process.Pid), []int{u.PID}) })
	f.cmd.Process.Kill()
	if _, err := client.Expect("ERROR"); err != nil {
		t.Error(err)
	}
	await(t, "end of the daemon", func() bool { return syscall.Kill(u.PID, 0) != nil })
}

func childrenOf(t *testing.T, pid int) (pids []int) {
	t.Helper()
	out, err := exec.Command("ps", "-o", "pid=", "--ppid", strconv.Itoa(pid)).Output()
	if err != nil && len(out) > 0 {
		t.Fatal(err)
	}
	for _, field := range strings.Fields(string(out)) {
		n, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, n)
	}
	return pids
}

// Under a service manager that wants to know, the process before names the one behind it, and goes.
func TestUpgradeTellsTheServiceManager(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	said := make(chan string, 1000)
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := l.Read(b)
			if err != nil {
				return
			}
			said <- string(b[:n])
		}
	}()
	f := startFerry(t, "NOTIFY_SOCKET="+path)
	next := func(what string) string {
		t.Helper()
		for {
			select {
			case s := <-said:
				if strings.Contains(s, what) {
					return s
				}
				if strings.Contains(s, "READY=1") || strings.Contains(s, "MAINPID") {
					t.Errorf("%q comes before %q", s, what)
				}
			case <-time.After(patience):
				t.Fatalf("nobody says %q", what)
			}
		}
	}
	next("READY=1")
	u := f.must()
	next(fmt.Sprintf("MAINPID=%d", u.PID))
	next("READY=1")
	if end, err := f.cmd.Process.Wait(); err != nil || !end.Success() { // it is gone, and the daemon is not
		t.Errorf("the process before ends with %v, %v", end, err)
	}
	if st := f.status(); st.PID != u.PID {
		t.Errorf("process %d, want %d", st.PID, u.PID)
	}
	syscall.Kill(u.PID, syscall.SIGTERM)
	var end syscall.WaitStatus // it is our child, as systemd wants a main process to be its own
	await(t, "end of the daemon", func() bool {
		pid, err := syscall.Wait4(u.PID, &end, syscall.WNOHANG, nil)
		if err != nil {
			t.Fatal(err)
		}
		return pid == u.PID
	})
	if end.ExitStatus() != 0 {
		t.Errorf("the daemon ends with %v", end)
	}
}

// A daemon that is to stop in the middle of an upgrade stops, in order, and leaves no process behind.
func TestStopDuringAnUpgrade(t *testing.T) {
	f := startFerry(t)
	client := f.guest()
	f.stumbleAt("started", "hangs")
	go f.upgrade(admin.UpgradeRequest{}) //nolint:errcheck // it ends with the daemon
	await(t, "upgrade under way", func() bool { return len(childrenOf(t, f.cmd.Process.Pid)) > 0 })
	pid := childrenOf(t, f.cmd.Process.Pid)[0]
	began := time.Now()
	f.cmd.Process.Signal(syscall.SIGTERM)
	if _, err := client.Expect("ERROR"); err != nil {
		t.Error(err)
	}
	f.cmd.Wait()
	if took := time.Since(began); took > helloTime/2 {
		t.Errorf("the stop took %v", took)
	}
	if err := syscall.Kill(pid, 0); err == nil {
		t.Errorf("process %d is left", pid)
	}
}

// guest is a client that has registered.
func (f *ferry) guest() *ircclient.Client {
	f.t.Helper()
	client, err := ircclient.Dial(f.t.Context(), f.plain, ircclient.Options{})
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { client.Close() })
	if err := client.Register("stays"); err != nil {
		f.t.Fatal(err)
	}
	return client
}
