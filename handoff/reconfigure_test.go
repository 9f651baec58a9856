package handoff

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/ircferry/ircferry/internal/config"
)

// A reload must not take from a move what it needs to its end; what it does not need may change, and after it everything.
func TestReconfigureLeavesAMoveWhatItNeeds(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*config.Pool)
		says   string // "": let pass
	}{
		"source removed":          {func(p *config.Pool) { p.Backends = p.Backends[1:] }, "backend a"},
		"destination removed":     {func(p *config.Pool) { p.Backends = p.Backends[:1] }, "backend b"},
		"another control address": {func(p *config.Pool) { p.Backends[0].Handoff += "x" }, "backend a"},
		"another servers' port":   {func(p *config.Pool) { p.Backends[0].Servers = &config.Servers{Address: "127.0.0.1:1"} }, "backend a"},
		"no driver any more":      {func(p *config.Pool) { p.Backends[1].Handoff, p.Backends[1].Address = "", "127.0.0.1:1" }, "backend b"},
		"TLS on control":          {func(p *config.Pool) { p.Backends[0].TLS = &config.BackendTLS{CA: "x"} }, "backend a"},
		"topology":                {func(p *config.Pool) { p.Topology = config.Linked }, "pools.main.topology"},
		"pool removed":            {nil, "pool main"},
		"a third backend":         {func(p *config.Pool) { p.Backends = append(p.Backends, config.Backend{Name: "c"}) }, ""},
		"weight":                  {func(p *config.Pool) { p.Backends[0].Weight = 1 }, ""},
	} {
		in(t, func(t *testing.T, r *rig) {
			pool, _ := r.set.Pool("main")
			next := pool.Config()
			next.Backends = slices.Clone(next.Backends)
			pools := map[string]config.Pool{"main": next}
			if c.change == nil {
				delete(pools, "main")
			} else {
				c.change(&next)
				pools["main"] = next
			}
			applied := 0
			try := func() error { return r.c.Reconfigure(pools, func() error { applied++; return nil }) }
			m, err := r.c.Hold(Request{Pool: "main", From: "a"})
			if err != nil {
				t.Fatal(err)
			}
			<-m.Parked()
			switch err := try(); {
			case c.says == "" && (err != nil || applied != 1):
				t.Errorf("%s: %v, applied %d times", name, err, applied)
			case c.says != "" && (err == nil || applied > 0 || !strings.HasPrefix(err.Error(), c.says+" cannot change") || !strings.Contains(err.Error(), m.ID())):
				t.Errorf("%s: %v, applied %d times", name, err, applied)
			}
			if err := r.c.Cancel(m.ID()); err != nil {
				t.Fatal(err)
			}
			r.await(m)
			before := applied
			if err := try(); err != nil || applied != before+1 {
				t.Errorf("%s, after the move: %v", name, err)
			}
		})
	}
}

// Limits that a reload changes hold for the next move.
func TestLimitsAreThoseOfTheBegin(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		r.sessions.unreg["u3"] = true // prepare takes two seconds for it
		delete(r.a.live, "u3")
		from, _ := r.c.find("main", "a")
		to, _ := r.c.find("main", "b")
		m, err := r.c.start(Request{Kind: KindDrain, Pool: "main", From: "a", To: "b"}, from, to)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		r.c.opt.Limits = func() Limits { return Limits{Deadline: 1, MaxPause: 1, Park: 1} }
		if report := r.await(m); report.State != StateDone {
			t.Errorf("%+v", report)
		}
	})
}
