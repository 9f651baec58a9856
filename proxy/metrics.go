package proxy

import (
	"fmt"
	"strconv"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// workerCounts are written by one worker and read by whoever collects.
type workerCounts struct {
	states            [stateCount]atomic.Int64
	bytesIn, bytesOut atomic.Uint64 // from clients, from backends
	violations        atomic.Uint64
}

// metrics collects the loops' counts at each scrape.
type metrics struct {
	p   *Proxy
	reg prometheus.Registerer
}

var (
	byListener = []string{"listener"}

	descConnections  = desc("listener_connections", "Clients that are connected.", byListener...)
	descAccepted     = desc("listener_connections_total", "Clients that were accepted, also those that were refused then.", byListener...)
	descEnded        = desc("sessions_ended_total", "Sessions that ended, by close reason.", "listener", "reason")
	descRejected     = desc("listener_rejected_total", "Clients that were refused by a limit or for their PROXY header.", "listener", "reason")
	descHandshakes   = desc("tls_handshakes_total", "TLS handshakes of clients by outcome: full, resumed, or why there was none.", "listener", "outcome")
	descRecords      = desc("tls_records_refused_total", "Sessions that ended because of a TLS record, by reason.", "listener", "reason")
	descSessions     = desc("sessions", "Sessions by state.", "state")
	descStreams      = desc("sessions_by_backend", "Sessions that have a stream at a backend or connect to it.", "pool", "backend")
	descBytes        = desc("bytes_total", "Bytes read from clients and from backends.", "from")
	descPaused       = desc("accept_paused", "Event loops that take no new clients because descriptors are used up.")
	descPauses       = desc("accept_pauses_total", "How often an event loop stopped taking clients because descriptors were used up.")
	descLag          = desc("loop_lag_seconds", "How long work waited for the event loop just now.", "loop")
	descTurns        = desc("loop_turns_total", "Turns of the event loop.", "loop")
	descPanics       = desc("loop_panics_total", "Panics that were caught in the event loop.", "loop")
	descLogDrops     = desc("log_dropped_total", "Lines about ended sessions that were dropped because the log did not keep up.")
	descArenaBytes   = desc("arena_bytes", "Memory of the wire arena: allocated, resident, or its bound (max).", "kind")
	descArenaSlots   = desc("arena_slots", "Slots of the wire arena in use.")
	descArenaChunks  = desc("arena_chunks", "Buffers of the wire arena in use.")
	descArenaRefused = desc("arena_refused_total", "How often the wire arena had no room.")
	descInvariant    = desc("invariant_violations_total", "Bookkeeping that did not add up. Always 0, or there is a bug.", "check")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("ircferry_"+name, help, labels, nil)
}

func newMetrics(p *Proxy, reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{p: p, reg: reg}
	if reg != nil {
		if err := reg.Register(m); err != nil {
			return nil, fmt.Errorf("register proxy metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) unregister() {
	if m.reg != nil {
		m.reg.Unregister(m)
	}
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descConnections, descAccepted, descEnded, descRejected, descHandshakes, descRecords, descSessions, descStreams, descBytes,
		descPaused, descPauses, descLag, descTurns, descPanics, descLogDrops, descArenaBytes, descArenaSlots, descArenaChunks, descArenaRefused, descInvariant} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	m.listeners(gauge, counter)
	m.loops(gauge, counter)
	c := m.p.Counts()
	for state, n := range c.States {
		gauge(descSessions, float64(n), state)
	}
	gauge(descPaused, float64(c.Paused))
	counter(descLogDrops, m.p.ends.drops.Load())
	a := m.p.arena.Stats()
	gauge(descArenaBytes, float64(a.Allocated), "allocated")
	gauge(descArenaBytes, float64(a.Resident), "resident")
	gauge(descArenaBytes, float64(a.Max), "max")
	gauge(descArenaSlots, float64(a.Slots))
	gauge(descArenaChunks, float64(a.Chunks))
	counter(descArenaRefused, uint64(a.Refused))
}

func (m *metrics) listeners(gauge func(*prometheus.Desc, float64, ...string), counter func(*prometheus.Desc, uint64, ...string)) {
	for _, t := range m.p.tallies() {
		gauge(descConnections, float64(t.live.Load()), t.listener)
		counter(descAccepted, t.accepted.Load(), t.listener)
		for r := ReasonClientClosed; r < reasonCount; r++ {
			n := t.ended[r].Load()
			if r.refusal() {
				counter(descRejected, n, t.listener, r.String())
			}
			counter(descEnded, n, t.listener, r.String())
		}
		t.handshakes.each(func(word string, n uint64) { counter(descHandshakes, n, t.listener, word) })
		t.records.each(func(word string, n uint64) { counter(descRecords, n, t.listener, word) })
	}
}

func (m *metrics) loops(gauge func(*prometheus.Desc, float64, ...string), counter func(*prometheus.Desc, uint64, ...string)) {
	var in, out, pauses, violations uint64
	streams := map[[2]string]int64{}
	for i, lag := range m.p.lag() {
		w := m.p.workers[i]
		label := strconv.Itoa(i)
		gauge(descLag, lag.Seconds(), label)
		counter(descTurns, w.loop.Turns(), label)
		counter(descPanics, w.loop.Panics(), label)
		in += w.counts.bytesIn.Load()
		out += w.counts.bytesOut.Load()
		pauses += w.sockets.Pauses()
		violations += w.counts.violations.Load()
		w.eachPeer(func(p *peer) { streams[[2]string{p.pool, p.name[len(p.pool)+1:]}] += p.live.Load() })
	}
	for name, n := range streams {
		gauge(descStreams, float64(n), name[0], name[1])
	}
	counter(descBytes, in, "client")
	counter(descBytes, out, "backend")
	counter(descPauses, pauses)
	counter(descInvariant, violations+m.p.unowned.Load(), "sessions")
}
