//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// ferry is a running daemon with its own configuration, state and sockets.
type ferry struct {
	t    *testing.T
	dir  string
	proc *process
	port int // of the listener irc
}

// config is a configuration for one pool of the given backends; listener is more text for the listener irc.
func config(dir string, port int, listener string, backends ...string) string {
	return fmt.Sprintf(`listeners:
  - name: irc
    address: "127.0.0.1:%d"
    pool: main
    limits: {connections: 1000, per_ip: 0, per_ip_rate: 0, registration: 20s}
%s
pools:
  main:
    topology: standalone
    check: {inter: 1s, rise: 1, fall: 3, timeout: 1s}
    backends:
      - %s
state: %s/state
admin: {socket: %s/admin.sock}
http: {address: ""}
log: {level: debug}
`, port, listener, strings.Join(backends, "\n      - "), dir, dir)
}

// startFerry runs the daemon and returns when its listener answers. env may carry a service manager's socket.
func startFerry(t *testing.T, env []string, listener string, backends ...string) *ferry {
	t.Helper()
	f := newFerry(t, listener, backends...)
	f.run(env)
	return f
}

// newFerry makes the configuration of a daemon; run starts it.
func newFerry(t *testing.T, listener string, backends ...string) *ferry {
	t.Helper()
	f := &ferry{t: t, dir: shortDir(t), port: freePort(t)}
	f.writeConfig(config(f.dir, f.port, listener, backends...))
	return f
}

func (f *ferry) run(env []string) {
	f.t.Helper()
	f.proc = start(f.t, env, binary("ircferry"), "run", "-c", f.configFile())
	awaitPort(f.t, f.port, f.proc)
}

func (f *ferry) configFile() string { return filepath.Join(f.dir, "ircferry.yaml") }

func (f *ferry) writeConfig(text string) {
	f.t.Helper()
	writeFile(f.t, f.configFile(), text)
}

// ctl runs ferryctl and returns what it printed on stdout, and its exit code.
func (f *ferry) ctl(args ...string) (string, int) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary("ferryctl"), append([]string{"--socket", filepath.Join(f.dir, "admin.sock")}, args...)...)
	var out, problem bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problem
	err := cmd.Run()
	if err != nil {
		f.t.Logf("ferryctl %s: %v: %s", strings.Join(args, " "), err, problem.String())
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// result is what the tests read of a move's report.
type result struct {
	State     string             `json:"state"`
	To        string             `json:"to"`
	Attempted int                `json:"attempted"`
	Moved     int                `json:"moved"`
	Failed    int                `json:"failed"`
	Reopened  int                `json:"reopened"`
	Error     string             `json:"error"`
	Took      map[string]float64 `json:"step_ms"`
	PauseMS   struct {
		P50 float64 `json:"p50"`
		P99 float64 `json:"p99"`
		Max float64 `json:"max"`
	} `json:"pause_ms"`
}

// move runs a changing command that must move all and fail none.
func (f *ferry) move(args ...string) result {
	f.t.Helper()
	out, code := f.ctl(append([]string{"-o", "json"}, args...)...)
	var r result
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		f.t.Fatalf("%s: %v in %q", args, err, out)
	}
	if code != 0 || r.State != "done" || r.Moved != r.Attempted || r.Failed != 0 {
		f.t.Fatalf("%s: exit %d, %+v", args, code, r)
	}
	return r
}

// toA has the users of main/b, if there are any, on main/a, and both ready.
func (f *ferry) toA() {
	f.t.Helper()
	f.move("drain", "main/b", "--to", "a")
	f.ctl("undrain", "main/b")
}

// replace is the nth drain to and fro, from a to b for n = 0, and makes the one that was left ready again.
func (f *ferry) replace(n int) result {
	f.t.Helper()
	from, to := "a", "b"
	if n%2 == 1 {
		from, to = to, from
	}
	r := f.move("drain", "main/"+from, "--to", to)
	f.ctl("undrain", "main/"+from)
	f.t.Logf("replace %d, %s to %s: %d sessions, pause p50 %.0f ms, p99 %.0f ms, max %.0f ms", n+1, from, to, r.Moved, r.PauseMS.P50, r.PauseMS.P99, r.PauseMS.Max)
	return r
}

// embedded is an embedded ircd in a process of its own.
type embedded struct {
	t    *testing.T
	name string
	dir  string
	args []string
	proc *process
}

func startEmbedded(t *testing.T, name string, args ...string) *embedded {
	t.Helper()
	e := &embedded{t: t, name: name, dir: shortDir(t)}
	e.args = append([]string{"demo-ircd", "--name", name, "--handoff", e.handoff()}, args...)
	e.run()
	return e
}

func (e *embedded) handoff() string { return "unix:" + filepath.Join(e.dir, "handoff.sock") }

func (e *embedded) backend() string {
	return fmt.Sprintf("{name: %s, handoff: %q}", e.name, e.handoff())
}

func (e *embedded) run() {
	e.t.Helper()
	e.proc = start(e.t, nil, binary("ircferry"), e.args...)
}

// restart is a restart in place, as a service manager makes it: the users wait at the daemon meanwhile.
func (e *embedded) restart(f *ferry) result {
	e.t.Helper()
	old := e.proc
	restarted := make(chan struct{})
	go func() {
		defer close(restarted)
		<-old.done
		e.run()
	}()
	r := f.move("restart", "main/"+e.name, "--exec", fmt.Sprintf("kill %d", old.cmd.Process.Pid))
	<-restarted
	return r
}
