package wire

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrFull says that there is no slot or chunk to be had: Options.Slots or MaxBytes is reached, or the kernel has no memory.
// What was queued before is whole, and what was offered is not queued at all.
var ErrFull = errors.New("wire arena is full")

// ErrQueueFull says that one queue would hold more than Options.MaxQueue: its owner's doing, whatever room there is. Nothing of what was offered
// is queued.
var ErrQueueFull = errors.New("queue is full")

// DefaultMaxBytes is enough for 9,500 sessions with 64 KiB held each and some of them with 1 MiB.
const DefaultMaxBytes = 1 << 30

// Options of an arena.
type Options struct {
	Slots    int   // most sessions at once, over all shards
	Shards   int   // event loops
	MaxBytes int64 // most bytes that the file may have allocated, 0: DefaultMaxBytes. Costs address space, not memory
	MaxQueue int   // most bytes in one queue, so that no session can fill the arena alone; 0: no bound
}

// Arena is the shared-memory file. Its own methods may be called from any goroutine.
type Arena struct {
	fd     int
	base   unsafe.Pointer
	size   uintptr
	hdr    *header
	shards []*Shard
	chunks uint32 // chunks that fit into the file
	locked int64  // bytes under mlock, from the beginning on

	maxQueue uint64 // most bytes in one queue
	tight    atomic.Bool

	blocks []block // one entry each; a block that a shard has belongs to its goroutine

	mu         sync.Mutex
	allocated  int64    // guarded by mu; bytes populated by fallocate
	maxBytes   int64    // bound of allocated
	slots      cells    // guarded by mu but for off and highest
	annexes    cells    // the same
	freeBlocks []int32  // guarded by mu; given back by shards, without memory
	nextBlock  int32    // guarded by mu; this and all higher ones are untouched
	refused    int64    // guarded by mu; how often the answer was ErrFull
	lockedMore int64    // guarded by mu; bytes under mlock behind those
	noted      [2]int64 // guarded by mu; memory of the notes' editions

	fallocate func(fd int, mode uint32, off, n int64) error // a field for the tests of a full machine
}

// New makes an arena. Nothing but the header and the staging buffers has memory yet.
func New(o Options) (*Arena, error) {
	fd, err := memfd()
	if err != nil {
		return nil, fmt.Errorf("create wire arena: %w", err)
	}
	a, err := newArena(fd, o, true)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return a, nil
}

// maxQueue is the most that the fields of a Queue can count without danger of running over.
const maxQueue = 1 << 31

// Tight reports whether less than an eighth of MaxBytes is left: time to ask the largest holders for theirs, before somebody who asks for
// little gets nothing. Any goroutine may call it.
func (a *Arena) Tight() bool { return a.tight.Load() }

// weighLocked notes whether the arena is tight, after allocated has changed.
func (a *Arena) weighLocked() {
	if tight := a.allocated > a.maxBytes-a.maxBytes/8; tight != a.tight.Load() {
		a.tight.Store(tight)
	}
}

// extent is where the parts of the file begin and how many there are, see the package comment. The areas begin behind the header.
type extent struct {
	notes, slots, annexes, chunks, size int64
	annexCount, blocks                  int64
}

// extent answers how large a file with these options is; MaxBytes is set.
func (o Options) extent() (extent, error) {
	if o.Slots < 1 || o.Slots > 1<<24 || o.Shards < 1 || o.Shards > MaxShards {
		return extent{}, fmt.Errorf("wire arena with %d slots and %d shards (at most %d)", o.Slots, o.Shards, MaxShards)
	}
	e := extent{notes: headerSize + int64(o.Shards)*shardAreaSize}
	e.slots = roundUp(e.notes+2*notesSize, SlotSize)
	e.annexes = roundUp(e.slots+int64(o.Slots+1)*SlotSize, annexSize)
	e.annexCount = 2 * int64(o.Slots) // a session may have TLS on both sides
	e.chunks = roundUp(e.annexes+(e.annexCount+1)*annexSize, blockSize)
	e.blocks = (o.MaxBytes - e.notes) / blockSize
	if e.blocks < 1 || e.blocks > 1<<26 {
		return extent{}, fmt.Errorf("wire arena of %d bytes: at least %d are needed for %d shards", o.MaxBytes, e.notes+blockSize, o.Shards)
	}
	e.size = e.chunks + e.blocks*blockSize
	return e, nil
}

