package main

import (
	"sync"
	"time"

	"github.com/ircferry/ircferry/internal/config"
)

const (
	// lookAtDescriptors is how often it is looked whether clients are still let in.
	lookAtDescriptors = time.Second
	// tellAgain is how long the log is spared after a line about it.
	tellAgain = time.Minute
)

// watchDescriptors says in the log when descriptors are used up and accepting rests, which nobody else is told of: a client waits in the
// kernel's queue. stop ends it.
func (d *daemon) watchDescriptors() (stop func()) {
	quit := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		tick := time.NewTicker(lookAtDescriptors)
		defer tick.Stop()
		var w descriptorWatch
		for {
			select {
			case now := <-tick.C:
				w.look(d, d.proxy.Counts().Paused > 0, now)
			case <-quit:
				return
			}
		}
	})
	return sync.OnceFunc(func() {
		close(quit)
		running.Wait()
	})
}

// descriptorWatch is what was told.
type descriptorWatch struct {
	resting bool
	since   time.Time
	told    time.Time
}

func (w *descriptorWatch) look(d *daemon, resting bool, now time.Time) {
	switch {
	case resting && !w.resting && (w.told.IsZero() || now.Sub(w.told) >= tellAgain):
		w.resting, w.since, w.told = true, now, now
		used, limit := d.proxy.Descriptors()
		d.log.Error("descriptors are used up: new clients wait until some are back", "used", used, "limit", limit,
			"reserved", config.ReservedDescriptors(limit), "way_out", "raise LimitNOFILE of the unit (ulimit -n), or limit limits.connections")
		d.publish("descriptors", "used up: new clients wait")
	case !resting && w.resting:
		w.resting = false
		d.log.Info("descriptors are back: new clients are let in", "after", now.Sub(w.since).Round(time.Second))
		d.publish("descriptors", "back")
	}
}
