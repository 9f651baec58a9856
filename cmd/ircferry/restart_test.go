package main

import (
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ircferry/ircferry/admin"
	"github.com/ircferry/ircferry/internal/keeper"
)

// keptFerry is a daemon with a keeper.
func keptFerry(t *testing.T) (f *ferry, process *os.Process) {
	t.Helper()
	f = newFerry(t, os.Args[0])
	f.keeper = keeperSocketOf(t)
	process = startKeeper(t, f.keeper)
	f.run()
	await(t, "the keeper is up", func() bool { k := f.status().Keeper; return k != nil && k.Up && k.Memory >= 2 })
	return f, process
}

// awaitEnd waits for the daemon's process to end.
func (f *ferry) awaitEnd() {
	f.t.Helper()
	done := make(chan error, 1)
	go func() { done <- f.cmd.Wait() }()
	select {
	case <-done:
	case <-time.After(patience):
		f.t.Fatalf("the daemon does not end\n%s", f.log.String())
	}
}

// again restarts the service as systemd does: a signal, the end of the process, another one.
func (f *ferry) again(s syscall.Signal) {
	f.t.Helper()
	f.cmd.Process.Signal(s)
	f.awaitEnd()
	f.run()
}

// A restart of the service: the next process goes on with all connections, of which nobody notices anything.
func TestRestartWithKeeper(t *testing.T) {
	f, _ := keptFerry(t)
	c := f.crowd(24, 3, 20*time.Millisecond)
	before := f.status()
	for range 3 {
		f.again(syscall.SIGUSR1)
	}
	f.must() // an upgrade passes the keeper on, and a restart behind it goes on
	await(t, "the keeper is up behind an upgrade", func() bool { return f.status().Keeper.Up })
	after := f.status()
	if after.Instance != before.Instance || after.PID == before.PID || !after.Started.Equal(before.Started) {
		t.Errorf("instance %s pid %d started %v, before %s %d %v", after.Instance, after.PID, after.Started, before.Instance, before.PID, before.Started)
	}
	if after.Upgrades.Done != 1 || after.Listeners[0].Accepted < before.Listeners[0].Accepted {
		t.Errorf("%d upgrades, %d accepted; %d accepted before", after.Upgrades.Done, after.Listeners[0].Accepted, before.Listeners[0].Accepted)
	}
	f.unharmed(c)
	if n := strings.Count(f.log.String(), "goes on behind a restart"); n != 3 {
		t.Errorf("%d restarts in the log", n)
	}
}

// The next process takes the configuration of then, also where the file is broken by now: nobody is lost for a typing error.
func TestRestartWithABrokenFile(t *testing.T) {
	f, _ := keptFerry(t)
	c := f.crowd(8, 2, 50*time.Millisecond)
	text, err := os.ReadFile(f.path())
	if err != nil {
		t.Fatal(err)
	}
	f.write(f.path(), string(text)+"nonsense: true\n")
	f.again(syscall.SIGUSR1)
	if st := f.status(); st.Config.LastError == "" || st.Sessions.Total != 8 {
		t.Errorf("%q, %d sessions", st.Config.LastError, st.Sessions.Total)
	}
	f.write(f.path(), string(text))
	f.unharmed(c)
}

// Without a keeper a restart is a stop: each client is told, and nothing hangs.
func TestRestartWithoutKeeper(t *testing.T) {
	for _, wanted := range []bool{false, true} {
		f := newFerry(t, os.Args[0])
		if wanted {
			f.keeper = keeperSocketOf(t)
		}
		f.run()
		client := dialIRC(t, f.plain, "al")
		f.cmd.Process.Signal(syscall.SIGUSR1)
		if said := untilEnd(t, client); !strings.Contains(said, "ERROR :") || !strings.Contains(said, "shutting down") {
			t.Errorf("keeper wanted: %v; the client got %q", wanted, said)
		}
		f.awaitEnd()
	}
}

// A stop leaves nothing in the keeper, and tells each client.
func TestStopClearsTheKeeper(t *testing.T) {
	f, _ := keptFerry(t)
	client := dialIRC(t, f.plain, "al")
	f.cmd.Process.Signal(syscall.SIGTERM)
	if said := untilEnd(t, client); !strings.Contains(said, "ERROR :") {
		t.Errorf("the client got %q", said)
	}
	f.awaitEnd()
	if st := keeperStatus(t, f.keeper); st.Descriptors != 0 || st.Memory != 0 {
		t.Errorf("the keeper holds %+v", st)
	}
}

// A keeper that dies under a daemon, and comes again, has everything: a restart behind that loses nobody.
func TestKeeperDiesUnderTheDaemon(t *testing.T) {
	f, k := keptFerry(t)
	c := f.crowd(12, 2, 20*time.Millisecond)
	k.Kill()
	await(t, "the daemon says so", func() bool { return !f.status().Keeper.Up && len(f.status().Warnings) > 0 })
	startKeeper(t, f.keeper)
	await(t, "the next keeper has everything", func() bool { k := f.status().Keeper; return k.Up && k.Descriptors >= 2*12 && k.Memory >= 2 })
	f.again(syscall.SIGUSR1)
	f.unharmed(c)
}

// A failed upgrade leaves the keeper with the process that goes on.
func TestFailedUpgradeKeepsTheKeeper(t *testing.T) {
	f, _ := keptFerry(t)
	c := f.crowd(8, 2, 50*time.Millisecond)
	for _, step := range []string{"ready", "go"} {
		f.stumbleAt(step, "killed")
		if _, err := f.upgrade(admin.UpgradeRequest{}); err == nil {
			t.Errorf("an upgrade whose process is killed at %q was done", step)
		}
	}
	f.stumbleAt("never", "exit")
	if k := f.status().Keeper; !k.Up {
		t.Errorf("the keeper is gone: %+v", k)
	}
	f.again(syscall.SIGUSR1)
	f.unharmed(c)
}

// untilEnd reads a connection to its end.
func untilEnd(t *testing.T, c net.Conn) string {
	t.Helper()
	c.SetDeadline(time.Now().Add(patience))
	said, err := io.ReadAll(c)
	if err != nil {
		t.Errorf("the connection has no end: %v", err)
	}
	return string(said)
}

func dialKeeper(t *testing.T, socket string) *keeper.Client {
	t.Helper()
	c, err := keeper.Dial(t.Context(), socket, keeper.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// keeperStatus asks a keeper how it is.
func keeperStatus(t *testing.T, socket string) keeper.Status {
	t.Helper()
	c := dialKeeper(t, socket)
	defer c.Close()
	st, err := c.Ping(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return st
}
