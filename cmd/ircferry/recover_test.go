package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"runtime"
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

// Kills and restarts leak no descriptor, here and in the keeper, and end no session for want of one.
func TestTakeOversLeakNothing(t *testing.T) {
	f, k := keptFerry(t)
	c := f.crowd(6, 2, 50*time.Millisecond)
	count := func() [2]int {
		var n [2]int
		for i, pid := range []int{f.status().PID, k.Pid} {
			for _, some := range descriptorsOf(t, pid) {
				n[i] += some
			}
		}
		return n
	}
	await(t, "the keeper has everything", func() bool { return f.status().Keeper.Descriptors >= 12 })
	f.kill(syscall.SIGKILL)
	f.settled()
	before := count()
	for _, how := range []syscall.Signal{syscall.SIGUSR1, syscall.SIGKILL, syscall.SIGUSR1, syscall.SIGKILL} {
		f.kill(how)
	}
	f.settled()
	await(t, "as many descriptors as before", func() bool {
		after := count()
		return after[0] <= before[0]+2 && after[1] <= before[1] // those of connections to the admin socket come and go
	})
	f.unharmed(c)
}

// settled waits until the keeper has what there is and nothing of a take-over.
func (f *ferry) settled() {
	f.t.Helper()
	await(f.t, "the keeper has only what there is", func() bool {
		st := f.status()
		return st.Keeper.Up && st.Keeper.Memory == 2 && st.Keeper.Descriptors <= 2*st.Sessions.Total+2*2*runtime.NumCPU()
	})
}

// What clients say is nowhere in the keeper, which holds the memory in which it lies, nor in anybody's log.
func TestSecretsAreNotInTheKeeper(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can look into the keeper")
	}
	f, k := keptFerry(t)
	const word = "Xq7-planted-Zk93"
	c := dialIRC(t, f.plain, "al")
	defer c.Close()
	fmt.Fprintf(c, "PRIVMSG al :%s\r\nPRIVMSG al :half of %s", word, word) // the half line waits in the arena
	for said := ""; !strings.Contains(said, word); {
		b := make([]byte, 512)
		n, err := c.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		said += string(b[:n])
	}
	f.kill(syscall.SIGUSR1)
	f.kill(syscall.SIGKILL)
	fmt.Fprint(c, "\r\n") // it was kept
	said, _ := bufio.NewReader(c).ReadString('\n')
	if !strings.Contains(said, "half of "+word) {
		t.Errorf("al hears %q", said)
	}
	if found, _ := inMemory(t, os.Getpid(), word); !found {
		t.Error("nothing would be found")
	}
	if found, read := inMemory(t, k.Pid, word); found || read < 1<<20 {
		t.Errorf("the keeper knows what clients say: %v (%d bytes were looked at)", found, read)
	}
	if strings.Contains(f.log.String(), word) {
		t.Error("the log has what clients say")
	}
}

// inMemory looks for a text in the memory of a process.
func inMemory(t *testing.T, pid int, text string) (found bool, read int) {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	for line := range strings.Lines(string(maps)) {
		var from, to int64
		var mode string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &mode); err != nil || mode[1] != 'w' || to-from > 256<<20 {
			continue // what is not written has nothing of clients; the runtime reserves more than it has
		}
		b := make([]byte, to-from)
		n, _ := mem.ReadAt(b, from)
		read += n
		found = found || bytes.Contains(b[:n], []byte(text))
	}
	return found, read
}
