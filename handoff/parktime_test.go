package handoff

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"
)

// The park time goes on while no process serves, by the machine's uptime: what another start of it has written counts for nothing, and the clock on the wall
// is not asked.
func TestParkTimeIsCountedOnBehindAKill(t *testing.T) {
	for name, c := range map[string]struct {
		ago  time.Duration // that the users were released, when the next process comes
		wait bool          // four minutes later they still wait
	}{
		"at once":                        {0, true},
		"seven of ten minutes":           {7 * time.Minute, false},
		"more than all of it":            {1000 * time.Hour, false},
		"by a machine that was up later": {-time.Hour, true},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, r *rig) {
				m := r.first(0)
				move, err := r.c.Hold(Request{Kind: KindHold, Pool: "main", From: "a", Actor: "test"})
				if err != nil {
					t.Fatal(err)
				}
				<-move.Parked()
				r.settled()
				m.mu.Lock()
				m.at = m.points + 1
				m.mu.Unlock()
				m.point("while they are parked")
				r.releasedAgo(m.dir, c.ago)
				r.restart(m, 0)
				time.Sleep(4 * time.Minute)
				r.settled()
				if waits := len(r.c.Running()) > 0; waits != c.wait {
					t.Errorf("waits: %v", waits)
				}
				time.Sleep(11 * time.Minute)
				r.owners()
			})
		})
	}
}

// releasedAgo writes into the journals when their users were released.
func (r *rig) releasedAgo(dir string, ago time.Duration) {
	r.t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 1 {
		r.t.Fatalf("%v, %v", files, err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		r.t.Fatal(err)
	}
	said := regexp.MustCompile(`(?m)^(RELEASED .*\buptime=)\d+`)
	if !said.Match(text) {
		r.t.Fatal("the journal does not say when")
	}
	text = said.ReplaceAll(text, fmt.Appendf(nil, "${1}%d", (uptime()-ago).Milliseconds()))
	if err := os.WriteFile(files[0], text, 0o600); err != nil {
		r.t.Fatal(err)
	}
}
