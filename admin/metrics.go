package admin

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ircferry/ircferry/handoff"
)

// Metrics is what the admin room measures: the build, the configuration, commands and moves. A nil *Metrics counts nothing.
// All methods may be called from any goroutine. No nick, address or session is ever a label.
type Metrics struct {
	commands   *prometheus.CounterVec
	reloadOK   prometheus.Gauge
	reloadTime prometheus.Gauge
	configInfo *prometheus.GaugeVec
	violations prometheus.Counter
	moves      *moveMetrics
}

// NewMetrics registers the metrics at reg. It may be called once for one registry.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		commands: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ircferry_audit_events_total",
			Help: "Changing commands of operators, by verb and result."}, []string{"verb", "result"}),
		reloadOK: prometheus.NewGauge(prometheus.GaugeOpts{Name: "ircferry_config_last_reload_successful",
			Help: "1 if the last attempt to load the configuration succeeded."}),
		reloadTime: prometheus.NewGauge(prometheus.GaugeOpts{Name: "ircferry_config_last_reload_success_timestamp_seconds",
			Help: "When the running configuration was loaded."}),
		configInfo: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "ircferry_config_info",
			Help: "The running configuration file, by its checksum."}, []string{"sha256"}),
		violations: prometheus.NewCounter(prometheus.CounterOpts{Name: "ircferry_move_invariant_violations_total",
			Help: "Ended moves whose attempted sessions were not the sum of moved, reverted, failed and left."}),
		moves: newMoveMetrics(),
	}
	v := BuildVersion()
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "ircferry_build_info", Help: "What runs; always 1.",
		ConstLabels: prometheus.Labels{"version": v.Version, "revision": v.Revision, "goversion": v.Go}})
	build.Set(1)
	reg.MustRegister(build, m.commands, m.reloadOK, m.reloadTime, m.configInfo, m.violations, m.moves, m.moves.pauses)
	return m
}

// Loaded tells of an attempt to load the configuration, at start and at each reload. sum is the checksum of the file that runs
// now; a failed attempt leaves it and the time as they were.
func (m *Metrics) Loaded(ok bool, sum string) {
	if m == nil {
		return
	}
	if !ok {
		m.reloadOK.Set(0)
		return
	}
	m.reloadOK.Set(1)
	m.reloadTime.Set(float64(time.Now().Unix()))
	m.configInfo.Reset()
	m.configInfo.WithLabelValues(sum).Set(1)
}

// SessionPause tells how long one session was not served in a move. The coordinator calls it, once for each session that was
// frozen.
func (m *Metrics) SessionPause(pool string, kind handoff.Kind, pause time.Duration) {
	if m != nil {
		m.moves.pauses.WithLabelValues(pool, string(kind)).Observe(pause.Seconds())
	}
}

// MoveStarted and MoveEnded tell of a move, once each. Server.Track calls them.
func (m *Metrics) MoveStarted(r handoff.Report) {
	if m != nil {
		m.moves.started(r)
	}
}

func (m *Metrics) MoveEnded(r handoff.Report) {
	if m == nil {
		return
	}
	m.moves.ended(r)
	if !balanced(r) {
		m.violations.Inc()
	}
}

func (m *Metrics) command(verb string, result Result) {
	if m != nil {
		m.commands.WithLabelValues(verb, string(result)).Inc()
	}
}
