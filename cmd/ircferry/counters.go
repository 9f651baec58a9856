package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// counters are the counters and histograms of the processes before this one: what is told is theirs and this one's together, so that an upgrade is
// no reset. Counts that this process has taken over itself are not in them.
type counters map[string]family

type family struct {
	Help      string   `json:"help"`
	Histogram bool     `json:"histogram,omitempty"`
	Series    []series `json:"series"`
}

type series struct {
	Labels  map[string]string `json:"labels,omitempty"`
	Value   float64           `json:"value,omitempty"`
	Count   uint64            `json:"count,omitempty"`
	Sum     float64           `json:"sum,omitempty"`
	Buckets []bucket          `json:"buckets,omitempty"`
}

type bucket struct {
	Bound float64 `json:"bound"`
	Count uint64  `json:"count"`
}

// ours are the metrics that outlive a process; those of the Go runtime and of the process itself do not.
const ours = "ircferry_"

// count answers what a gatherer tells now.
func count(g prometheus.Gatherer) (counters, error) {
	families, err := g.Gather()
	if err != nil {
		return nil, fmt.Errorf("read counters: %w", err)
	}
	c := counters{}
	for _, f := range families {
		kind := f.GetType()
		if !strings.HasPrefix(f.GetName(), ours) || kind != dto.MetricType_COUNTER && kind != dto.MetricType_HISTOGRAM {
			continue
		}
		all := family{Help: f.GetHelp(), Histogram: kind == dto.MetricType_HISTOGRAM}
		for _, m := range f.GetMetric() {
			s := series{Labels: map[string]string{}}
			for _, l := range m.GetLabel() {
				s.Labels[l.GetName()] = l.GetValue()
			}
			if h := m.GetHistogram(); h != nil {
				s.Count, s.Sum = h.GetSampleCount(), h.GetSampleSum()
				for _, b := range h.GetBucket() {
					s.Buckets = append(s.Buckets, bucket{b.GetUpperBound(), b.GetCumulativeCount()})
				}
			} else {
				s.Value = m.GetCounter().GetValue()
			}
			all.Series = append(all.Series, s)
		}
		c[f.GetName()] = all
	}
	return c, nil
}

// less takes away what was counted here already.
func (c counters) less(here counters) counters {
	rest := counters{}
	for name, f := range c {
		left := family{Help: f.Help, Histogram: f.Histogram}
		for _, s := range f.Series {
			if o := here[name].find(s.Labels); o != nil {
				s.Value, s.Count, s.Sum = max(s.Value-o.Value, 0), s.Count-min(o.Count, s.Count), max(s.Sum-o.Sum, 0)
				s.Buckets = slices.Clone(s.Buckets)
				for i := range s.Buckets {
					s.Buckets[i].Count -= min(o.at(s.Buckets[i].Bound), s.Buckets[i].Count)
				}
			}
			left.Series = append(left.Series, s)
		}
		rest[name] = left
	}
	return rest
}

func (f family) find(labels map[string]string) *series {
	for i := range f.Series {
		if maps.Equal(f.Series[i].Labels, labels) {
			return &f.Series[i]
		}
	}
	return nil
}

// at is how many were at most so large.
func (s *series) at(bound float64) uint64 {
	for _, b := range s.Buckets {
		if b.Bound == bound {
			return b.Count
		}
	}
	return 0
}

// gatherer tells the metrics of this process and of those before it.
func (d *daemon) gatherer() prometheus.Gatherer {
	if len(d.counters) == 0 {
		return d.registry
	}
	return prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		families, err := d.registry.Gather()
		return d.counters.addTo(families), err
	})
}

func (c counters) addTo(families []*dto.MetricFamily) []*dto.MetricFamily {
	told := map[string]bool{}
	for _, f := range families {
		told[f.GetName()] = true
		if was, ok := c[f.GetName()]; ok {
			was.addTo(f)
		}
	}
	for name, was := range c {
		if told[name] {
			continue
		}
		kind := dto.MetricType_COUNTER
		if was.Histogram {
			kind = dto.MetricType_HISTOGRAM
		}
		f := &dto.MetricFamily{Name: new(name), Help: new(was.Help), Type: &kind}
		was.addTo(f)
		families = append(families, f)
	}
	slices.SortFunc(families, func(a, b *dto.MetricFamily) int { return strings.Compare(a.GetName(), b.GetName()) })
	return families
}

func (f family) addTo(to *dto.MetricFamily) {
	if f.Histogram != (to.GetType() == dto.MetricType_HISTOGRAM) {
		return // another metric by the same name
	}
	metrics := map[string]*dto.Metric{}
	for _, m := range to.GetMetric() {
		labels := map[string]string{}
		for _, l := range m.GetLabel() {
			labels[l.GetName()] = l.GetValue()
		}
		metrics[labelKey(labels)] = m
	}
	for _, s := range f.Series {
		m := metrics[labelKey(s.Labels)]
		if m == nil {
			m = &dto.Metric{}
			for _, name := range slices.Sorted(maps.Keys(s.Labels)) {
				m.Label = append(m.Label, &dto.LabelPair{Name: new(name), Value: new(s.Labels[name])})
			}
			to.Metric = append(to.Metric, m)
		}
		s.addTo(m, f.Histogram)
	}
}

func labelKey(labels map[string]string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		fmt.Fprintf(&b, "%q=%q,", name, labels[name])
	}
	return b.String()
}

func (s *series) addTo(m *dto.Metric, histogram bool) {
	if !histogram {
		m.Counter = &dto.Counter{Value: new(m.GetCounter().GetValue() + s.Value)}
		return
	}
	h := m.Histogram
	if h == nil {
		h = &dto.Histogram{}
		for _, b := range s.Buckets {
			h.Bucket = append(h.Bucket, &dto.Bucket{UpperBound: new(b.Bound), CumulativeCount: new(uint64(0))})
		}
		m.Histogram = h
	}
	h.SampleCount, h.SampleSum = new(h.GetSampleCount()+s.Count), new(h.GetSampleSum()+s.Sum)
	for _, b := range h.Bucket {
		b.CumulativeCount = new(b.GetCumulativeCount() + s.at(b.GetUpperBound()))
	}
}
