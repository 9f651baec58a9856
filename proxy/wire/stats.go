package wire

import "golang.org/x/sys/unix"

// Stats is how full an arena is.
type Stats struct {
	Slots     int   // in use
	TLS       int   // annexes in use
	Chunks    int   // in use
	Allocated int64 // bytes populated for header, staging, slots, annexes and chunk blocks
	Resident  int64 // bytes that the kernel has for the file, in pages
	Max       int64 // bound of Allocated
	Locked    int64 // bytes of the mapping that are never swapped
	Refused   int64 // how often the answer was ErrFull
}

// Stats may be called from any goroutine. Counts of different shards are not of the same instant.
func (a *Arena) Stats() Stats {
	a.mu.Lock()
	st := Stats{Allocated: a.allocated, Max: a.maxBytes, Locked: a.locked + a.lockedMore, Refused: a.refused}
	a.mu.Unlock()
	for _, s := range a.shards {
		st.Slots += int(s.slotsUsed.Load())
		st.TLS += int(s.annexesUsed.Load())
		st.Chunks += int(s.chunksUsed.Load())
	}
	var fs unix.Stat_t
	if unix.Fstat(a.fd, &fs) == nil {
		st.Resident = fs.Blocks * 512
	}
	return st
}
