//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/handoff/protocol"
)

// nativeErgo is an Ergo with the files of handoff/ircds/ergo, in a process of its own.
type nativeErgo struct {
	t       *testing.T
	name    string // of the backend
	program string
	dir     string
	port    int // past the proxy
	proc    *process
}

// handoffErgo is the path of an Ergo that speaks HANDOFF/1, or the end of the test.
func handoffErgo(t *testing.T) string {
	t.Helper()
	path := os.Getenv("IRCFERRY_ERGO")
	if path == "" {
		t.Skip("Ergo was NOT tested: it is in no package; set IRCFERRY_ERGO to a binary with handoff/ircds/ergo in it")
	}
	return path
}

// newErgo makes the configuration of an Ergo; run starts it. All have one server name, as the two ends of a replace have.
func newErgo(t *testing.T, name string, change ...string) *nativeErgo {
	t.Helper()
	e := &nativeErgo{t: t, name: name, program: handoffErgo(t), dir: shortDir(t), port: freePort(t)}
	text := strings.NewReplacer(append(change, "@RUN@", e.dir, "@NAME@", "ergo.example.org", "@PORT@", fmt.Sprint(e.port), "@LOG@", "info",
		"@FAKELAG@", "false", "@ROOTPW@", e.password("rootpw"), "@HELPERPW@", e.password("helperpw"))...).Replace(readFile("testdata/ergo-handoff.yaml"))
	snippet := strings.NewReplacer("/run/ergo/", e.dir+"/", ":7001", fmt.Sprintf(":%d", freePort(t))) // what we tell others to write
	writeFile(t, e.conf(), text+snippet.Replace(readFile("../configs/ergo/handoff.yaml")))
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the log of %s:\n%s", e.name, lastLines(readFile(filepath.Join(e.dir, "ircd.log")), 40))
		}
	})
	return e
}

// password is what Ergo's configuration has of a password.
func (e *nativeErgo) password(plain string) string {
	e.t.Helper()
	cmd := exec.Command(e.program, "genpasswd")
	cmd.Stdin = strings.NewReader(plain + "\n")
	hash, err := cmd.Output()
	if err != nil {
		e.t.Fatalf("%s genpasswd: %v", e.program, err)
	}
	return strings.TrimSpace(string(hash))
}

func startErgo(t *testing.T, name string, change ...string) *nativeErgo {
	t.Helper()
	e := newErgo(t, name, change...)
	e.run()
	return e
}

func (e *nativeErgo) conf() string    { return filepath.Join(e.dir, "ircd.yaml") }
func (e *nativeErgo) handoff() string { return "unix:" + filepath.Join(e.dir, "handoff.sock") }

func (e *nativeErgo) running() *process { return e.proc }

// users waits until the Ergo has that many.
func (e *nativeErgo) users(n int) {
	e.t.Helper()
	eventually(e.t, 10*time.Second, fmt.Sprintf("%s has %d users", e.name, n), func() bool {
		hello, err := e.hello()
		return err == nil && hello.Users == n
	})
}

func (e *nativeErgo) backend() string {
	return fmt.Sprintf("{name: %s, handoff: %q}", e.name, e.handoff())
}

// run starts the process, or one in place of the one that has ended, and returns when it answers HELLO.
func (e *nativeErgo) run() {
	e.t.Helper()
	e.proc = start(e.t, nil, e.program, "run", "--conf", e.conf())
	eventually(e.t, 20*time.Second, "Ergo answers HELLO", func() bool {
		select {
		case <-e.proc.done:
			e.t.Fatalf("Ergo has ended:\n%s", lastLines(e.proc.out.String(), 30))
		default:
		}
		_, err := e.hello()
		return err == nil
	})
}

func (e *nativeErgo) hello() (protocol.Hello, error) { return helloOf(e.handoff(), "") }

// restart is a restart in place: the command of ferryctl ends the old process with a signal, and a new one takes its place as a service
// manager's would, at once.
func (e *nativeErgo) restart(f *ferry, signal string) result {
	e.t.Helper()
	old := e.proc
	restarted := make(chan struct{})
	go func() {
		defer close(restarted)
		<-old.done
		e.run()
	}()
	r := f.move("restart", "main/"+e.name, "--exec", fmt.Sprintf("kill -%s %d", signal, old.cmd.Process.Pid))
	<-restarted
	return r
}

// likeDatabase gives this Ergo, which does not run, a copy of another's database: accounts, registered channels, the secret of cloaks.
func (e *nativeErgo) likeDatabase(of *nativeErgo) {
	e.t.Helper()
	writeFile(e.t, filepath.Join(e.dir, "ircd.db"), readFile(filepath.Join(of.dir, "ircd.db")))
}
