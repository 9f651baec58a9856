package admin

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ircferry/ircferry/handoff"
)

// pauseBuckets go from what nobody feels to the length at which clients' own ping timers begin to matter.
var pauseBuckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

type moveKey struct{ pool, kind string }

// moveSums is what the ended moves of one pool and kind add up to.
type moveSums struct {
	attempted, moved, reverted, failed, left int
	heldLines, heldBytes                     int
	results                                  map[handoff.State]int
}

// moveMetrics is a collector, not single counters: all figures of a move change under one lock, so attempted = moved +
// reverted + failed + left holds at every scrape.
type moveMetrics struct {
	mu      sync.Mutex
	sums    map[moveKey]*moveSums
	running map[string]moveKey // by move id
	pauses  *prometheus.HistogramVec
}

func newMoveMetrics() *moveMetrics {
	return &moveMetrics{sums: map[moveKey]*moveSums{}, running: map[string]moveKey{},
		pauses: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "ircferry_move_pause_seconds",
			Help: "How long a session was not served in a move, from freeze to thaw.", Buckets: pauseBuckets}, []string{"pool", "kind"})}
}

func (c *moveMetrics) started(r handoff.Report) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !r.State.Ended() {
		c.running[r.ID] = c.keyLocked(r)
	}
}

// balanced reports whether every session of an ended move is counted with exactly one outcome (every scrape shows it).
func balanced(r handoff.Report) bool { return r.Attempted == r.Moved+r.Reverted+r.Failed+r.Left }

// ended adds a move up.
func (c *moveMetrics) ended(r handoff.Report) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.running, r.ID)
	s := c.sums[c.keyLocked(r)]
	s.attempted += r.Attempted
	s.moved += r.Moved
	s.reverted += r.Reverted
	s.failed += r.Failed
	s.left += r.Left
	s.heldLines += r.HeldLines
	s.heldBytes += r.HeldBytes
	s.results[r.State]++
}

func (c *moveMetrics) keyLocked(r handoff.Report) moveKey {
	k := moveKey{r.Pool, string(r.Kind)}
	if c.sums[k] == nil {
		c.sums[k] = &moveSums{results: map[handoff.State]int{handoff.StateDone: 0, handoff.StateReverted: 0, handoff.StateFailed: 0}}
	}
	return k
}

var (
	movesDesc = prometheus.NewDesc("ircferry_moves_total", "Moves that have ended, by how.",
		[]string{"pool", "kind", "result"}, nil)
	inProgressDesc = prometheus.NewDesc("ircferry_moves_in_progress", "Moves that run or are parked.",
		[]string{"pool", "kind"}, nil)
	attemptedDesc = prometheus.NewDesc("ircferry_move_sessions_attempted_total",
		"Sessions of moves that have ended: the sum of ircferry_move_sessions_total over its outcomes.", []string{"pool", "kind"}, nil)
	outcomeDesc = prometheus.NewDesc("ircferry_move_sessions_total", "Sessions of moves that have ended, by outcome.",
		[]string{"pool", "kind", "outcome"}, nil)
	heldLinesDesc = prometheus.NewDesc("ircferry_move_held_lines_total", "Client lines that waited here during a move and went out after it.",
		[]string{"pool", "kind"}, nil)
	heldBytesDesc = prometheus.NewDesc("ircferry_move_held_bytes_total", "Client bytes that waited here during a move and went out after it.",
		[]string{"pool", "kind"}, nil)
)

func (c *moveMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{movesDesc, inProgressDesc, attemptedDesc, outcomeDesc, heldLinesDesc, heldBytesDesc} {
		ch <- d
	}
}

func (c *moveMetrics) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	counter := func(d *prometheus.Desc, v int, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	inProgress := map[moveKey]int{}
	for _, k := range c.running {
		inProgress[k]++
	}
	for k, s := range c.sums {
		counter(attemptedDesc, s.attempted, k.pool, k.kind)
		counter(outcomeDesc, s.moved, k.pool, k.kind, "moved")
		counter(outcomeDesc, s.reverted, k.pool, k.kind, "reverted")
		counter(outcomeDesc, s.failed, k.pool, k.kind, "failed")
		counter(outcomeDesc, s.left, k.pool, k.kind, "left")
		counter(heldLinesDesc, s.heldLines, k.pool, k.kind)
		counter(heldBytesDesc, s.heldBytes, k.pool, k.kind)
		for state, n := range s.results {
			counter(movesDesc, n, k.pool, k.kind, string(state))
		}
		ch <- prometheus.MustNewConstMetric(inProgressDesc, prometheus.GaugeValue, float64(inProgress[k]), k.pool, k.kind)
	}
}
