package wire_test

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/internal/certs/certtest"
)

const (
	serverName    = "irc.test"
	ringProcesses = 3
)

// certNames are the files of the processes' certificates, the ECDSA one first.
var certNames = []string{"ecdsa", "rsa"}

// ring is some processes that hand sessions round. New ones begin in the first.
type ring struct {
	certs []*certtest.Pair // as certNames
	dir   string
	first io.Writer // its standard input

	mu      sync.Mutex
	waiting map[string]chan report
}

// newRing starts the processes. They end with the test.
func newRing(t *testing.T) *ring {
	t.Helper()
	r := &ring{dir: t.TempDir(), waiting: map[string]chan report{}}
	for i, name := range certNames {
		p := certtest.SelfSigned(t, certtest.Options{Names: []string{serverName}, RSA: i == 1})
		p.Write(t, r.dir, name)
		r.certs = append(r.certs, p)
	}
	in, out := make([]*os.File, ringProcesses), make([]*os.File, ringProcesses)
	for i := range ringProcesses {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		out[i] = os.NewFile(uintptr(fds[0]), "out")
		in[(i+1)%ringProcesses] = os.NewFile(uintptr(fds[1]), "in")
	}
	for i := range ringProcesses {
		stdin := r.start(t, in[i], out[i])
		if i == 0 {
			r.first = stdin
		}
	}
	for i := range ringProcesses {
		in[i].Close()
		out[i].Close()
	}
	return r
}

// start starts one process.
func (r *ring) start(t *testing.T, in, out *os.File) io.Writer {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestEchoProcess$", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), echoDir+"="+r.dir)
	cmd.ExtraFiles = []*os.File{in, out}
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	heard := make(chan bool)
	go func() {
		defer close(heard)
		r.hear(stdout)
	}()
	t.Cleanup(func() {
		stdin.Close()
		kill := time.AfterFunc(patience, func() { cmd.Process.Kill() })
		defer kill.Stop()
		<-heard
		if err := cmd.Wait(); err != nil {
			t.Errorf("process %d: %v", cmd.Process.Pid, err)
		}
	})
	return stdin
}

// hear passes on what a process says.
func (r *ring) hear(stdout io.Reader) {
	for s := bufio.NewScanner(stdout); s.Scan(); {
		var rep report
		if !strings.HasPrefix(s.Text(), "{") {
			continue // of package testing
		}
		if err := json.Unmarshal(s.Bytes(), &rep); err != nil {
			rep.Error = err.Error() + ": " + s.Text()
		}
		r.mu.Lock()
		for id, c := range r.waiting {
			if rep.ID == id || rep.ID == "" {
				c <- rep
			}
		}
		r.mu.Unlock()
	}
}

// session begins a session in the first process; what is said of it comes from the channel.
func (r *ring) session(t *testing.T, c course) <-chan report {
	t.Helper()
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	reports := make(chan report, 100)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting[c.ID] = reports
	if _, err := r.first.Write(append(b, '\n')); err != nil {
		t.Fatal(err)
	}
	return reports
}

// await answers the next report, which must be a good one.
func await(t *testing.T, c <-chan report) report {
	t.Helper()
	select {
	case r := <-c:
		if r.Error != "" {
			t.Fatal(r.Error)
		}
		return r
	case <-time.After(patience):
		t.Fatal("no word from the processes")
		panic("unreachable")
	}
}
