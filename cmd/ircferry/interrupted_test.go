package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/admin"
	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff"
	"github.com/ircferry/ircferry/internal/config"
	"github.com/ircferry/ircferry/internal/ircclient"
)

// TestStateDiskFull: a move whose journal cannot be written is reverted, and the next one goes through once there is room.
func TestStateDiskFull(t *testing.T) {
	dir := t.TempDir()
	a, b := startIrcd(t, dir, "a"), startIrcd(t, dir, "b")
	cfg := testConfig(t, map[string]string{"a": "unix:" + a.socket, "b": "unix:" + b.socket})
	cfg.State = t.TempDir()
	if err := unix.Mount("tmpfs", cfg.State, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("no file system of its own to fill (needs root): %v", err)
	}
	t.Cleanup(func() { unix.Unmount(cfg.State, unix.MNT_DETACH) })
	d := startTestDaemon(t, cfg)
	w := newWorld(t, d)
	w.populate(8, 2)
	w.runTalk()
	ballast := filepath.Join(cfg.State, "ballast")
	fill(t, ballast)
	m, err := d.moves.Drain(handoff.Request{Pool: "main", From: "a", To: "b"})
	if err == nil {
		if r := ended(t, m); r.State != handoff.StateReverted || !strings.Contains(r.Error, "no space left") {
			t.Errorf("full disk: %+v", r)
		}
	} else if !strings.Contains(err.Error(), "no space left") {
		t.Errorf("full disk: %v", err)
	}
	w.talkOn(50)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	readyAgain(t, d, "a")
	if r := drain(t, d, "a", "b"); r.State != handoff.StateDone || r.Moved != 8 {
		t.Errorf("with room again: %+v", r)
	}
	w.talkOn(50)
	w.stop()
	if counts := w.oracle.Settle(patience); !counts.Clean() {
		t.Errorf("%v\n%s", counts, strings.Join(w.oracle.Samples(), "\n"))
	}
}

// fill writes a file until its file system has no room.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 4096)
	for err == nil {
		_, err = f.Write(block)
	}
}

// program is the daemon as a process of its own.
type program struct {
	t      *testing.T
	config string
	socket string
	addr   string
	cmd    *exec.Cmd
}

