package link

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ircferry/ircferry/internal/config"
)

// scraped lists the series as "name{value of a label,...} value"; histograms by their count.
func scraped(t *testing.T, g prometheus.Gatherer) []string {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			v := m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
			all = append(all, fmt.Sprintf("%s{%s} %v", strings.TrimPrefix(f.GetName(), "ircferry_link_"), strings.Join(labels, ","), v))
		}
	}
	return all
}

// What happens to a link is counted, all its series are there before anything has, and they go with it.
func TestMetricsOfLinks(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	s := &Set{}
	s.metrics = newMetrics(s, reg)
	p := &port{pool: "main", conf: config.Link{Name: "leaf.example", Hold: 1000}}
	s.ports = map[string]*port{p.key(): p}
	has := func(when string, series ...string) {
		t.Helper()
		all := scraped(t, reg)
		for _, want := range series {
			if !slices.Contains(all, want) {
				t.Errorf("%s: no %s in\n%s", when, want, strings.Join(all, "\n"))
			}
		}
	}
	s.metrics.show(p)
	const of = "link=leaf.example,pool=main"
	has("before", "up{"+of+"} 0", "state{"+of+",state=down} 1", "state{"+of+",state=raw} 0", "held_seconds{"+of+"} 0", "kept_bytes{"+of+"} 0", "hold_bytes{"+of+"} 1000",
		"replays_total{"+of+",result=done} 0", "replays_total{"+of+",result=failed} 0")
	for _, c := range Causes {
		has("before", fmt.Sprintf("given_up_total{cause=%s,%s} 0", c, of))
	}
	for _, r := range Refusals {
		has("before", fmt.Sprintf("refused_total{%s,reason=%s} 0", of, r))
	}
	i := Info{Pool: "main", Name: "leaf.example"}
	s.metrics.replayed(i, nil)
	s.metrics.replayed(i, errors.New("no"))
	s.metrics.replayed(i, errors.New("no"))
	s.metrics.away(p, time.Second)
	s.metrics.away(p, 0) // it was not cut
	s.metrics.refused(p, Refusals[0])
	l := &link{port: p, cause: Causes[0]}
	s.metrics.ended(l, EndGivenUp)
	for _, e := range []End{EndPeer, EndIrcd, EndName, EndLine, EndFence, EndMove, EndGivenUp} {
		if e != EndGivenUp {
			s.metrics.ended(l, e)
		}
	}
	has("afterwards", "replays_total{"+of+",result=done} 1", "replays_total{"+of+",result=failed} 2", "away_seconds{"+of+"} 1",
		fmt.Sprintf("refused_total{%s,reason=%s} 1", of, Refusals[0]), fmt.Sprintf("given_up_total{cause=%s,%s} 1", Causes[0], of))
	for _, e := range []End{EndPeer, EndIrcd, EndName, EndLine, EndFence, EndMove, EndGivenUp} {
		has("afterwards", fmt.Sprintf("ends_total{%s,reason=%s} 1", of, e))
	}
	if all := s.Links(); len(all) != 1 || all[0].GivenUp != 1 || all[0].Refused != 1 {
		t.Errorf("%+v", all)
	}
	other := newMetrics(s, nil)
	other.resume(s.metrics.carried())
	if other.counts(&i); i.GivenUp != 1 || i.Refused != 1 {
		t.Errorf("in another process: %+v", i)
	}
	delete(s.ports, p.key())
	s.metrics.forget(p)
	if all := scraped(t, reg); len(all) > 0 || len(s.metrics.have) > 0 {
		t.Errorf("left: %v, %v", all, s.metrics.have)
	}
}
