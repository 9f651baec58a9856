package proxy

import (
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// crowd is sessions that talk until stop.
func (r *crashRig) crowd(n int) (stop func()) {
	r.t.Helper()
	var all []*crashSession
	for i := range n {
		listener, version := i%3, uint16(tls.VersionTLS12)
		if i%2 == 0 {
			version = tls.VersionTLS13
		}
		name := fmt.Sprintf("n%d", i)
		s, err := r.connect(name, listener, version)
		if err != nil {
			r.t.Fatalf("session %s: %v\n%s", name, err, r.log.String())
		}
		s.slow, s.half = i%7 == 3, i%5 == 4
		all = append(all, s)
	}
	var running sync.WaitGroup
	for _, s := range all {
		running.Go(func() {
			if err := s.run(); err != nil {
				r.t.Errorf("%v", err)
			}
		})
	}
	return func() {
		for _, s := range all {
			s.stop.Store(true)
		}
		done := make(chan struct{})
		go func() { running.Wait(); close(done) }()
		select {
		case <-done:
		case <-time.After(2 * patience):
			r.t.Errorf("sessions do not come to their end")
			r.look()
			for _, s := range all {
				s.client.Close()
			}
			<-done
		}
	}
}

// kills is how often a test kills: IRCFERRY_KILLS, or fewer.
func kills(few int) int {
	if n, err := strconv.Atoi(os.Getenv("IRCFERRY_KILLS")); err == nil {
		return n
	}
	return few
}

// A process that is killed at any time and started again goes on with every session to the byte: in plaintext and over TLS on either side, with clients
// that do not read and such as have ended their direction.
func TestKilledAtAnyTime(t *testing.T) {
	r := newCrashRig(t)
	r.start("", 0)
	r.awaitReady()
	stop, leave := r.crowd(30), r.passers(2)
	for range kills(25) {
		time.Sleep(time.Duration(rand.IntN(60)) * time.Millisecond)
		r.kill()
		r.start("", 0)
		r.awaitReady()
		if t.Failed() {
			break
		}
	}
	leave()
	stop()
	t.Log(r.sum())
}

// steps are where a process kills itself: each is the worst moment of something. The last two are in the midst of taking over.
var steps = []string{"read", "recorded", "committed", "half applied", "applied", "written", "ending", "ended", "hung up", "accepted", "kept", "redo", "redone"}

// The same at the worst points, and while others come and go. Nobody who was welcomed is lost.
func TestKilledAtTheWorstPoints(t *testing.T) {
	r := newCrashRig(t)
	r.start("", 0)
	r.awaitReady()
	stop, leave := r.crowd(30), r.passers(3)
	hits := map[string]int{}
	for i := range kills(len(steps)) {
		r.kill()
		step, after := steps[i%len(steps)], 1+rand.IntN(3)
		switch {
		case strings.HasPrefix(step, "redo"): // there must be something to be done once more
			r.start("read", 1+rand.IntN(50))
			r.await(patience)
			after = 1
		case i/len(steps)%2 == 1:
			after = 1 + rand.IntN(200)
		}
		r.start(step, after)
		if r.await(2 * time.Second) {
			hits[step]++
		}
		r.start("", 0)
		if r.awaitReady(); t.Failed() {
			break
		}
	}
	for _, step := range steps {
		if hits[step] == 0 {
			t.Errorf("nothing came to %q", step)
		}
	}
	leave()
	stop()
	t.Log(r.sum(), hits)
}

// passers are clients that come, talk for a moment and go, all the time; of those that are welcomed each byte arrives. Who is on the way in when the
// process is killed may be lost.
func (r *crashRig) passers(n int) (leave func()) {
	over := make(chan struct{})
	var all sync.WaitGroup
	var went, lost atomic.Int64
	for i := range n {
		all.Go(func() {
			for k := 0; ; k++ {
				select {
				case <-over:
					return
				default:
				}
				s, err := r.connect(fmt.Sprintf("p%dx%d", i, k), i%3, tls.VersionTLS13)
				if err != nil {
					lost.Add(1)
					continue
				}
				s.half = k%2 == 0
				time.AfterFunc(time.Duration(rand.IntN(60))*time.Millisecond, func() { s.stop.Store(true) })
				if err := s.run(); err != nil {
					r.t.Error(err)
				}
				went.Add(1)
			}
		})
	}
	return func() {
		close(over)
		all.Wait()
		r.t.Logf("%d clients came and went, %d did not come in", went.Load(), lost.Load())
	}
}

// The negative control: were the kernel's counts as ours are, bytes would be lost or come twice.
func TestKilledWithoutTheKernelsCounts(t *testing.T) {
	quiet := &notFailing{TB: t}
	r := newCrashRig(quiet)
	r.task.Blind = true
	r.start("", 0)
	r.awaitReady()
	stop := r.crowd(30)
	for range 60 {
		r.kill()
		r.start([]string{"read", "written"}[rand.IntN(2)], 1+rand.IntN(100))
		r.await(2 * time.Second)
		r.start("", 0)
		r.awaitReady()
		if quiet.failed.Load() {
			break
		}
	}
	stop()
	if !quiet.failed.Load() {
		t.Error("nobody has noticed")
	}
}

// notFailing is a test whose errors are what is wanted.
type notFailing struct {
	testing.TB
	failed atomic.Bool
}

func (n *notFailing) Errorf(f string, a ...any) { n.Logf(f, a...); n.failed.Store(true) }
func (n *notFailing) Error(...any)              { n.failed.Store(true) }

// A session whose bytes end the process, and the next one too, is closed with a word; what it had sent is in a file that only we can read, and everybody
// else goes on.
func TestQuarantine(t *testing.T) {
	r := newCrashRig(t)
	r.task.Jail = filepath.Join(t.TempDir(), "quarantine")
	r.start("", 0)
	r.awaitReady()
	stop := r.crowd(6)
	bad, err := r.connect("bad", 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	server := <-bad.server
	defer server.Close()
	r.kill()
	r.task.Poison = "POISON"
	r.start("written", 1)
	r.awaitReady()
	fmt.Fprint(bad.client, "PRIVMSG #x :POISON in the line\r\n")
	if !r.await(patience) {
		t.Fatal("nothing has come to the bytes that end the process")
	}
	r.start("written", 1) // works it once more
	if !r.await(patience) {
		t.Fatal("the bytes that end the process were not worked once more")
	}
	r.start("written", 1)
	r.awaitReady()
	bad.client.SetReadDeadline(time.Now().Add(patience))
	text, err := io.ReadAll(bad.client.in)
	if err != nil || !strings.HasPrefix(string(text), "ERROR :") || strings.Count(string(text), "\n") != 1 {
		t.Errorf("the client is told %q, %v", text, err)
	}
	for end := time.Now().Add(patience); !strings.Contains(r.log.String(), "have ended this daemon twice") && time.Now().Before(end); {
		time.Sleep(time.Millisecond) // its log is written behind it
	}
	r.kill()
	r.task.Poison = ""
	r.start("", 0)
	r.awaitReady()
	stop()
	files, err := filepath.Glob(filepath.Join(r.task.Jail, "*.client"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	kept, err := os.ReadFile(files[0])
	st, serr := os.Stat(files[0])
	if err != nil || serr != nil || string(kept) != "PRIVMSG #x :POISON in the line\r\n" || st.Mode().Perm() != 0o600 {
		t.Errorf("kept %q, mode %v, %v", kept, st.Mode(), err)
	}
	if log := r.log.String(); strings.Contains(log, "in the line") || !strings.Contains(log, "have ended this daemon twice") {
		t.Error("the log does not say it, or says too much")
	}
}
