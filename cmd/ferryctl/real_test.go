package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ircferry/ircferry/admin"
	"github.com/ircferry/ircferry/internal/ircclient"
)

// ferry is the real daemon in a process of its own, with embedded ircds a and b in processes of theirs.
type ferry struct {
	t      *testing.T
	dir    string
	binary string
	socket string
}

// ircferry builds the daemon once for all tests; TestMain removes it.
var ircferry = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "ferryctl-test")
	if err != nil {
		return "", err
	}
	binary := filepath.Join(dir, "ircferry")
	build := exec.Command("go", "build", "-trimpath", "-o", binary, "../ircferry")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // as make does it, which has compiled all of it then
	if out, err := build.CombinedOutput(); err != nil {
		return binary, fmt.Errorf("build ircferry: %w\n%s", err, out)
	}
	return binary, nil
})

// realTests: the daemon was built, and is to be removed.
var realTests bool

// newFerry starts the daemon. faults are what b does wrong, as demo-ircd takes them.
func newFerry(t *testing.T, faults ...string) *ferry {
	t.Helper()
	dir := t.TempDir()
	realTests = true
	binary, err := ircferry()
	if err != nil {
		t.Fatal(err)
	}
	f := &ferry{t: t, dir: dir, binary: binary, socket: filepath.Join(dir, "admin.sock")}
	f.ircd("a")
	f.ircd("b", faults...)
	conf := fmt.Sprintf(`listeners: [{name: irc, address: "127.0.0.1:0", pool: main}]
pools:
  main:
    topology: standalone
    check: {inter: 5s, timeout: 5s, rise: 1}
    backends:
      - {name: a, handoff: "unix:%[1]s/a.sock"}
      - {name: b, handoff: "unix:%[1]s/b.sock"}
state: %[1]s/state
moves: {max_pause: 15s}
admin: {socket: %[2]s}
http: {address: ""}
`, dir, f.socket)
	for path, text := range map[string]string{"ircferry.yaml": conf, "restart.sh": f.restartScript()} {
		syscall.ForkLock.RLock() // a child would have it open until it is another program, and what is written cannot be run
		err := os.WriteFile(filepath.Join(dir, path), []byte(text), 0o700)
		syscall.ForkLock.RUnlock()
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "state"), 0o700); err != nil {
		t.Fatal(err)
	}
	f.start("daemon", "run", "-c", filepath.Join(dir, "ircferry.yaml"))
	f.await("both backends up", func(st admin.Status) bool {
		return len(st.Pools) == 1 && st.Pools[0].Backends[0].Oper == "up" && st.Pools[0].Backends[1].Oper == "up"
	})
	return f
}

// start runs the binary until the end of the test; its pid is in NAME.pid, its output in NAME.log.
func (f *ferry) start(name string, args ...string) {
	f.t.Helper()
	log, err := os.Create(filepath.Join(f.dir, name+".log"))
	if err != nil {
		f.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(f.binary, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	pid := filepath.Join(f.dir, name+".pid")
	if err := os.WriteFile(pid, []byte(strconv.Itoa(cmd.Process.Pid)), 0o600); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		if f.t.Failed() && name == "daemon" {
			text, _ := os.ReadFile(log.Name())
			f.t.Logf("the daemon's log:\n%s", text)
		}
		cmd.Process.Kill()
		cmd.Wait()
		if now, _ := os.ReadFile(pid); string(now) != strconv.Itoa(cmd.Process.Pid) { // restart.sh has started another
			if n, err := strconv.Atoi(strings.TrimSpace(string(now))); err == nil && n > 1 {
				syscall.Kill(n, syscall.SIGKILL)
			}
		}
	})
}

func (f *ferry) ircdArgs(name string, faults ...string) []string {
	args := []string{"demo-ircd", "--name", name, "--handoff", "unix:" + filepath.Join(f.dir, name+".sock")}
	for _, x := range faults {
		args = append(args, "--fault", x)
	}
	return args
}

