package proxy

import (
	"runtime/debug"
	runtimemetrics "runtime/metrics"
)

// A handshake leaves some 60 KiB of garbage, a session that has TLS a few hundred bytes. So a burst of new clients, and a move with its journal too,
// drives the heap to several times what is in use, and the runtime keeps that: it gives back only what is over the next collection's goal, which
// cannot fall below 4 MiB and falls only with the next collection.

// burst is how many collections of garbage make it worth while to give memory back, which costs one more. Fewer are an ordinary day's.
const burst = 8

// releaser gives the memory of a burst back to the kernel when it is over. It is asked at regular intervals, by one goroutine.
type releaser struct {
	collections func() uint64 // so far
	release     func()        // collects garbage and gives back what is free

	seen uint64 // collections at the last look
	done uint64 // ... at the last release
}

func newReleaser() *releaser { return &releaser{collections: collections, release: debug.FreeOSMemory} }

// look releases if there were many collections since the last release, and none since the last look.
func (r *releaser) look() {
	n := r.collections()
	over := n == r.seen
	r.seen = n
	if !over || n-r.done < burst {
		return
	}
	r.release()
	r.seen = r.collections()
	r.done = r.seen
}

// collections is how many the runtime has done. It stops nothing.
func collections() uint64 {
	s := []runtimemetrics.Sample{{Name: "/gc/cycles/total:gc-cycles"}}
	runtimemetrics.Read(s)
	if s[0].Value.Kind() != runtimemetrics.KindUint64 {
		return 0
	}
	return s[0].Value.Uint64()
}
