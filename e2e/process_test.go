//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// process is a program under the test's care: its output is kept, it is ended with the test, by its own process id.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   output
	done  chan struct{} // closed when the process has ended and been waited for
}

// output is what a process has printed so far.
type output struct {
	mu   sync.Mutex
	data bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.data.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.data.String()
}

// start runs a program with stdin open. A test that fails prints the last lines of all its processes.
func start(t *testing.T, env []string, name string, args ...string) *process {
	t.Helper()
	return startInto(t, nil, env, name, args...)
}

// startInto is start for a program whose stdout is for somebody else.
func startInto(t *testing.T, stdout io.Writer, env []string, name string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(name, args...), done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = stdout, &p.out
	if stdout == nil {
		p.cmd.Stdout = &p.out
	}
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatalf("pipe to %s: %v", name, err)
	}
	p.stdin = stdin
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go p.reap()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%s printed:\n%s", filepath.Base(name), lastLines(p.out.String(), 40))
		}
	})
	return p
}

func (p *process) reap() {
	_ = p.cmd.Wait()
	close(p.done)
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.stdin.Close()
	<-p.done
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("signal %s to %s: %v", s, p.cmd.Path, err)
	}
}

// slack is what everything may take longer on a machine that is busy with other things. What comes in time costs none of it.
const slack = time.Minute

// await returns the exit code, or ends the test if the process does not end in time.
func (p *process) await(within time.Duration) int {
	p.t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(within + slack):
		p.t.Fatalf("%s still runs after %s", p.cmd.Path, within+slack)
		return -1
	}
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// eventually asks every 20 ms until the answer is yes. For what other programs do and tell nobody.
func eventually(t *testing.T, within time.Duration, what string, yes func() bool) {
	t.Helper()
	deadline := time.After(within + slack)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !yes() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within %s: %s", within+slack, what)
		}
	}
}

// lastPort is the one that freePort gave last.
var lastPort atomic.Int32

func init() { lastPort.Store(10_000 + rand.Int32N(20_000)) }

// freePort is a port of 127.0.0.1 that nobody listens on: the programs here cannot be handed a listening socket. It is below those that the
// kernel gives to connections, of which one may take a port before the program does, and each is given once.
func freePort(t *testing.T) int {
	t.Helper()
	for range 1000 {
		port := int(lastPort.Add(1))
		if port >= 32_000 {
			lastPort.CompareAndSwap(int32(port), 10_000)
			continue
		}
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			_ = l.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

// awaitPort waits until a process listens on a port.
func awaitPort(t *testing.T, port int, p *process) {
	t.Helper()
	eventually(t, 20*time.Second, fmt.Sprintf("port %d answers", port), func() bool {
		select {
		case <-p.done:
			t.Fatalf("%s has ended:\n%s", p.cmd.Path, lastLines(p.out.String(), 20))
		default:
		}
		c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), time.Second)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// writeProgram writes a file that is to be run. No process may be forked while it is open: it would have it open, too, until it is another program, and
// what somebody writes cannot be run (ETXTBSY).
func writeProgram(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

func readFile(path string) string {
	data, _ := os.ReadFile(path)
	return string(data)
}

// shortDir is a temporary directory with a name short enough for unix sockets, which testing's are not.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "e2e")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// closingLine adds a line to those that make prints at its end. Tests that run side by side add theirs.
func closingLine(t *testing.T, line string) {
	t.Helper()
	path := os.Getenv("IRCFERRY_CLOSING")
	if path == "" {
		return
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = io.WriteString(f, line+"\n")
		_ = f.Close()
	}
	if err != nil {
		t.Errorf("add a closing line: %v", err)
	}
}
