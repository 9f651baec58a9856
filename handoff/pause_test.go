package handoff

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/internal/config"
)

// A pause ends by its time, by resume, by cancel, and with the daemon; the ircd is asked nothing and keeps its users.
func TestPauseIsBounded(t *testing.T) {
	for name, c := range map[string]struct {
		end   func(*testing.T, *rig, *Move)
		after time.Duration
		state State
	}{
		"by its time": {func(*testing.T, *rig, *Move) {}, 45 * time.Second, StateDone},
		"by resume": {func(t *testing.T, r *rig, m *Move) {
			if _, err := r.c.Resume("main", "a"); err != nil {
				t.Error(err)
			}
		}, 20 * time.Second, StateDone},
		"by cancel": {func(t *testing.T, r *rig, m *Move) {
			if err := r.c.Cancel(m.ID()); err != nil {
				t.Error(err)
			}
		}, 20 * time.Second, StateDone},
		"with the daemon": {func(t *testing.T, r *rig, m *Move) { r.c.Close(t.Context()) }, 20 * time.Second, StateReverted},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, r *rig) {
				asked := 0
				r.a.fault = func(string) fault { asked++; return fault{} }
				m, err := r.c.Pause(Request{Pool: "main", From: "a", Timeout: 45 * time.Second})
				if err != nil {
					t.Fatal(err)
				}
				<-m.Parked()
				if report := m.Report(); len(r.sessions.frozen) != 3 || !r.sessions.gated || report.State != StateParked || !strings.Contains(report.Note, "ferryctl resume main/a") {
					t.Fatalf("%v: %+v", r.sessions, report)
				}
				if _, err := r.c.Hold(Request{Pool: "main", From: "a"}); !isRefused(err) || !strings.Contains(err.Error(), "ferryctl resume main/a") {
					t.Errorf("a hold while it is paused: %v", err)
				}
				if _, err := r.c.Release("main", "a", "", "test"); !isRefused(err) {
					t.Errorf("a release: %v", err)
				}
				time.Sleep(20 * time.Second)
				synctest.Wait()
				c.end(t, r, m)
				report := r.await(m)
				if report.State != c.state || report.Reverted != 3 || r.sessions.longest != c.after || asked > 0 {
					t.Errorf("frozen for %v, the ircd was asked %d times: %+v", r.sessions.longest, asked, report)
				}
				balanced(t, report)
				r.owners()
				if _, err := r.c.Resume("main", "a"); !isRefused(err) {
					t.Errorf("a resume when it is over: %v", err)
				}
			})
		})
	}
}

func TestPauseIsRefused(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		if _, err := r.c.Pause(Request{Pool: "main", From: "a", Timeout: 11 * time.Minute}); !isRefused(err) || !strings.Contains(err.Error(), "moves.park is 10m0s") {
			t.Errorf("for longer than moves.park: %v", err)
		}
		if _, err := r.c.Pause(Request{Pool: "main", From: "x"}); err == nil {
			t.Error("no such backend")
		}
	})
}

// A loop that hangs while clients are to be held is no pause.
func TestPauseThatCannotFreeze(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		inTheWay(r, call{"proxy Freeze", 1}, hangs)
		m, err := r.c.Pause(Request{Pool: "main", From: "a"})
		if err != nil {
			t.Fatal(err)
		}
		report := r.await(m)
		if report.State != StateReverted || !strings.Contains(report.Error, "freeze") {
			t.Errorf("%+v", report)
		}
		time.Sleep(2 * hangTime)
		r.owners()
	})
}

// One of linked servers: the others take new clients meanwhile, and the state of before comes back.
func TestPauseOfALinkedServer(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		from, _ := r.c.find("main", "a")
		r.reconfigured(func(p *config.Pool) { p.Topology = config.Linked })
		m, err := r.c.Pause(Request{Pool: "main", From: "a"})
		if err != nil {
			t.Fatal(err)
		}
		<-m.Parked()
		if from.Admin() != backend.Drain || r.sessions.gated {
			t.Errorf("a is %s, gate %v", from.Admin(), r.sessions.gated)
		}
		if report := r.await(m); report.State != StateDone || from.Admin() != backend.Ready || r.sessions.longest != DefaultPause {
			t.Errorf("a is %s, frozen for %v: %+v", from.Admin(), r.sessions.longest, report)
		}
		if left := journals(t, r.dir); len(left) > 0 {
			t.Errorf("journals left: %v", left)
		}
		r.owners()
	})
}