// newProgram writes a configuration for two backends and a fixed client port, so that a restarted daemon has the same.
func newProgram(t *testing.T, a, b *process) *program {
	t.Helper()
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.3:0") // no connection goes out from there and takes the port while the daemon is down
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	p := &program{t: t, config: filepath.Join(dir, "ircferry.yaml"), socket: filepath.Join(dir, "admin.sock"), addr: addr}
	text := fmt.Sprintf(`listeners: [{name: irc, address: %q, pool: main, limits: {per_ip: 0, per_ip_rate: 0}}]
pools:
  main:
    check: {inter: 10s, rise: 1, fall: 2, timeout: 10s}
    backends:
      - {name: a, handoff: "unix:%s"}
      - {name: b, handoff: "unix:%s"}
state: %s
admin: {socket: %s}
http: {address: ""}
`, addr, a.socket, b.socket, filepath.Join(dir, "state"), p.socket)
	if err := os.WriteFile(p.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	return p
}

// start runs the daemon and returns when it lets clients in.
func (p *program) start() {
	p.t.Helper()
	p.cmd = exec.Command(os.Args[0], "run", "-c", p.config)
	p.cmd.Env = append(os.Environ(), asProgram+"=1")
	if testing.Verbose() {
		p.cmd.Stderr = p.t.Output()
	}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	await(p.t, "the daemon's backends up", func() bool {
		s, err := p.client().Status(p.t.Context())
		return err == nil && len(s.Listeners) == 1 && s.Listeners[0].Accepting && // bound last, after the admin socket
			len(s.Pools) == 1 && s.Pools[0].Backends[0].Oper == "up" && s.Pools[0].Backends[1].Oper == "up"
	})
}

func (p *program) client() *admin.Client { return admin.NewClient(p.socket) }

func (p *program) kill() {
	if p.cmd == nil {
		return
	}
	p.cmd.Process.Kill()
	p.cmd.Wait()
	p.cmd = nil
}

// users is how many users two ircds have together.
func users(t *testing.T, ps ...*process) (n int) {
	t.Helper()
	for _, p := range ps {
		n += awaitHello(t, "unix:"+p.socket).Users
	}
	return n
}

// TestC3_18DaemonKilledWhileUsersAreHeld (lessons C3.18): the journal is the only owner. The next daemon reports and keeps it, and
// nobody is live: the clients come back as new ones.
func TestC3_18DaemonKilledWhileUsersAreHeld(t *testing.T) {
	dir := t.TempDir()
	a, b := startIrcd(t, dir, "a"), startIrcd(t, dir, "b")
	p := newProgram(t, a, b)
	p.start()
	for i := range 5 {
		ircclient.TestUser(t, p.addr, nick("held", i))
	}
	done, err := p.client().Hold(t.Context(), admin.HoldRequest{Backend: "main/a"})
	if err != nil {
		t.Fatal(err)
	}
	await(t, "parked", func() bool {
		m, err := p.client().Move(t.Context(), done.Move.ID)
		return err == nil && m.State == handoff.StateParked
	})
	p.kill()
	p.start()
	kept, _ := filepath.Glob(filepath.Join(filepath.Dir(p.config), "state", "moves", "*.journal.interrupted"))
	if len(kept) != 1 {
		t.Fatalf("journals kept: %v", kept)
	}
	if info, err := os.Stat(kept[0]); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if n := users(t, a, b); n != 0 {
		t.Errorf("%d users live without a client", n)
	}
	ircclient.TestUser(t, p.addr, "held0").Fence()
}

// TestDaemonKilledBeforeTheRelease: the source goes on by itself, sees its clients gone, and takes them again; the backend is
// in the admin state of before.
func TestDaemonKilledBeforeTheRelease(t *testing.T) {
	dir := t.TempDir()
	a, b := startIrcd(t, dir, "a"), startIrcd(t, dir, "b", "--fault", "PREPARE:delay:4s")
	p := newProgram(t, a, b)
	p.start()
	for i := range 5 {
		ircclient.TestUser(t, p.addr, nick("frozen", i))
	}
	done, err := p.client().Drain(t.Context(), admin.DrainRequest{Backend: "main/a", To: "b"})
	if err != nil {
		t.Fatal(err)
	}
	await(t, "frozen", func() bool {
		m, err := p.client().Move(t.Context(), done.Move.ID)
		return err == nil && m.Step == handoff.StepPush
	})
	p.kill()
	await(t, "nobody live without a client", func() bool { return users(t, a) == 0 })
	p.start()
	ircclient.TestUser(t, p.addr, "frozen0").Fence()
	s, err := p.client().Status(t.Context())
	if err != nil || s.Pools[0].Backends[0].Admin != "ready" || s.Pools[0].Serving != "a" {
		t.Errorf("after the interrupted drain: %+v, %v", s.Pools, err)
	}
	if n := users(t, a, b); n != 1 {
		t.Errorf("%d users, want the one who came back", n)
	}
}

// TestC3_18DaemonKilledAtEachStep (lessons C3.18): whatever the journal says by then, the next daemon finds no user live without a client,
// serves who comes, and says what it found as long as the journal lies there.
func TestC3_18DaemonKilledAtEachStep(t *testing.T) {
	for _, c := range []struct {
		name  string
		a, b  string // faults, as in faultCase
		step  handoff.Step
		kept  bool   // the journal has no end
		admin string // of a, afterwards
	}{
		{"prepare", "", "ATTACH:delay:20s", handoff.StepPrepare, true, "ready"},
		{"pull", "EXPORT:delay:4s", "", handoff.StepPull, true, "ready"},
		{"release intended", "RELEASE:delay:3s", "", handoff.StepRelease, true, "drain"},
		{"released", "", "COMMIT:delay:3s", handoff.StepCommit, true, "drain"},
		{"committed", "", "LIVE:drop", handoff.StepSplice, false, "drain"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			a, b := startIrcd(t, dir, "a", faultArgs(c.a)...), startIrcd(t, dir, "b", faultArgs(c.b)...)
			p := newProgram(t, a, b)
			p.start()
			for i := range 5 {
				ircclient.TestUser(t, p.addr, nick("user", i))
			}
			done, err := p.client().Drain(t.Context(), admin.DrainRequest{Backend: "main/a", To: "b"})
			if err != nil {
				t.Fatal(err)
			}
			await(t, "step "+string(c.step), func() bool {
				m, err := p.client().Move(t.Context(), done.Move.ID)
				if err != nil || m.Step != c.step {
					return false
				}
				s, err := p.client().Status(t.Context())
				return err == nil && s.Pools[0].Backends[0].Admin == "drain" // set within the first step
			})
			p.kill()
			p.start()
			await(t, "nobody live without a client", func() bool { return users(t, a, b) == 0 })
			s, err := p.client().Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got := s.Pools[0].Backends[0].Admin; got != c.admin {
				t.Errorf("a is in %s, want %s", got, c.admin)
			}
			kept, _ := filepath.Glob(filepath.Join(filepath.Dir(p.config), "state", "moves", "*"))
			if c.kept != (len(kept) == 1) || c.kept != (len(s.Warnings) == 1) {
				t.Fatalf("journals %v, warnings %q", kept, s.Warnings)
			}
			if c.kept {
				if !strings.Contains(s.Warnings[0], done.Move.ID) || !strings.Contains(s.Warnings[0], kept[0]) {
					t.Errorf("warned %q of %s", s.Warnings, kept[0])
				}
				os.Remove(kept[0])
				if s, err := p.client().Status(t.Context()); err != nil || len(s.Warnings) > 0 {
					t.Errorf("still warned %q, %v", s.Warnings, err)
				}
			}
			ircclient.TestUser(t, p.addr, "user0").Fence()
		})
	}
}

