package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff"
	"github.com/ircferry/ircferry/handoff/protocol"
	"github.com/ircferry/ircferry/internal/certs/certtest"
	"github.com/ircferry/ircferry/internal/config"
)

// patience bounds a wait for what must come: a busy machine takes its time.
const patience = time.Minute

// asProgram, set in the environment, makes the test binary the program itself, so that tests can have real processes of it.
const asProgram = "IRCFERRY_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		stumble()
		os.Exit(execute(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// process is an embedded ircd in a process of its own.
type process struct {
	t      *testing.T
	name   string
	socket string
	cmd    *exec.Cmd
}

// startIrcd starts `ircferry demo-ircd` with its handoff socket at dir/NAME.sock, and ends it with the test.
func startIrcd(t *testing.T, dir, name string, args ...string) *process {
	t.Helper()
	p := &process{t: t, name: name, socket: filepath.Join(dir, name+".sock")}
	p.start(args...)
	t.Cleanup(p.kill)
	return p
}

// start runs the process and returns when it answers HELLO.
func (p *process) start(args ...string) {
	p.t.Helper()
	args = append([]string{"demo-ircd", "--name", p.name + ".test", "--handoff", "unix:" + p.socket, "--stream", "127.0.0.1:0"}, args...)
	p.cmd = exec.Command(os.Args[0], args...)
	p.cmd.Env = append(os.Environ(), asProgram+"=1")
	p.cmd.Stderr = os.Stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	awaitHello(p.t, "unix:"+p.socket)
}

// kill ends the process without notice.
func (p *process) kill() {
	if p.cmd == nil {
		return
	}
	p.cmd.Process.Kill()
	p.cmd.Wait()
	p.cmd = nil
}

// terminate ends the process in order, as a service manager does.
func (p *process) terminate() {
	p.t.Helper()
	p.cmd.Process.Signal(syscall.SIGTERM)
	p.cmd.Wait()
	p.cmd = nil
}

func (p *process) signal(s os.Signal) { p.cmd.Process.Signal(s) }

// stop stops the process by SIGSTOP. All its threads have stopped when it returns: before, it might still answer.
func (p *process) stop() {
	p.t.Helper()
	p.signal(syscall.SIGSTOP)
	var status syscall.WaitStatus
	for {
		_, err := syscall.Wait4(p.cmd.Process.Pid, &status, syscall.WUNTRACED, nil)
		if err == nil && status.Stopped() {
			return
		}
		if err != syscall.EINTR {
			p.t.Fatalf("stop %s: %v, %v", p.name, status, err)
		}
	}
}

// awaitHello waits for an ircd's control socket to answer.
func awaitHello(t *testing.T, address string) protocol.Hello {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		hello, err := hello(ctx, address)
		if err == nil {
			return hello
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s does not answer HELLO: %v", address, err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func hello(ctx context.Context, address string) (protocol.Hello, error) {
	control, err := protocol.Dial(ctx, address)
	if err != nil {
		return protocol.Hello{}, err
	}
	defer control.Close()
	return control.Hello(ctx, protocol.Hello{Name: "test"})
}

// testConfig is a standalone pool "main" of native backends, and a listener for plaintext and one for TLS, on ports of the kernel's choice.
func testConfig(t *testing.T, handoffs map[string]string) config.Config {
	t.Helper()
	cfg := config.Default()
	cfg.State = t.TempDir()
	cfg.Admin = config.Admin{Socket: filepath.Join(t.TempDir(), "admin.sock")}
	cfg.HTTP.Address = ""
	limits := config.Limits{Registration: config.Duration(time.Minute)}
	cert, key := certtest.SelfSigned(t, certtest.Options{}).Write(t, t.TempDir(), "irc")
	cfg.Listeners = []config.Listener{
		{Name: "irc", Address: "127.0.0.1:0", Pool: "main", Limits: limits},
		{Name: "ircs", Address: "127.0.0.2:0", Pool: "main", Limits: limits, // two listeners must not have one address as configured
			TLS: &config.ListenerTLS{Certs: []config.Cert{{Cert: cert, Key: key}}, MinVersion: "1.2"}},
	}
	pool := config.Pool{Topology: config.Standalone, Check: config.Check{Type: config.CheckHandoff, Inter: config.Duration(100 * time.Millisecond), Rise: 1, Fall: 2, Timeout: config.Duration(10 * time.Second)}}
	for _, name := range []string{"a", "b", "c"} {
		if address, ok := handoffs[name]; ok {
			pool.Backends = append(pool.Backends, config.Backend{Name: name, Handoff: address, Weight: 100})
		}
	}
	cfg.Pools = map[string]config.Pool{"main": pool}
	return cfg
}

// startTestDaemon runs the daemon in this process and ends it with the test.
func startTestDaemon(t *testing.T, cfg config.Config) *daemon {
	t.Helper()
	d, err := startDaemon(daemonOptions{config: &cfg, log: testLog(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := d.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
	})
	for _, b := range cfg.Pools["main"].Backends {
		awaitUp(t, d, "main/"+b.Name)
	}
	return d
}

// testLog shows the daemon's log of a failed test only.
func testLog(t *testing.T) *slog.Logger {
	var to io.Writer = io.Discard
	if testing.Verbose() {
		to = t.Output()
	}
	return slog.New(slog.NewTextHandler(to, nil))
}

func awaitUp(t *testing.T, d *daemon, name string) {
	t.Helper()
	await(t, name+" up", func() bool {
		b, ok := d.backends.Backend(name)
		return ok && b.Oper() == backend.Up
	})
}

// await waits for a condition of the daemon's own state, which nothing announces.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, patience)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// address is where clients of a test daemon connect to.
func (d *daemon) address(t *testing.T) string {
	t.Helper()
	all := d.proxy.Addrs()
	if len(all) > 1 {
		return d.listening(t, "irc")
	}
	for name := range all {
		return d.listening(t, name)
	}
	t.Fatal("no listener")
	return ""
}

// listening is where a listener is bound.
func (d *daemon) listening(t *testing.T, name string) string {
	t.Helper()
	for _, a := range d.proxy.Addrs()[name] {
		return a.(*net.TCPAddr).String()
	}
	t.Fatalf("no listener %s", name)
	return ""
}

// drain moves all users to another backend and answers the report of the ended move.
func drain(t *testing.T, d *daemon, from, to string) handoff.Report {
	t.Helper()
	m, err := d.moves.Drain(handoff.Request{Pool: "main", From: from, To: to})
	if err != nil {
		t.Fatalf("drain %s to %s: %v", from, to, err)
	}
	return ended(t, m)
}

func ended(t *testing.T, m *handoff.Move) handoff.Report {
	t.Helper()
	select {
	case <-m.Done():
	case <-time.After(90 * time.Second):
		t.Fatalf("the move does not end: %+v", m.Report())
	}
	return m.Report()
}

// readyAgain lets a drained backend take users back.
func readyAgain(t *testing.T, d *daemon, name string) {
	t.Helper()
	b, ok := d.backends.Backend("main/" + name)
	if !ok {
		t.Fatalf("no backend %s", name)
	}
	if err := b.SetAdmin(backend.Ready); err != nil {
		t.Fatal(err)
	}
	awaitUp(t, d, "main/"+name)
}

// openDescriptors is how many descriptors this process has.
func openDescriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func nick(kind string, i int) string { return fmt.Sprintf("%s%d", kind, i) }
