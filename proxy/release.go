package proxy

import (
	"runtime/debug"
	runtimemetrics "runtime/metrics"
)

// A handshake leaves some 60 KiB of garbage, a plaintext client that registers one or two. So a burst of new clients, and a move with its journal
// too, drives the heap to several times what is in use. The runtime keeps that: it gives back only what is over the next collection's goal, which
// falls only with the next collection, and when the burst is over nothing is allocated that would bring one about.

const (
	// worthwhile and worthwhilePart: less than the larger of this many bytes and this part of what the heap held after the last release is not worth
	// the collection that a release is. It is less than a tenth of what HAProxy takes for 9,000 idle clients.
	worthwhile     = 1 << 20
	worthwhilePart = 8

	// stillNeeded: where more than this part of what could be given back was allocated since the last look, it would be taken again at once.
	stillNeeded = 4

	// quietLooks are waited for, because the cipher objects of a burst of TLS clients are dropped only when they have been idle (trimEvery).
	quietLooks = 2
)

// heapUse is what the runtime holds of the machine's memory for its heap, in bytes.
type heapUse struct {
	resident  uint64 // objects, living or not collected yet, stacks, and the room between and behind them
	free      uint64 // the part of it that nothing lies in
	allocated uint64 // ever
}

// releaser gives the memory of a burst back to the kernel when it is over. It is asked at regular intervals, by one goroutine.
//
// It goes by what the heap has grown to since the last release, not by how many collections there were or what the last of them found alive: a
// burst of some thousand plaintext clients makes few, and what was alive in its midst is garbage that nobody has looked at since.
type releaser struct {
	use     func() heapUse
	release func() // collects garbage and gives back what is free

	low       uint64 // the least that was resident since the last release
	allocated uint64 // at the last look
	quiet     int    // looks in a row at which it was worthwhile and little was allocated
}

func newReleaser() *releaser { return startReleaser(readHeap, debug.FreeOSMemory) }

func startReleaser(use func() heapUse, release func()) *releaser {
	u := use()
	return &releaser{use: use, release: release, low: u.resident, allocated: u.allocated}
}

// look releases if it is worthwhile and the burst is over.
func (r *releaser) look() {
	u := r.use()
	r.low = min(r.low, u.resident)
	recent := u.allocated - r.allocated
	r.allocated = u.allocated

	back := max(u.resident-r.low, u.free)
	if back < max(worthwhile, r.low/worthwhilePart) || recent > back/stillNeeded {
		r.quiet = 0
		return
	}
	if r.quiet++; r.quiet < quietLooks {
		return
	}
	r.release()
	u = r.use()
	r.low, r.allocated, r.quiet = u.resident, u.allocated, 0
}

// readHeap asks the runtime. It stops nothing.
func readHeap() heapUse {
	s := []runtimemetrics.Sample{
		{Name: "/memory/classes/heap/free:bytes"}, // without what has been given back
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/unused:bytes"},
		{Name: "/memory/classes/heap/stacks:bytes"},
		{Name: "/gc/heap/allocs:bytes"},
	}
	runtimemetrics.Read(s)
	var v [5]uint64
	for i := range s {
		if s[i].Value.Kind() == runtimemetrics.KindUint64 { // else this runtime does not tell it
			v[i] = s[i].Value.Uint64()
		}
	}
	return heapUse{resident: v[0] + v[1] + v[2] + v[3], free: v[0], allocated: v[4]}
}
