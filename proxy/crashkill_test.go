package proxy

import (
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
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
		running.Wait()
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
	stop := r.crowd(30)
	for range kills(25) {
		time.Sleep(time.Duration(rand.IntN(60)) * time.Millisecond)
		r.kill()
		r.start("", 0)
		r.awaitReady()
		if t.Failed() {
			break
		}
	}
	stop()
	t.Log(r.sum())
}

// steps are where a process kills itself: each is the worst moment of something.
var steps = []string{"read", "recorded", "committed", "half applied", "applied", "written", "ending", "ended", "hung up", "redo", "redone"}

// The same at the worst points, hundreds of times.
func TestKilledAtTheWorstPoints(t *testing.T) {
	r := newCrashRig(t)
	r.start("", 0)
	r.awaitReady()
	stop := r.crowd(30)
	hits := map[string]int{}
	for i := range kills(33) {
		r.kill()
		step := steps[i%len(steps)]
		after := 1 + rand.IntN(200)
		if i%2 == 0 || step == "redo" || step == "redone" || step[0] == 'e' || step[0] == 'h' {
			after = 1 + rand.IntN(3)
		}
		r.start(step, after)
		if r.await(300 * time.Millisecond) {
			hits[step]++
		}
		r.start("", 0)
		if r.awaitReady(); t.Failed() {
			break
		}
	}
	stop()
	t.Log(r.sum(), hits)
}
