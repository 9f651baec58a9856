package backend

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are those of a Set. Gauges are read from the backends at each scrape, so none can be stale; counters go with their backend.
type metrics struct {
	set      *Set
	reg      prometheus.Registerer
	duration *prometheus.HistogramVec
	failures *prometheus.CounterVec
	dials    *prometheus.CounterVec
	turned   *prometheus.CounterVec
}

var (
	perBackend   = []string{"pool", "backend"}
	descUp       = prometheus.NewDesc("ircferry_backend_up", "1 if the checks succeed, 0 if they do not or none has ended yet.", perBackend, nil)
	descState    = prometheus.NewDesc("ircferry_backend_state", "1 for the admin state that the backend is in, 0 for the others.", []string{"pool", "backend", "state"}, nil)
	descWeight   = prometheus.NewDesc("ircferry_backend_weight", "Configured weight.", perBackend, nil)
	descSessions = prometheus.NewDesc("ircferry_backend_sessions", "Sessions that have their stream at the backend.", perBackend, nil)
	descRefusing = prometheus.NewDesc("ircferry_backend_refusing", "1 if clients in a row were turned away by the ircd before they were registered.", perBackend, nil)
	descTurned   = prometheus.NewDesc("ircferry_backend_refused_addresses", "Addresses of the clients in a row that the ircd turned away before they were registered.", perBackend, nil)
	descDoubt    = prometheus.NewDesc("ircferry_backend_identity_doubted", "1 if a check by irc has seen that the ircd does not believe who a client is.", perBackend, nil)
	descServing  = prometheus.NewDesc("ircferry_pool_serving", "1 for the backend that a standalone pool serves from, 0 for the others.", perBackend, nil)
)

func newMetrics(s *Set, reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{set: s, reg: reg,
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "ircferry_backend_check_duration_seconds",
			Help: "How long checks took, failed ones too.", Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}}, perBackend),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ircferry_backend_check_failures_total",
			Help: "Checks that failed. Reason local is about this machine and does not count against the backend."}, []string{"pool", "backend", "reason"}),
		dials: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ircferry_backend_dial_failures_total",
			Help: "Connects for clients that failed. Reason local is about this machine and does not count against the backend."}, []string{"pool", "backend", "reason"}),
		turned: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ircferry_backend_refused_clients_total",
			Help: "Clients that the ircd turned away before they were registered."}, perBackend),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range m.collectors() {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register backend metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m, m.duration, m.failures, m.dials, m.turned}
}

func (m *metrics) close() {
	if m.reg == nil {
		return
	}
	for _, c := range m.collectors() {
		m.reg.Unregister(c)
	}
}

func (m *metrics) checked(b *Backend, took time.Duration, reason Reason) {
	m.duration.WithLabelValues(b.pool.name, b.name).Observe(took.Seconds())
	if reason != "" {
		m.failures.WithLabelValues(b.pool.name, b.name, string(reason)).Inc()
	}
}

func (m *metrics) dialFailed(b *Backend, reason Reason) {
	m.dials.WithLabelValues(b.pool.name, b.name, string(reason)).Inc()
}

func (m *metrics) refused(b *Backend) { m.turned.WithLabelValues(b.pool.name, b.name).Inc() }

// forget deletes the series of a removed backend.
func (m *metrics) forget(b *Backend) {
	labels := prometheus.Labels{"pool": b.pool.name, "backend": b.name}
	m.duration.DeletePartialMatch(labels)
	m.failures.DeletePartialMatch(labels)
	m.dials.DeletePartialMatch(labels)
	m.turned.DeletePartialMatch(labels)
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descUp, descState, descWeight, descSessions, descServing, descRefusing, descTurned, descDoubt} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for _, b := range m.set.Backends() {
		s := b.Status()
		gauge(descSessions, float64(s.Sessions), s.Pool, s.Name)
		if s.Removed {
			continue
		}
		gauge(descUp, number(s.Oper == Up), s.Pool, s.Name)
		gauge(descRefusing, number(s.Refusing != ""), s.Pool, s.Name)
		gauge(descTurned, float64(s.RefusedFrom), s.Pool, s.Name)
		gauge(descDoubt, number(s.Doubt != ""), s.Pool, s.Name)
		gauge(descWeight, float64(s.Weight), s.Pool, s.Name)
		for _, a := range adminStates {
			gauge(descState, number(s.Admin == a), s.Pool, s.Name, string(a))
		}
		if b.pool.standalone() {
			gauge(descServing, number(s.Serving), s.Pool, s.Name)
		}
	}
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