// TestInterruptedCommandIsUndone: what it had set of its backend goes back, unless that was a drain whose users were to leave.
func TestInterruptedCommandIsUndone(t *testing.T) {
	for _, c := range []struct {
		kind     handoff.Kind
		released bool
		want     backend.AdminState
	}{
		{handoff.KindDrain, false, backend.Ready},
		{handoff.KindDrain, true, backend.Drain},
		{handoff.KindHold, true, backend.Ready}, // of a linked pool, which has no gate
		{handoff.KindRestart, true, backend.Ready},
	} {
		dir := t.TempDir()
		a := startIrcd(t, dir, "a")
		cfg := testConfig(t, map[string]string{"a": "unix:" + a.socket})
		pool := cfg.Pools["main"]
		pool.Topology = config.Linked
		cfg.Pools["main"] = pool
		lines := fmt.Sprintf("MOVE id=x kind=%s pool=main from=a to= tx=%032x epoch=1 was=ready\n", c.kind, 1)
		if c.released {
			lines += fmt.Sprintf("RELEASE tx=%032x\n", 1)
		}
		for path, text := range map[string]string{"moves/x.journal": lines, "backends.json": `{"version": 1, "admin": {"main/a": "drain"}}`} {
			path = filepath.Join(cfg.State, path)
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		d := startTestDaemon(t, cfg)
		if b, _ := d.backends.Backend("main/a"); b.Admin() != c.want {
			t.Errorf("%s, released %v: a is in %s, want %s", c.kind, c.released, b.Admin(), c.want)
		}
	}
}

// TestSecondDaemonRefused: the state directory is locked, and the message says what to do.
func TestSecondDaemonRefused(t *testing.T) {
	dir := t.TempDir()
	a, b := startIrcd(t, dir, "a"), startIrcd(t, dir, "b")
	p := newProgram(t, a, b)
	p.start()
	second := exec.CommandContext(t.Context(), os.Args[0], "run", "-c", p.config)
	second.Env = append(os.Environ(), asProgram+"=1")
	out, err := second.CombinedOutput()
	if err == nil || second.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "another ircferry runs") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestDaemonStoppedWhileUsersAreHeld: it does not wait for moves.park, so every client is told.
func TestDaemonStoppedWhileUsersAreHeld(t *testing.T) {
	dir := t.TempDir()
	a, b := startIrcd(t, dir, "a"), startIrcd(t, dir, "b")
	p := newProgram(t, a, b)
	p.start()
	c := ircclient.TestUser(t, p.addr, "held")
	done, err := p.client().Hold(t.Context(), admin.HoldRequest{Backend: "main/a"})
	if err != nil {
		t.Fatal(err)
	}
	await(t, "parked", func() bool {
		m, err := p.client().Move(t.Context(), done.Move.ID)
		return err == nil && m.State == handoff.StateParked
	})
	began := time.Now()
	p.cmd.Process.Signal(syscall.SIGTERM)
	if said := ircclient.Texts(c.Gone()); !strings.Contains(said, "ERROR :Closing link: (ircferry) the proxy is shutting down, please reconnect") {
		t.Errorf("the client was told %q", said)
	}
	err = p.cmd.Wait()
	p.cmd = nil
	if took := time.Since(began); err != nil || took > stopTime/2 {
		t.Errorf("ended after %v: %v", took, err)
	}
}
