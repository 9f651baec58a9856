package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ircferry/ircferry/admin"
	"github.com/ircferry/ircferry/internal/certs/certtest"
)

// ferry is the daemon as a process, with the processes that come behind it.
type ferry struct {
	t        *testing.T
	dir      string
	cmd      *exec.Cmd
	program  string
	client   *admin.Client
	log      *lockedBuffer
	keeper   string // socket; "": none
	attended bool   // run --keeper
	plain    string // address of listener irc
	secure   string // and of ircs
	ircds    map[string]*process
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// startFerry runs the daemon in front of the embedded ircds a and b, each a process of its own.
func startFerry(t *testing.T, env ...string) *ferry {
	t.Helper()
	return startFerryAs(t, os.Args[0], env...)
}

// startFerryAs is startFerry with another program than this one.
func startFerryAs(t *testing.T, program string, env ...string) *ferry {
	t.Helper()
	f := newFerry(t, program)
	f.run(env...)
	return f
}

// newFerry is one that is still to be run.
func newFerry(t *testing.T, program string) *ferry {
	t.Helper()
	f := &ferry{t: t, dir: t.TempDir(), log: &lockedBuffer{}, program: program, ircds: map[string]*process{}}
	for _, name := range []string{"a", "b"} {
		f.ircds[name] = startIrcd(t, f.dir, name)
	}
	certtest.SelfSigned(t, certtest.Options{}).Write(t, f.dir, "irc")
	f.plain, f.secure = freeAddress(t), freeAddress(t)
	f.configure("")
	f.client = admin.NewClient(filepath.Join(f.dir, "admin.sock"))
	return f
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (f *ferry) path() string { return filepath.Join(f.dir, "ircferry.yaml") }

// configure writes the configuration, with more lines at its end.
func (f *ferry) configure(more string) {
	f.t.Helper()
	f.write(f.path(), fmt.Sprintf(`listeners:
  - {name: irc, address: %q, pool: main, limits: {connections: 6000, per_ip: 0, per_ip_rate: 0}}
  - {name: ircs, address: %q, pool: main, limits: {connections: 6000, per_ip: 0, per_ip_rate: 0}, tls: {certs: [{cert: %[3]s/irc.pem, key: %[3]s/irc.key}], min_version: "1.2"}}
pools:
  main:
    topology: standalone
    check: {inter: 2s, rise: 1, fall: 3, timeout: 2s}
    backends:
      - {name: a, handoff: "unix:%[3]s/a.sock"}
      - {name: b, handoff: "unix:%[3]s/b.sock", backup: true}
state: %[3]s/state
admin: {socket: %[3]s/admin.sock}
http: {address: ""}
%[4]s`, f.plain, f.secure, f.dir, more))
}

func (f *ferry) write(path, text string) {
	f.t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// begin starts the daemon.
func (f *ferry) begin(env ...string) {
	f.t.Helper()
	f.cmd = exec.Command(f.program, "run", "-c", f.path())
	if f.attended {
		f.cmd.Args = append(f.cmd.Args, "--keeper")
	}
	if f.keeper != "" {
		f.cmd.Args = append(f.cmd.Args, "--keeper-socket", f.keeper)
	}
	f.cmd.Env = append(append(os.Environ(), asProgram+"=1", stumbleEnv+"="+f.stumbleFile(), "NOTIFY_SOCKET="), env...)
	f.cmd.Stderr = f.log
	if err := f.cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(f.stop)
}

// run begins and waits until it serves.
func (f *ferry) run(env ...string) {
	f.t.Helper()
	f.begin(env...)
	f.awaitUp("a", "b")
	await(f.t, "listeners", func() bool {
		st := f.status()
		return len(st.Listeners) > 0 && !slices.ContainsFunc(st.Listeners, func(l admin.Listener) bool { return !l.Accepting })
	})
}

// stop ends the daemon in order, whichever process it is by now.
func (f *ferry) stop() {
	if f.cmd.ProcessState == nil && syscall.Kill(f.cmd.Process.Pid, 0) == nil {
		f.cmd.Process.Signal(syscall.SIGTERM)
		done := make(chan struct{})
		go func() { f.cmd.Wait(); close(done) }()
		select {
		case <-done:
		case <-time.After(patience):
			f.t.Errorf("the daemon does not end")
			if st, err := f.client.Status(context.Background()); err == nil {
				syscall.Kill(st.PID, syscall.SIGKILL)
			}
			f.cmd.Process.Kill()
			<-done
		}
	}
	if f.t.Failed() {
		f.t.Logf("the daemon's log:\n%s", f.log.String())
	}
}

func (f *ferry) status() admin.Status {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	st, err := f.client.Status(ctx)
	if err != nil {
		f.t.Fatalf("%v\n%s", err, f.log.String())
	}
	return st
}

func (f *ferry) awaitUp(names ...string) {
	f.t.Helper()
	await(f.t, "backends up", func() bool {
		ctx, cancel := context.WithTimeout(f.t.Context(), patience)
		defer cancel()
		backends, err := f.client.Backends(ctx)
		n := 0
		for _, b := range backends {
			for _, name := range names {
				if b.Name == name && b.Oper == "up" {
					n++
				}
			}
		}
		return err == nil && n == len(names)
	})
}

// upgrade asks for one. Whoever answers next is the new process.
func (f *ferry) upgrade(r admin.UpgradeRequest) (*admin.Upgrade, error) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	done, err := f.client.Upgrade(ctx, r)
	if err != nil {
		return nil, err
	}
	return done.Upgrade, nil
}

// must upgrades and has nobody left.
func (f *ferry) must() *admin.Upgrade {
	f.t.Helper()
	u, err := f.upgrade(admin.UpgradeRequest{})
	if err != nil {
		f.t.Fatalf("upgrade: %v\n%s", err, f.log.String())
	}
	if len(u.Left) > 0 {
		f.t.Errorf("left behind: %v", u.Left)
	}
	if pid := f.status().PID; pid != u.PID {
		f.t.Errorf("process %d answers, want %d", pid, u.PID)
	}
	return u
}

// crowd connects so many clients that talk, a third in plaintext, until the test ends.
func (f *ferry) crowd(clients, channels int, pace time.Duration) *crowd {
	f.t.Helper()
	c := newCrowd(clients, channels)
	f.t.Cleanup(c.close)
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	if err := c.connect(ctx, f.plain, f.secure); err != nil {
		f.t.Fatalf("%v\n%s", err, f.log.String())
	}
	c.talk(pace)
	return c
}

// talks waits until the crowd has said some more through the process of now, and heard it.
func (f *ferry) talks(c *crowd) {
	f.t.Helper()
	before := c.oracle.Counts()
	await(f.t, "some more talk", func() bool {
		now := c.oracle.Counts()
		return now.Sent >= before.Sent+100 && now.Delivered >= before.Delivered+100
	})
}

// unharmed ends the talk of a crowd that must not have noticed anything.
func (f *ferry) unharmed(c *crowd) {
	f.t.Helper()
	if counts := c.settle(); !counts.Clean() || counts.Sent == 0 {
		f.t.Errorf("%+v\n%s", counts, strings.Join(c.oracle.Samples(), "\n"))
	}
}

// stumbleEnv names a file that says at which step a successor is to stumble, and how: "STEP HOW".
const stumbleEnv = "IRCFERRY_TEST_STUMBLE"

func (f *ferry) stumbleFile() string { return filepath.Join(f.dir, "stumble") }

func (f *ferry) stumbleAt(step, how string) { f.write(f.stumbleFile(), step+" "+how) }

// stumble has this process end or hang at the step that the file says.
func stumble() {
	path := os.Getenv(stumbleEnv)
	if path == "" {
		return
	}
	atStep = func(step string) {
		text, _ := os.ReadFile(path)
		at, how, _ := strings.Cut(string(text), " ")
		if at != step {
			return
		}
		switch how {
		case "exit":
			os.Exit(3)
		case "killed":
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		case "hangs":
			syscall.Kill(os.Getpid(), syscall.SIGSTOP)
			select {}
		case "panics":
			panic("stumbled")
		case "linkless":
			linkFormat = 0
		}
	}
}

// descriptors are the descriptors of a process, by what they are.
func descriptorsOf(t *testing.T, pid int) map[string]int {
	t.Helper()
	dir := filepath.Join("/proc", strconv.Itoa(pid), "fd")
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for _, n := range names {
		to, err := os.Readlink(filepath.Join(dir, n.Name()))
		if err != nil {
			continue
		}
		kind, _, _ := strings.Cut(to, ":[")
		kinds[kind]++
	}
	return kinds
}

// listenSomewhere holds an address until the test ends.
func listenSomewhere(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}
