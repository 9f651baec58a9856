package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/internal/config"
)

// Descriptors that are used up again and again are told once a minute, and their end once for each time they were told.
func TestUsedUpDescriptorsAreToldOnceAMinute(t *testing.T) {
	cfg := testConfig(t, nil)
	cfg.Pools = map[string]config.Pool{"main": {Topology: config.Linked}}
	d := startTestDaemon(t, cfg)
	var log bytes.Buffer
	d.log = slog.New(slog.NewTextHandler(&log, nil))
	var w descriptorWatch
	now := time.Now()
	for range 100 { // for ten seconds it comes and goes
		w.look(d, true, now)
		w.look(d, true, now.Add(50*time.Millisecond))
		now = now.Add(100 * time.Millisecond)
		w.look(d, false, now)
	}
	if used, back := strings.Count(log.String(), "used up"), strings.Count(log.String(), "descriptors are back"); used != 1 || back != 1 {
		t.Errorf("told %d times, and its end %d times:\n%s", used, back, log.String())
	}
	w.look(d, true, now.Add(time.Minute))
	if used := strings.Count(log.String(), "used up"); used != 2 {
		t.Errorf("a minute later it is told %d times", used)
	}
	d.stopDescriptors() // as a start that fails halfway does, before the end does it again
}
