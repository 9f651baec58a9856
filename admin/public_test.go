package admin

import (
	"errors"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ircferry/ircferry/handoff"
)

func readyStatus() Status {
	return Status{State: "running",
		Listeners: []Listener{{Name: "irc", Pool: "main", Accepting: true}, {Name: "web", Pool: "web", Accepting: true}},
		Pools: []Pool{{Name: "main", Topology: "standalone", Backends: []Backend{{Name: "a", Pool: "main", Admin: "ready", Oper: "up", Weight: 100}}},
			{Name: "web", Backends: []Backend{{Name: "x", Pool: "web", Admin: "ready", Oper: "down", Weight: 100}}}}}
}

func TestReadyz(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Status)
		want   string
	}{
		{"one of two pools can serve", func(*Status) {}, ""},
		{"stopping", func(s *Status) { s.State = "stopping" }, "the daemon is stopping"},
		{"no listener accepts", func(s *Status) { s.Listeners[0].Accepting, s.Listeners[1].Accepting = false, false }, "no listener accepts"},
		{"no listener", func(s *Status) { s.Listeners = nil }, "no listener accepts"},
		{"the working pool's listener does not accept", func(s *Status) { s.Listeners[0].Accepting = false }, "no usable backend in pool web"},
		{"no backend at all", func(s *Status) { s.Pools[0].Backends[0].Oper = "down" }, "no usable backend in pool main, web"},
		{"backend in maint", func(s *Status) { s.Pools[0].Backends[0].Admin = "maint" }, "no usable backend in pool main, web"},
		{"weight 0", func(s *Status) { s.Pools[0].Backends[0].Weight = 0 }, "no usable backend in pool main, web"},
		{"its only backend is down in a move", func(s *Status) { s.Pools[0].Backends[0].Oper, s.Pools[0].Gated = "down", true }, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			st := readyStatus()
			tt.change(&st)
			got := ask(t, Public{Status: func() Status { return st }, Gatherer: prometheus.NewRegistry()}, "GET", "/readyz")
			want, status := "ok", 200
			if tt.want != "" {
				want, status = tt.want, 503
			}
			if got.status != status || strings.TrimSpace(got.body) != want {
				t.Errorf("got %d %q, want %d %q", got.status, got.body, status, want)
			}
		})
	}
}

func TestHealthz(t *testing.T) {
	p := Public{Status: readyStatus, Gatherer: prometheus.NewRegistry()}
	if got := ask(t, p, "GET", "/healthz"); got.status != 200 {
		t.Errorf("%d %s", got.status, got.body)
	}
	p.Alive = func() error { return errors.New("event loop 1 has not turned for 12s") }
	if got := ask(t, p, "GET", "/healthz"); got.status != 503 || !strings.Contains(got.body, "event loop 1") {
		t.Errorf("%d %s", got.status, got.body)
	}
}

func TestPortIsReadOnly(t *testing.T) {
	p := Public{Status: readyStatus, Gatherer: prometheus.NewRegistry()}
	for _, path := range []string{"/", "/metrics", "/healthz", "/readyz"} {
		for _, method := range []string{"POST", "PUT", "DELETE"} {
			if got := ask(t, p, method, path); got.status != 405 {
				t.Errorf("%s %s: %d, want 405", method, path, got.status)
			}
		}
	}
	for _, path := range []string{"/v1/status", "/v1/drain", "/debug/pprof/", "/nothing"} {
		if got := ask(t, p, "GET", path); got.status != 404 {
			t.Errorf("GET %s: %d, want 404", path, got.status)
		}
	}
}

// What strangers may see has no actor, no nick and no session in it, and what ircds say of themselves cannot become markup.
func TestStatusPage(t *testing.T) {
	r := newRig(t)
	r.pools.set("main/a", func(b *Backend) { b.Software = "<script>alert(1)</script>" })
	if _, err := r.client.Drain(t.Context(), DrainRequest{Backend: "main/a", To: "b"}); err != nil {
		t.Fatal(err)
	}
	r.moves.change("m1", func(m *handoff.Report) {
		m.State, m.Attempted, m.Moved, m.Failed = handoff.StateDone, 9, 8, 1
		m.Named = []handoff.Named{{Session: "inst-77", Nick: "secretnick", Outcome: "failed", Cause: "sendq"}}
	})
	got := ask(t, Public{Status: r.server.Status, Gatherer: r.registry}, "GET", "/")
	if got.status != 200 || !strings.HasPrefix(got.header.Get("Content-Type"), "text/html") || !strings.Contains(got.header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("%d %v", got.status, got.header)
	}
	for _, want := range []string{"ircferry", "accepting", "main/a", "&lt;script&gt;", "standalone", ">9<"} {
		if !strings.Contains(got.body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, never := range []string{"<script", "uid=", "secretnick", "inst-", "192.0.2"} {
		if strings.Contains(got.body, never) {
			t.Errorf("the page has %q", never)
		}
	}
}
