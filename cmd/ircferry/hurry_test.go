package main

import (
	"runtime"
	"runtime/debug"
	"testing"
)

// The collector is put off while anybody waits, is bounded all the same, and is as before afterwards.
func TestCollectorIsPutOff(t *testing.T) {
	percent := debug.SetGCPercent(100)
	defer debug.SetGCPercent(percent)
	limit := debug.SetMemoryLimit(-1)
	var c collector
	one, two := c.hurry(), c.hurry()
	now := func() (percent int) {
		percent = debug.SetGCPercent(-1)
		debug.SetGCPercent(percent)
		return percent
	}
	if now() != -1 || debug.SetMemoryLimit(-1) > inUse()+2*hurryRoom {
		t.Errorf("percent %d, limit %d, in use %d", now(), debug.SetMemoryLimit(-1), inUse())
	}
	one()
	one() // once
	if now() != -1 {
		t.Error("it is back while somebody waits")
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 40 {
		sink = make([]byte, 16<<20)
	}
	if runtime.ReadMemStats(&after); after.NumGC == before.NumGC {
		t.Error("640 MiB of garbage did not bring it")
	}
	two()
	if now() != 100 || debug.SetMemoryLimit(-1) != limit {
		t.Errorf("afterwards: percent %d, limit %d, want %d", now(), debug.SetMemoryLimit(-1), limit)
	}
}

var sink []byte
