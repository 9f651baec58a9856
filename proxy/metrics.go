package proxy

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// workerCounts are written by one worker and read by whoever collects.
type workerCounts struct {
	states            [stateCount]atomic.Int64
	closed            [reasonCount]atomic.Uint64
	bytesIn, bytesOut atomic.Uint64
	paused            atomic.Int64
	pauses            atomic.Uint64
}

type metrics struct{}

func newMetrics(*Proxy, prometheus.Registerer) *metrics { return &metrics{} }
func (*metrics) unregister()                            {}