// newArena lays an arena out in fd. The arena owns fd only if there is no error.
func newArena(fd int, o Options, sealed bool) (*Arena, error) {
	if o.MaxBytes == 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	e, err := o.extent()
	if err != nil {
		return nil, err
	}
	a := &Arena{
		fd: fd, size: uintptr(e.size), maxBytes: o.MaxBytes, chunks: uint32(e.blocks) * blockChunks,
		slots:   cells{off: e.slots, size: SlotSize, batch: slotBatch, highest: uint32(o.Slots), next: 1},
		annexes: cells{off: e.annexes, size: annexSize, batch: annexBatch, highest: uint32(e.annexCount), next: 1},
		blocks:  make([]block, e.blocks), fallocate: fallocate, maxQueue: maxQueue,
	}
	if o.MaxQueue > 0 {
		a.maxQueue = min(a.maxQueue, uint64(o.MaxQueue))
	}
	if err := a.mapFile(e, sealed); err != nil {
		return nil, err
	}
	a.protect()
	a.hdr = (*header)(a.base)
	*a.hdr = header{
		Magic: Magic, Version: LayoutVersion, Shards: uint32(o.Shards), LayoutHash: LayoutHash(), Size: uint64(e.size),
		SlotSize: SlotSize, ChunkSize: ChunkSize, AreasOff: headerSize, SlotsOff: uint64(e.slots),
		Slots: uint64(o.Slots), ChunksOff: uint64(e.chunks), Chunks: uint64(a.chunks), AnnexesOff: uint64(e.annexes), Annexes: uint64(e.annexCount),
		SlotsNext: 1, AnnexesNext: 1, MaxBytes: uint64(o.MaxBytes), NotesOff: uint64(e.notes),
	}
	a.slots.noted, a.annexes.noted = &a.hdr.SlotsNext, &a.hdr.AnnexesNext
	a.shards = make([]*Shard, o.Shards)
	for i := range a.shards {
		a.shards[i] = newShard(a, i)
	}
	return a, nil
}

// mapFile gives the file its size and maps it, with memory for all that is before the notes.
func (a *Arena) mapFile(e extent, sealed bool) error {
	if err := unix.Ftruncate(a.fd, e.size); err != nil {
		return fmt.Errorf("size wire arena: %w", err)
	}
	if sealed {
		// Whoever gets the descriptor cannot cut the file under our mapping.
		if _, err := unix.FcntlInt(uintptr(a.fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL); err != nil {
			return fmt.Errorf("seal wire arena: %w", err)
		}
	}
	if err := a.growLocked(0, e.notes); err != nil {
		return fmt.Errorf("allocate %d bytes for wire arena: %w", e.notes, err)
	}
	base, err := unix.MmapPtr(a.fd, 0, nil, a.size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_NORESERVE)
	if err != nil {
		return fmt.Errorf("map wire arena: %w", err)
	}
	a.base = base
	return nil
}

// protect keeps the mapping out of core dumps and, as far as that is allowed, out of swap; refusals are not errors.
func (a *Arena) protect() {
	all := unsafe.Slice((*byte)(a.base), a.size)
	_ = unix.Madvise(all, unix.MADV_DONTDUMP)
	_ = unix.Madvise(all, unix.MADV_NOHUGEPAGE) // a huge page would make the first slot cost 2 MiB
	// On fault: a lock must not populate what nobody uses. Without CAP_IPC_LOCK the limit counts address space, which the whole
	// file exceeds; then all but the chunks, where no key lies, or at least what is before the slots, and annexes as they are taken.
	for _, part := range [][]byte{all, all[:a.chunksOff()], all[:a.slots.off]} {
		if lockOnFault(part) {
			a.locked = int64(len(part))
			break
		}
	}
}

// lockLocked locks annexes that are new, if they are not locked yet: there are the keys of all connections.
func (a *Arena) lockLocked(off, n int64) {
	if off+n > a.locked && lockOnFault(unsafe.Slice((*byte)(unsafe.Add(a.base, off)), n)) {
		a.lockedMore += n
	}
}

func (a *Arena) chunksOff() uintptr { return a.size - uintptr(a.chunks)*ChunkSize }

func lockOnFault(b []byte) bool {
	_, _, errno := unix.Syscall(unix.SYS_MLOCK2, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MLOCK_ONFAULT)
	return errno == 0
}

// Fd is the arena's descriptor. It stays the arena's.
func (a *Arena) Fd() int { return a.fd }

// Shard is the part of event loop i.
func (a *Arena) Shard(i int) *Shard { return a.shards[i] }

// Close unmaps the arena and closes its descriptor. No shard, slot or slice of it may be used afterwards.
func (a *Arena) Close() error {
	err := unix.MunmapPtr(a.base, a.size)
	a.base, a.hdr = nil, nil
	return errors.Join(err, unix.Close(a.fd))
}

// growLocked populates [off, off+n) of the file. It counts whole calls: callers ask for ranges that are not populated.
func (a *Arena) growLocked(off, n int64) error {
	if a.allocated+n > a.maxBytes {
		a.refused++
		return ErrFull
	}
	if err := a.fallocate(a.fd, 0, off, n); err != nil {
		a.refused++
		return ErrFull
	}
	a.allocated += n
	a.weighLocked()
	return nil
}

// memfd makes the file, without leave to execute it where the kernel knows of that (6.3).
func memfd() (int, error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate("ircferry-wire", flags|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) {
		fd, err = unix.MemfdCreate("ircferry-wire", flags)
	}
	return fd, err
}

// fallocate repeats a call that a signal ended; the kernel has undone its part by then.
func fallocate(fd int, mode uint32, off, n int64) error {
	for {
		if err := unix.Fallocate(fd, mode, off, n); err != unix.EINTR {
			return err
		}
	}
}

func roundUp(n, to int64) int64 { return (n + to - 1) / to * to }
