package link

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are those of a Set. Gauges are read from the links at each scrape, so none can be stale.
type metrics struct {
	set     *Set
	replays *prometheus.CounterVec
	gone    *prometheus.CounterVec
	given   *prometheus.CounterVec
	refuses *prometheus.CounterVec
	held    *prometheus.HistogramVec

	mu   sync.Mutex
	have map[string]*counts // by "pool/name", for listings
}

type counts struct{ givenUp, refused uint64 }

var (
	perLink   = []string{"pool", "link"}
	descUp    = prometheus.NewDesc("ircferry_link_up", "1 if the server link is up, held or not, 0 if it is not.", perLink, nil)
	descState = prometheus.NewDesc("ircferry_link_state", "1 for the state that the server link is in, 0 for the others.", []string{"pool", "link", "state"}, nil)
	descHeld  = prometheus.NewDesc("ircferry_link_held_seconds", "How long a move has held the server link by now; 0: none holds it.", perLink, nil)
	descKept  = prometheus.NewDesc("ircferry_link_kept_bytes", "What the peer of the server link has said and no ircd has taken yet.", perLink, nil)
	descKeeps = prometheus.NewDesc("ircferry_link_protected", "1 if the server link outlives a crash of the daemon: a keeper has it, and no move holds it.", perLink, nil)
	descHold  = prometheus.NewDesc("ircferry_link_hold_bytes", "Bound of what is kept of the peer: with more the server link is given up.", perLink, nil)
)

func newMetrics(s *Set, reg prometheus.Registerer) *metrics {
	counter := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, append([]string{label}, perLink...))
	}
	m := &metrics{set: s, have: map[string]*counts{},
		replays: counter("ircferry_link_replays_total", "Server links that were played into an ircd.", "result"),
		gone:    counter("ircferry_link_ends_total", "Server links that have ended.", "reason"),
		given:   counter("ircferry_link_given_up_total", "Server links that a move could not hold on: splits.", "cause"),
		refuses: counter("ircferry_link_refused_total", "Connections that did not become a server link.", "reason"),
		held: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "ircferry_link_away_seconds",
			Help:    "How long server links were without an ircd in moves.",
			Buckets: []float64{.1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600}}, perLink)}
	if reg != nil {
		reg.MustRegister(m, m.replays, m.gone, m.given, m.refuses, m.held)
	}
	return m
}

// show makes the series of a link, so that the first of a kind is seen as one more.
func (m *metrics) show(p *port) {
	for _, r := range []string{"done", "failed"} {
		m.replays.WithLabelValues(r, p.pool, p.conf.Name)
	}
	for _, c := range Causes {
		m.given.WithLabelValues(string(c), p.pool, p.conf.Name)
	}
	for _, r := range Refusals {
		m.refuses.WithLabelValues(string(r), p.pool, p.conf.Name)
	}
}

// forget deletes the series of a link that is gone from the configuration.
func (m *metrics) forget(p *port) {
	labels := prometheus.Labels{"pool": p.pool, "link": p.conf.Name}
	for _, v := range []interface{ DeletePartialMatch(prometheus.Labels) int }{m.replays, m.gone, m.given, m.refuses, m.held} {
		v.DeletePartialMatch(labels)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.have, p.key())
}

func (m *metrics) replayed(i Info, err error) {
	result := "done"
	if err != nil {
		result = "failed"
	}
	m.replays.WithLabelValues(result, i.Pool, i.Name).Inc()
}

func (m *metrics) away(p *port, d time.Duration) {
	if d > 0 {
		m.held.WithLabelValues(p.pool, p.conf.Name).Observe(d.Seconds())
	}
}

func (m *metrics) refused(p *port, why Refusal) {
	m.refuses.WithLabelValues(string(why), p.pool, p.conf.Name).Inc()
	m.count(p, func(c *counts) { c.refused++ })
}

func (m *metrics) ended(l *link, why End) {
	m.gone.WithLabelValues(string(why), l.port.pool, l.port.conf.Name).Inc()
	if why == EndGivenUp {
		m.given.WithLabelValues(string(l.cause), l.port.pool, l.port.conf.Name).Inc()
		m.count(l.port, func(c *counts) { c.givenUp++ })
	}
}

func (m *metrics) count(p *port, f func(*counts)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.have[p.key()] == nil {
		m.have[p.key()] = &counts{}
	}
	f(m.have[p.key()])
}

// counts puts into a picture how often something happened.
func (m *metrics) counts(i *Info) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c := m.have[i.key()]; c != nil {
		i.GivenUp, i.Refused = c.givenUp, c.refused
	}
}

// carried is counts for another process, and resume takes them there. The counters themselves go with all others.
func (m *metrics) carried() map[string]countState {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := map[string]countState{}
	for key, c := range m.have {
		all[key] = countState{c.givenUp, c.refused}
	}
	return all
}

func (m *metrics) resume(all map[string]countState) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, c := range all {
		m.have[key] = &counts{c.GivenUp, c.Refused}
	}
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descUp, descState, descHeld, descKept, descKeeps, descHold} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	number := map[bool]float64{true: 1}
	for _, i := range m.set.Links() {
		held := 0.0
		if !i.Held.IsZero() {
			held = time.Since(i.Held).Seconds()
		}
		gauge(descUp, number[i.State != Down && i.State != Linking], i.Pool, i.Name)
		gauge(descHeld, held, i.Pool, i.Name)
		gauge(descKept, float64(i.Kept), i.Pool, i.Name)
		gauge(descKeeps, number[i.Protected], i.Pool, i.Name)
		gauge(descHold, float64(i.Hold), i.Pool, i.Name)
		for s := Linking; s <= Down; s++ {
			gauge(descState, number[i.State == s], i.Pool, i.Name, s.String())
		}
	}
}
