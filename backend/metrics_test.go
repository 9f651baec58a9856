package backend

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ircferry/ircferry/internal/config"
)

// scrape lists the series as "name{label=value,...} value"; histograms by their count.
func scrape(t *testing.T, g prometheus.Gatherer) []string {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			v := m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
			out = append(out, fmt.Sprintf("%s{%s} %v", strings.TrimPrefix(f.GetName(), "ircferry_"), strings.Join(labels, ","), v))
		}
	}
	return out
}

func (w *world) metered(t *testing.T, pools map[string]config.Pool) (*Set, *prometheus.Registry) {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	s, err := NewSet(Options{Dial: w.dial, Registerer: reg})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	apply(t, s, pools)
	return s, reg
}

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld().all("a")
		s, reg := w.metered(t, one(relays(config.Standalone, "a", "b:50")))
		chosen(t, mainPool(t, s))
		a := get(t, s, "a")
		a.SessionDelta(3)
		a.DialFailed(errno(24))
		a.DialFailed(refused())
		b := get(t, s, "b")
		if err := b.SetAdmin(Drain); err != nil {
			t.Fatal(err)
		}
		for i := range aRow {
			b.Refused(nth(i), ":irc.test 465 x :banned")
		}
		b.mu.Lock()
		b.proof.doubt = "it shows our own address"
		b.mu.Unlock()
		got := scrape(t, reg)
		for _, want := range []string{
			"backend_up{backend=a,pool=main} 1", "backend_up{backend=b,pool=main} 0",
			"backend_state{backend=a,pool=main,state=ready} 1", "backend_state{backend=b,pool=main,state=ready} 0",
			"backend_state{backend=b,pool=main,state=drain} 1",
			"backend_weight{backend=a,pool=main} 100", "backend_weight{backend=b,pool=main} 50",
			"backend_sessions{backend=a,pool=main} 3", "backend_sessions{backend=b,pool=main} 0",
			"pool_serving{backend=a,pool=main} 1", "pool_serving{backend=b,pool=main} 0",
			"backend_refusing{backend=a,pool=main} 0", "backend_refusing{backend=b,pool=main} 1",
			"backend_refused_addresses{backend=a,pool=main} 0", "backend_refused_addresses{backend=b,pool=main} 3",
			"backend_refused_clients_total{backend=b,pool=main} 3",
			"backend_identity_doubted{backend=a,pool=main} 0", "backend_identity_doubted{backend=b,pool=main} 1",
			"backend_dial_failures_total{backend=a,pool=main,reason=local} 1", "backend_dial_failures_total{backend=a,pool=main,reason=refused} 1",
			"backend_check_failures_total{backend=b,pool=main,reason=refused} 1",
			"backend_check_duration_seconds{backend=a,pool=main} 1",
		} {
			if !slices.Contains(got, want) {
				t.Errorf("no %s in\n%s", want, strings.Join(got, "\n"))
			}
		}
	})
}

// The series of a removed backend go, its sessions are counted to the last (C8.59: the sum over backends is all live sessions).
func TestC8_59SessionsOfARemovedBackendAreCountedToTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld().all("a b")
		s, reg := w.metered(t, one(relays(config.Linked, "a", "b")))
		b := get(t, s, "b")
		b.SessionDelta(1)
		b.DialFailed(refused())
		b.Refused(alice.Addr.Addr())
		w.set(where("b"), nil)
		after(2 * time.Second) // a check that fails
		apply(t, s, one(relays(config.Linked, "a")))
		of := func() (out []string) {
			for _, line := range scrape(t, reg) {
				if strings.Contains(line, "backend=b,") {
					out = append(out, line)
				}
			}
			return out
		}
		if got := strings.Join(of(), "\n"); !strings.Contains(got, "backend_sessions{backend=b,pool=main} 1") || strings.Contains(got, "backend_up") {
			t.Errorf("removed, with a session:\n%s", got)
		}
		b.SessionDelta(-1)
		if got := of(); len(got) > 0 {
			t.Errorf("removed and empty:\n%s", strings.Join(got, "\n"))
		}
	})
}

// What counts is kept when the last session of a configured backend ends, and what is collected is what was announced.
func TestSeriesOfABackendWithoutSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, reg := newWorld().metered(t, one(relays(config.Standalone, "a")))
		a := get(t, s, "a")
		a.DialFailed(refused())
		a.SessionDelta(1)
		a.SessionDelta(-1)
		if got := scrape(t, reg); !slices.Contains(got, "backend_dial_failures_total{backend=a,pool=main,reason=refused} 1") {
			t.Errorf("forgotten: %s", strings.Join(got, "\n"))
		}
		descs, metrics := make(chan *prometheus.Desc, 100), make(chan prometheus.Metric, 100)
		s.metrics.Describe(descs)
		s.metrics.Collect(metrics)
		close(descs)
		close(metrics)
		announced := map[string]bool{}
		for d := range descs {
			announced[d.String()] = true
		}
		for m := range metrics {
			if !announced[m.Desc().String()] {
				t.Errorf("%s is not announced", m.Desc())
			}
		}
	})
}

// Two sets with one registry follow one another; two at a time are a mistake that is told.
func TestMetricsAreGivenBack(t *testing.T) {
	reg := prometheus.NewRegistry()
	for range 2 {
		s, err := NewSet(Options{Registerer: reg})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := NewSet(Options{Registerer: reg}); err == nil {
			t.Error("two sets have the same metrics")
		}
		s.Close()
	}
	if got := scrape(t, reg); len(got) > 0 {
		t.Errorf("left: %v", got)
	}
}

// Choose is asked for every client by every loop: it must stay cheap and must not wait for checks.
func BenchmarkChoose(b *testing.B) {
	w := newWorld()
	s, err := NewSet(Options{Dial: w.all("a b c").dial})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	up := make(chan struct{}, 9)
	s.Subscribe(func(e Event) {
		if e.Kind == EventUp {
			up <- struct{}{}
		}
	})
	if err := s.Apply(one(relays(config.Standalone, "a", "b", "c"))); err != nil {
		b.Fatal(err)
	}
	for range 3 {
		select {
		case <-up:
		case <-time.After(10 * time.Second):
			b.Fatal("not up")
		}
	}
	p, _ := s.Pool("main")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Choose(nth(1)); err != nil {
			b.Fatal(err)
		}
	}
}
