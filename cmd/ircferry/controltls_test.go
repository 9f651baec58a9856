package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff"
	"github.com/ircferry/ircferry/internal/certs/certtest"
	"github.com/ircferry/ircferry/internal/config"
	"github.com/ircferry/ircferry/internal/ircclient"
)

// startSecureIrcd starts `ircferry demo-ircd` with its control on a TCP port over TLS, and answers that port's address.
func startSecureIrcd(t *testing.T, dir, name string) (control string, end func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "demo-ircd", "--name", name+".test", "--handoff", "tcp:127.0.0.1:0",
		"--handoff-cert", filepath.Join(dir, "ircd.pem"), "--handoff-key", filepath.Join(dir, "ircd.key"), "--handoff-ca", filepath.Join(dir, "ferry.pem"))
	cmd.Env = append(os.Environ(), asProgram+"=1")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	end = func() {
		if !ended {
			ended = true
			cmd.Process.Kill()
			cmd.Wait()
		}
	}
	t.Cleanup(end)
	in := bufio.NewScanner(out)
	for in.Scan() {
		if where, ok := strings.CutPrefix(in.Text(), "handoff "); ok {
			control = where
		}
		if in.Text() == "ready" {
			return control, end
		}
	}
	t.Fatalf("%s is not ready: %v", name, in.Err())
	return "", nil
}

// Users move between processes whose control is TCP with mutual TLS; the look-up of a nick goes the same way, and the end of a process is seen
// at once.
func TestMovesOverControlWithTLS(t *testing.T) {
	dir := t.TempDir()
	certtest.SelfSigned(t, certtest.Options{Names: []string{"ircd.test"}}).Write(t, dir, "ircd")
	certtest.SelfSigned(t, certtest.Options{}).Write(t, dir, "ferry")
	a, endA := startSecureIrcd(t, dir, "one")
	b, _ := startSecureIrcd(t, dir, "one")
	cfg := testConfig(t, map[string]string{"a": a, "b": b})
	pool := cfg.Pools["main"]
	for i := range pool.Backends {
		pool.Backends[i].TLS = &config.BackendTLS{CA: filepath.Join(dir, "ircd.pem"), ServerName: "ircd.test",
			Cert: filepath.Join(dir, "ferry.pem"), Key: filepath.Join(dir, "ferry.key")}
	}
	for _, f := range backend.Probe(t.Context(), cfg) {
		if f.Severity != config.SeverityOK {
			t.Errorf("check says %s", f)
		}
	}
	d := startTestDaemon(t, cfg)
	alice := ircclient.TestUser(t, d.address(t), "alice")
	alice.Ask("JOIN #sea")
	there := alice.Ask("NAMES #sea")
	for _, way := range [][2]string{{"a", "b"}, {"b", "a"}, {"a", "b"}} {
		if r := drain(t, d, way[0], way[1]); r.State != handoff.StateDone || r.Moved != 1 {
			t.Fatalf("%s to %s: %+v", way[0], way[1], r)
		}
		readyAgain(t, d, way[0])
		if names := alice.Ask("NAMES #sea"); names != there {
			t.Errorf("NAMES: %q, before %q", names, there)
		}
	}
	control, _, err := d.backends.Pools()[0].Backends()[1].DialControl(t.Context(), d.instance)
	if err != nil {
		t.Fatal(err)
	}
	defer control.Close()
	if u, err := control.Find(t.Context(), "alice"); err != nil || u == "" {
		t.Errorf("found %q, %v", u, err)
	}

	endA()
	await(t, "main/a down", func() bool { b, _ := d.backends.Backend("main/a"); return b.Oper() == backend.Down })
	if names := alice.Ask("NAMES #sea"); names != there {
		t.Errorf("NAMES: %q, before %q", names, there)
	}
}
