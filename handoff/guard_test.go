package handoff

import (
	"slices"
	"strings"
	"testing"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff/protocol"
	"github.com/ircferry/ircferry/internal/config"
)

// relayTo puts the pool's backend b behind a plain address: no driver.
func (r *rig) relayTo(t *testing.T) {
	t.Helper()
	from, _ := r.c.find("main", "a")
	pool := from.Pool().Config()
	pool.Backends = slices.Clone(pool.Backends)
	pool.Backends[1] = config.Backend{Name: "b", Address: "127.0.0.1:1", Weight: 100}
	if err := r.set.Apply(map[string]config.Pool{"main": pool}); err != nil {
		t.Fatal(err)
	}
}

func TestDestinationGuards(t *testing.T) {
	for name, c := range map[string]struct {
		make func(*testing.T, *rig)
		to   string
		says string
	}{
		"itself":        {func(*testing.T, *rig) {}, "a", "is the backend that is drained"},
		"down":          {func(*testing.T, *rig) {}, "b", "is down"}, // nobody listens at the rig's sockets
		"none is up":    {func(*testing.T, *rig) {}, "", "is the last usable backend"},
		"has no driver": {func(t *testing.T, r *rig) { r.relayTo(t) }, "b", "has no driver"},
		"in maint": {func(t *testing.T, r *rig) {
			b, _ := r.c.find("main", "b")
			if err := b.SetAdmin(backend.Maint); err != nil {
				t.Fatal(err)
			}
		}, "b", "is in maint"},
	} {
		in(t, func(t *testing.T, r *rig) {
			c.make(t, r)
			_, err := r.c.Drain(Request{Pool: "main", From: "a", To: c.to})
			if !isRefused(err) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %v", name, err)
			}
			if from, _ := r.c.find("main", "a"); from.Admin() != backend.Ready || len(r.c.active) > 0 {
				t.Errorf("%s: a is in %s", name, from.Admin())
			}
		})
	}
}

// A backend without a driver can neither be held nor take users, and its drain is refused if new clients would have nowhere to go.
func TestRelayBackendsHaveNoMoves(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		r.relayTo(t)
		if _, err := r.c.Hold(Request{Pool: "main", From: "b"}); !isRefused(err) {
			t.Errorf("hold: %v", err)
		}
		pool, _ := r.set.Pool("main")
		if err := pool.SetServing("b"); err != nil {
			t.Fatal(err)
		}
		if _, err := r.c.Drain(Request{Pool: "main", From: "b"}); !isRefused(err) || !strings.Contains(err.Error(), "last usable") {
			t.Errorf("drain: %v", err)
		}
		m, err := r.c.Hold(Request{Pool: "main", From: "a"})
		if err != nil {
			t.Fatal(err)
		}
		<-m.Parked()
		if _, err := r.c.Release("main", "a", "b", "test"); !isRefused(err) || m.Report().State != StateParked {
			t.Errorf("release: %v, %+v", err, m.Report())
		}
		if err := r.c.Cancel(m.ID()); err != nil {
			t.Fatal(err)
		}
		r.await(m)
		r.owners()
	})
}

// Behind the point of no return there is nothing to cancel: the move ends by itself.
func TestCancelBehindTheReleaseIsRefused(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		asked := 0
		cancel := func(verb string) fault {
			if verb == "RELEASE" || verb == "COMMIT" {
				asked++
				if err := r.c.Cancel(r.c.of("main").ID()); !isRefused(err) {
					t.Errorf("cancel at %s: %v", verb, err)
				}
			}
			return fault{}
		}
		r.a.fault, r.b.fault = cancel, cancel
		if report, err := r.drain(Request{}); err != nil || report.State != StateDone || asked != 2 {
			t.Errorf("%+v, %v", report, err)
		}
		r.owners()
	})
}

// A cancel that meets a try to place parked users holds for the next one: it must not be taken and forgotten.
func TestCancelWhileParkedUsersArePlaced(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		m, err := r.c.Hold(Request{Pool: "main", From: "a"})
		if err != nil {
			t.Fatal(err)
		}
		<-m.Parked()
		r.b.fault = func(verb string) fault {
			if verb != "PREPARE" {
				return fault{}
			}
			if err := r.c.Cancel(m.ID()); err != nil && !isRefused(err) {
				t.Errorf("cancel: %v", err)
			}
			return fault{err: &protocol.Error{Code: protocol.CodeRefused}}
		}
		if _, err := r.c.Release("main", "a", "b", "test"); err != nil {
			t.Fatal(err)
		}
		if report := r.await(m); report.State != StateDone || report.To != "a" || report.Released {
			t.Errorf("%+v", report)
		}
		r.owners()
	})
}
