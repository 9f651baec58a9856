package main

import (
	"math"
	"runtime/debug"
	"runtime/metrics"
	"sync"
)

// collector keeps the garbage collector out of the time in which clients wait: on a small machine it takes a third of it, for garbage of some
// megabytes. Moves of several pools may be under way; it is back when the last one is over.
type collector struct {
	mu      sync.Mutex
	waiting int
	percent int
	limit   int64
}

// hurryRoom is how much the heap may grow without it: the records of ten thousand users some times over. Behind that it comes all the same.
const hurryRoom = 192 << 20

// hurry puts it off until the returned function is called.
func (c *collector) hurry() (over func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting++; c.waiting == 1 {
		c.limit = debug.SetMemoryLimit(-1)
		debug.SetMemoryLimit(min(c.limit, inUse()+hurryRoom))
		c.percent = debug.SetGCPercent(-1)
	}
	return sync.OnceFunc(c.done)
}

func (c *collector) done() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting--; c.waiting == 0 {
		debug.SetGCPercent(c.percent)
		debug.SetMemoryLimit(c.limit)
	}
}

// inUse is what the memory limit counts.
func inUse() int64 {
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(s)
	if s[0].Value.Kind() != metrics.KindUint64 || s[1].Value.Kind() != metrics.KindUint64 {
		return math.MaxInt64 - hurryRoom
	}
	return int64(s[0].Value.Uint64() - s[1].Value.Uint64())
}
