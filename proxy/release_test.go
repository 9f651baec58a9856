package proxy

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestMemoryIsReleasedOnceWhenABurstIsOver(t *testing.T) {
	const kib, mib = 1 << 10, 1 << 20
	now := heapUse{resident: 3 * mib}
	released, alive := 0, uint64(0) // what a release finds in use
	r := startReleaser(func() heapUse { return now }, func() {
		released++
		now.resident, now.free = alive, 0
	})
	for _, step := range []struct {
		what                       string
		resident, free, allocation uint64 // of the last, since the step before
		alive                      uint64
		want                       int
	}{
		{"start", 3 * mib, 200 * kib, 0, 3 * mib, 0},
		{"an ordinary day", 3500 * kib, 300 * kib, 50 * kib, 3 * mib, 0},
		{"and it is quiet", 3500 * kib, 300 * kib, 0, 3 * mib, 0},
		{"and quiet", 3500 * kib, 300 * kib, 0, 3 * mib, 0},
		{"a burst that makes few collections", 12 * mib, 500 * kib, 9 * mib, 5 * mib, 0},
		{"goes on", 14 * mib, 500 * kib, 5 * mib, 5 * mib, 0},
		{"is over", 14 * mib, 500 * kib, 20 * kib, 5 * mib, 0},
		{"and stays so: nothing was collected, all of it seems alive", 14 * mib, 500 * kib, 20 * kib, 5 * mib, 1},
		{"once only", 5 * mib, 0, 20 * kib, 5 * mib, 1},
		{"once only", 5 * mib, 0, 20 * kib, 5 * mib, 1},
		{"garbage of handshakes that never stop", 8 * mib, 2 * mib, 3 * mib, 5 * mib, 1},
		{"is needed again", 8 * mib, 2 * mib, 3 * mib, 5 * mib, 1},
		{"and again", 8 * mib, 2 * mib, 3 * mib, 5 * mib, 1},
		{"one look without is not the end", 8 * mib, 2 * mib, 0, 5 * mib, 1},
		{"they go on", 8 * mib, 2 * mib, 3 * mib, 5 * mib, 1},
		{"they have ended", 8 * mib, 2 * mib, 0, 5 * mib, 1},
		{"for good", 8 * mib, 2 * mib, 0, 5 * mib, 2},
		{"all clients leave, a collection finds it out", 5 * mib, 3 * mib, 100 * kib, 2 * mib, 2},
		{"nobody comes", 5 * mib, 3 * mib, 0, 2 * mib, 3},
		{"the runtime gave back by itself", 1 * mib, 0, 0, 2 * mib, 3},
		{"so this is growth", 2*mib + kib, 0, 100 * kib, mib, 3},
		{"that stays", 2*mib + kib, 0, 0, mib, 4},
		{"a big daemon", 400 * mib, 0, 400 * mib, 400 * mib, 4},
		{"is quiet", 400 * mib, 0, 0, 400 * mib, 4},
		{"is quiet", 400 * mib, 0, 0, 400 * mib, 5},
		{"a tenth of it is not worth a collection", 440 * mib, 30 * mib, mib, 400 * mib, 5},
		{"nor later", 440 * mib, 30 * mib, mib, 400 * mib, 5},
		{"nor later", 440 * mib, 30 * mib, mib, 400 * mib, 5},
	} {
		alive = step.alive
		now.resident, now.free = step.resident, step.free
		now.allocated += step.allocation
		r.look()
		if released != step.want {
			t.Fatalf("%s: released %d times, want %d", step.what, released, step.want)
		}
	}
}

// A burst of plaintext clients as the runtime sees it: 12 MiB that are alive at the last collection, garbage soon after it, and nothing that would
// bring about another one.
func TestMemoryOfAMiddlingBurstIsGivenBack(t *testing.T) {
	const burst = 12 << 20
	// Nothing is collected but by a release, as it is after a burst; and nothing of other tests is in the way.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	debug.FreeOSMemory()
	r := newReleaser()
	before := readHeap()

	clients := make([][]byte, burst>>10)
	for i := range clients {
		clients[i] = make([]byte, 1<<10)
	}
	runtime.GC() // the last one, and it finds all of them
	runtime.KeepAlive(clients)
	if after := readHeap(); after.resident < before.resident+burst-burst/10 { // something of before may go meanwhile
		t.Fatalf("the burst of %d bytes made the heap grow from %d to %d only", burst, before.resident, after.resident)
	}
	clients = nil
	for range 1 + quietLooks { // the first sees what the burst has allocated
		r.look()
	}
	if after := readHeap(); after.resident > before.resident+worthwhile {
		t.Errorf("%d bytes resident before the burst, %d after it, %d of them free", before.resident, after.resident, after.free)
	}
}
