//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// keptFerry is a daemon with a keeper, which is killed and restarted.
type keptFerry struct {
	*ferry
	keeper *process
	socket string
}

// newKeptFerry starts the keeper, and run the daemon.
func newKeptFerry(t *testing.T, listener string, backends ...string) *keptFerry {
	t.Helper()
	return newFerry(t, listener, backends...).kept()
}

// kept starts the keeper and the daemon.
func (f *ferry) kept() *keptFerry {
	f.t.Helper()
	k := &keptFerry{ferry: f, socket: filepath.Join(f.dir, "k", "s")}
	k.startKeeper()
	k.run()
	return k
}

func (f *keptFerry) startKeeper() {
	f.t.Helper()
	f.keeper = start(f.t, nil, binary("ircferry"), "keeper", "--socket", f.socket)
	eventually(f.t, slack, "the keeper listens", func() bool { _, err := os.Stat(f.socket); return err == nil })
}

// begin starts a daemon, run one that serves.
func (f *keptFerry) begin() {
	f.t.Helper()
	f.proc = start(f.t, nil, binary("ircferry"), "run", "-c", f.configFile(), "--keeper-socket", f.socket)
}

func (f *keptFerry) run() {
	f.t.Helper()
	f.begin()
	f.await("the daemon serves and has its keeper", func(st keptStatus) bool { return st.Keeper.Up && st.Keeper.Memory >= 2 })
}

// keptStatus is what the tests read of a status.
type keptStatus struct {
	PID    int `json:"pid"`
	Keeper struct {
		Up          bool `json:"up"`
		PID         int  `json:"pid"`
		Memory      int  `json:"memory"`
		Descriptors int  `json:"descriptors"`
	} `json:"keeper"`
	Recovered struct {
		Cause string         `json:"cause"`
		Ended map[string]int `json:"ended"`
		Pause float64        `json:"pause_ms"`
	} `json:"recovered"`
}

// await waits for a status, which it answers.
func (f *keptFerry) await(what string, is func(keptStatus) bool) (st keptStatus) {
	f.t.Helper()
	eventually(f.t, slack, what, func() bool {
		st = keptStatus{}
		out, code := f.ctl("-o", "json", "status")
		return code == 0 && json.Unmarshal([]byte(out), &st) == nil && is(st)
	})
	return st
}

// end has the daemon end by a signal, whichever process it is, and waits until it has.
func (f *keptFerry) end(pid int, s syscall.Signal) {
	f.t.Helper()
	if err := syscall.Kill(pid, s); err != nil {
		f.t.Fatalf("end process %d: %v", pid, err)
	}
	select {
	case <-f.proc.done:
	case <-time.After(time.Minute):
		f.t.Fatalf("the daemon does not end by %v", s)
	}
}

// TestKills: many clients of two embedded ircds talk, half of them over TLS, while their proxy is killed at random times, also while it starts, restarted, upgraded and drained, and its
// keeper killed; and none of them sees anything of it.
func TestKills(t *testing.T) {
	kills, clients := number("IRCFERRY_KILLS", 20), number("IRCFERRY_KILL_SESSIONS", 200)
	seed := uint64(number("IRCFERRY_KILL_SEED", int(time.Now().UnixNano()&0xffffff)))
	r := rand.New(rand.NewPCG(seed, 1))
	t.Logf("IRCFERRY_KILL_SEED=%d", seed)
	a, b, secure := startEmbedded(t, "a"), startEmbedded(t, "b"), newSecured(t)
	f := newKeptFerry(t, secure.text, a.backend(), b.backend())
	w := startMixed(t, f.port, secure, clients, clients/20)
	upgrades, restarts, drains := 0, 0, 0
	var pauses []float64
	for round, n := 1, 1; n <= kills; round, n = round+1, n+1 {
		f.await("the keeper has everything", func(st keptStatus) bool { return st.Keeper.Up && st.Keeper.Descriptors >= 2*clients })
		switch {
		case round%5 == 2:
			f.upgrade()
			upgrades++
		case round%5 == 4:
			f.end(f.await("it serves", serves).PID, syscall.SIGUSR1)
			f.run()
			restarts++
		case round%10 == 3:
			f.replace(drains)
			drains++
		case round%10 == 6:
			f.keeper.kill()
			f.startKeeper()
			f.await("the next keeper has everything", func(st keptStatus) bool { return st.Keeper.Up && st.Keeper.Descriptors >= 2*clients })
		}
		pid := f.await("it serves", serves).PID
		time.Sleep(time.Duration(r.IntN(120)) * time.Millisecond) // any moment of its work
		f.end(pid, syscall.SIGKILL)
		for range r.IntN(3) { // and any of its start
			f.begin()
			time.Sleep(time.Duration(r.IntN(80)) * time.Millisecond)
			f.end(f.proc.cmd.Process.Pid, syscall.SIGKILL)
			n++
		}
		f.run()
		st := f.await("it serves", serves)
		if st.Recovered.Cause == "" || len(st.Recovered.Ended) > 0 {
			t.Fatalf("behind kill %d: %+v", n, st.Recovered)
		}
		pauses = append(pauses, st.Recovered.Pause)
		w.talkOn(clients)
	}
	t.Logf("pauses behind kills, without the start of the process: %.0f ms", pauses)
	w.closing(fmt.Sprintf("upgrades=%d restarts=%d drains=%d kills=%d sessions=%d", upgrades, restarts, drains, kills, clients))
}

// TestRealClientsStayThroughKills: weechat and irssi, over TLS and in plaintext, stay through three kills and a restart, and a drain works for them behind those.
func TestRealClientsStayThroughKills(t *testing.T) {
	t.Parallel() // most of it is waiting
	a, b := startEmbedded(t, "a"), startEmbedded(t, "b")
	secure := newSecured(t)
	f := newKeptFerry(t, secure.text, a.backend(), b.backend())
	c := observe(t, f.ferry)
	c.gather(append(secure.clients(t), weechat(t, f.port), irssi(t, f.port))...)
	c.begin()
	f.hasSecure(2)
	begin := time.Now()
	for n, s := range []syscall.Signal{syscall.SIGKILL, syscall.SIGKILL, syscall.SIGUSR1, syscall.SIGKILL} {
		f.end(f.await("it serves", serves).PID, s)
		f.run()
		eventually(t, time.Minute, "the next kill is due", func() bool { return time.Since(begin) > time.Duration(n+1)*3*time.Second })
	}
	f.hasSecure(2)
	f.replace(0)
	c.nobodyNoticed()
}

func serves(st keptStatus) bool { return st.Keeper.Up }

// number is one of the environment.
func number(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}