func (f *ferry) ircd(name string, faults ...string) {
	f.t.Helper()
	f.start(name, f.ircdArgs(name, faults...)...)
	f.poll("ircd "+name, func() bool {
		text, _ := os.ReadFile(filepath.Join(f.dir, name+".log"))
		return strings.Contains(string(text), "ready")
	})
}

// restartScript kills an ircd and starts it anew, as a service manager does.
func (f *ferry) restartScript() string {
	return fmt.Sprintf("#!/bin/sh\ncd %s\nkill -9 $(cat $1.pid)\n%s %s >/dev/null 2>&1 &\necho $! >$1.pid\n", f.dir, f.binary,
		strings.ReplaceAll(strings.Join(f.ircdArgs("NAME"), " "), "NAME", "$1"))
}

// poll waits for what nothing announces.
func (f *ferry) poll(what string, holds func() bool) {
	f.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !holds() {
		if time.Now().After(deadline) {
			f.t.Fatalf("%s: not within a minute", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (f *ferry) await(what string, holds func(admin.Status) bool) (st admin.Status) {
	f.t.Helper()
	c := admin.NewClient(f.socket)
	defer c.Close()
	f.poll(what, func() bool {
		var err error
		st, err = c.Status(f.t.Context())
		return err == nil && holds(st)
	})
	return st
}

func (f *ferry) call(args ...string) answer {
	f.t.Helper()
	return call(f.t, nil, append([]string{"--socket", f.socket}, args...)...)
}

// clients are registered users in one channel.
func (f *ferry) clients(nicks ...string) []*ircclient.Client {
	f.t.Helper()
	st := f.await("a listener", func(st admin.Status) bool { return len(st.Listeners) == 1 && st.Listeners[0].Accepting })
	var all []*ircclient.Client
	for _, nick := range nicks {
		c, err := ircclient.Dial(f.t.Context(), st.Listeners[0].Address, ircclient.Options{})
		if err != nil {
			f.t.Fatal(err)
		}
		f.t.Cleanup(func() { c.Close() })
		if err := c.Register(nick); err != nil {
			f.t.Fatal(err)
		}
		if err := c.Join("#ferry"); err != nil {
			f.t.Fatal(err)
		}
		all = append(all, c)
	}
	for _, c := range all {
		if _, err := c.Fence(); err != nil {
			f.t.Fatal(err)
		}
	}
	return all
}

// talk sends a line from the first to the others, and fails if anybody sees anything else.
func (f *ferry) talk(all []*ircclient.Client, text string) {
	f.t.Helper()
	if err := all[0].Send("PRIVMSG #ferry :" + text); err != nil {
		f.t.Fatal(err)
	}
	if seen, err := all[0].Fence(); err != nil || len(seen) != 0 {
		f.t.Fatalf("%s: the speaker saw %q, %v", text, seen, err)
	}
	for _, c := range all[1:] {
		seen, err := c.Fence()
		if err != nil || len(seen) != 1 || !strings.HasSuffix(seen[0].Text, " PRIVMSG #ferry :"+text) {
			f.t.Fatalf("%s: another saw %q, %v", text, seen, err)
		}
	}
}

// An operator's day: every command against the real daemon, with clients who must not notice.
func TestOperatorsDay(t *testing.T) {
	f := newFerry(t)
	users := f.clients("alice", "bob", "carol")
	f.talk(users, "good morning")

	f.call("status").want(t, 0, []string{"main/a", "SESSIONS  3: relay 3"}, nil)
	f.call("show", "session", "BOB").want(t, 0, []string{"main/a", "relay"}, nil)
	f.call("show", "session", "nobody").want(t, 1, nil, []string{`no session has the id or nick "nobody"`})
	f.call("drain", "main/a", "--dry-run").want(t, 0, []string{"dry run of main/a to main/b; nothing was changed"}, nil)
	f.talk(users, "after the dry run")

	f.call("drain", "main/a", "--strict").want(t, 0, []string{"of main/a to main/b: done", "\n3         3      0         0       0"}, nil)
	f.talk(users, "after the drain")
	f.call("show", "session", "bob").want(t, 0, []string{"main/b"}, nil)

	f.call("drain", "main/b").want(t, 5, nil, []string{"refused: main/b is the last usable backend", "instead: "})
	f.call("undrain", "main/a").want(t, 0, []string{"main/a is ready"}, nil)
	f.call("drain", "main/b", "--to", "b").want(t, 5, nil, []string{"instead: "})
	f.call("drain", "main/b", "--to", "a").want(t, 0, []string{"of main/b to main/a: done"}, nil)
	f.talk(users, "and back")

	f.call("ready", "main/b").want(t, 0, []string{"main/b is ready"}, nil)
	f.call("hold", "main/a").want(t, 0, []string{"parked"}, nil)
	f.call("status").want(t, 0, []string{"parked 3", "warning: the users of main/a are parked"}, nil)
	f.call("maint", "main/a").want(t, 5, nil, []string{"ferryctl cancel "})
	f.call("release", "main/a", "--to", "b").want(t, 0, []string{"of main/a to main/b: done"}, nil)
	f.talk(users, "over to b")

	f.call("restart", "main/b", "--exec", filepath.Join(f.dir, "restart.sh")+" b").want(t, 0, []string{"restart", "done"}, nil)
	f.talk(users, "a new b")
	f.call("restart", "main/b", "--exec", "exit 9").want(t, 1, nil, []string{"the command failed (exit status 9)"})
	f.talk(users, "the same b")

	a := f.call("show", "moves", "-o", "json")
	var moves []admin.Move
	if err := json.Unmarshal([]byte(a.out), &moves); err != nil || len(moves) != 5 {
		t.Errorf("%d moves, want 5: %v\n%v", len(moves), err, a)
	}
	for _, m := range moves {
		if m.Attempted != 3 || m.Moved != 3 {
			t.Errorf("move %s: %d of %d moved", m.ID, m.Moved, m.Attempted)
		}
	}
	f.auditLines("verb=drain object=main/a args=dry_run result=ok", "verb=drain object=main/b args=\"\" result=refused", "verb=restart object=main/b to=b result=done")
}

// auditLines looks into the daemon's log.
func (f *ferry) auditLines(want ...string) {
	f.t.Helper()
	log, err := os.Open(filepath.Join(f.dir, "daemon.log"))
	if err != nil {
		f.t.Fatal(err)
	}
	defer log.Close()
	var lines []string
	for s := bufio.NewScanner(log); s.Scan(); {
		if strings.Contains(s.Text(), "component=audit") {
			lines = append(lines, s.Text())
		}
	}
	text := strings.Join(lines, "\n")
	for _, w := range want {
		if !strings.Contains(text, w) {
			f.t.Errorf("the audit log lacks %q:\n%s", w, text)
		}
	}
}

func TestRealRevertsGiveTheirCodes(t *testing.T) {
	for _, tt := range []struct {
		name, fault string
		args        []string
		code        int
		cause       string
	}{
		{"refused by the destination", "PREPARE:refuse", nil, 1, "cause: push main/b"},
		{"too slow", "PREPARE:delay:20s", []string{"--timeout", "2s"}, 124, "the deadline of the move is over (2s)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFerry(t, tt.fault)
			users := f.clients("alice", "bob")
			f.call(append([]string{"drain", "main/a", "--to", "b"}, tt.args...)...).want(t, tt.code, []string{"reverted", "everybody is on main/a", tt.cause}, nil)
			f.talk(users, "still here")
		})
	}
}

// Ctrl-C in the middle of a real move: everybody is where he was, nobody has noticed.
func TestRealInterruptReverts(t *testing.T) {
	f := newFerry(t, "PREPARE:delay:20s")
	users := f.clients("alice", "bob")
	interrupts := make(chan os.Signal, 1)
	go func() {
		f.await("a move that pushes", func(st admin.Status) bool { return len(st.Moves) == 1 && st.Moves[0].Step == "push" })
		interrupts <- os.Interrupt
	}()
	call(t, interrupts, "--socket", f.socket, "drain", "main/a", "--to", "b").want(t, exitInterrupted, []string{"reverted"}, []string{"interrupted; cancelling"})
	f.talk(users, "as if nothing had been")
}
