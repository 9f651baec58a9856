package wire

import (
	"errors"
	"fmt"
	"math/bits"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A process goes on with the arena of another one in steps: Attach maps it, Adopt makes the books anew that are not in the file. Until then nothing is
// written, so that the other process can still go on itself. Who comes after one that was killed calls Recover between the two, and Scrub behind them.

// ErrLayout says that a file is not an arena of the layout that this program has.
var ErrLayout = errors.New("wire arena of another layout")

// Attach maps the arena in fd, which is its own if there is no error. Of the options MaxQueue counts, the others are in the file. Of a file of the layout
// before this program's it makes one of this, and leaves that one alone.
func Attach(fd int, o Options) (*Arena, error) {
	if fresh, err := convert(fd); err != nil || fresh >= 0 {
		if err != nil {
			return nil, fmt.Errorf("attach wire arena: %w", err)
		}
		a, err := attachFile(fresh, o)
		if err != nil {
			unix.Close(fresh)
			return nil, err
		}
		unix.Close(fd)
		return a, nil
	}
	return attachFile(fd, o)
}

// attachFile is Attach for a file of this layout.
func attachFile(fd int, o Options) (*Arena, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("attach wire arena: %w", err)
	}
	if seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0); err != nil || seals&unix.F_SEAL_SHRINK == 0 {
		return nil, fmt.Errorf("attach wire arena: it is not sealed against being cut (seals %#x, %w)", seals, err)
	}
	if st.Size < headerSize {
		return nil, fmt.Errorf("attach wire arena of %d bytes: %w", st.Size, ErrLayout)
	}
	base, err := unix.MmapPtr(fd, 0, nil, uintptr(st.Size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("map wire arena: %w", err)
	}
	h := (*header)(base)
	if err := h.check(st.Size); err != nil {
		return nil, errors.Join(err, unix.MunmapPtr(base, uintptr(st.Size)))
	}
	a := &Arena{
		fd: fd, base: base, size: uintptr(st.Size), hdr: h, maxBytes: int64(h.MaxBytes), chunks: uint32(h.Chunks),
		slots:   cells{off: int64(h.SlotsOff), size: SlotSize, batch: slotBatch, highest: uint32(h.Slots), next: h.SlotsNext, noted: &h.SlotsNext},
		annexes: cells{off: int64(h.AnnexesOff), size: annexSize, batch: annexBatch, highest: uint32(h.Annexes), next: h.AnnexesNext, noted: &h.AnnexesNext},
		blocks:  make([]block, h.Chunks/blockChunks), nextBlock: int32(h.BlocksNext), fallocate: fallocate, maxQueue: maxQueue,
	}
	if o.MaxQueue > 0 {
		a.maxQueue = min(a.maxQueue, uint64(o.MaxQueue))
	}
	a.protect()
	for i := range int(h.Shards) {
		a.shards = append(a.shards, newShard(a, i))
	}
	return a, nil
}

// check compares a header with what New would have written for its figures.
func (h *header) check(size int64) error {
	if h.Magic != Magic || h.Version != LayoutVersion || h.LayoutHash != LayoutHash() {
		return fmt.Errorf("%w: version %d, %#x; this program has version %d, %#x", ErrLayout, h.Version, h.LayoutHash, LayoutVersion, LayoutHash())
	}
	o := Options{Slots: int(min(h.Slots, 1<<30)), Shards: int(h.Shards), MaxBytes: int64(min(h.MaxBytes, 1<<50))}
	e, err := o.extent()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrLayout, err)
	}
	if e.size != size || h.Size != uint64(size) || h.AreasOff != headerSize || h.NotesOff != uint64(e.notes) || h.SlotsOff != uint64(e.slots) || h.AnnexesOff != uint64(e.annexes) ||
		h.ChunksOff != uint64(e.chunks) || h.Chunks != uint64(e.blocks)*blockChunks || h.Annexes != uint64(e.annexCount) ||
		h.SlotsNext == 0 || uint64(h.SlotsNext) > h.Slots+1 || h.AnnexesNext == 0 || uint64(h.AnnexesNext) > h.Annexes+1 || int64(h.BlocksNext) > e.blocks {
		return fmt.Errorf("%w: its header does not add up", ErrLayout)
	}
	return nil
}

// Detach unmaps an arena that is not used after all; the descriptor is its giver's again.
func (a *Arena) Detach() error {
	err := unix.MunmapPtr(a.base, a.size)
	a.base, a.hdr = nil, nil
	return err
}

// Shards is how many there are.
func (a *Arena) Shards() int { return len(a.shards) }

// Adopt makes the books of an attached arena of what its slots and annexes hold. shardOf says whose a slot in use is. An error says what in the
// file cannot be; the arena must not be used then.
func (a *Arena) Adopt(shardOf func(*Slot) int) error {
	x := adoption{a: a, annexOf: make(map[TLSID]int), owner: make([]int16, a.nextBlock)}
	for id := SlotID(1); uint32(id) < a.slots.next; id++ {
		slot := a.slot(id)
		if slot.State == 0 {
			a.slots.free = append(a.slots.free, uint32(id))
			continue
		}
		i := shardOf(slot)
		if i < 0 || i >= len(a.shards) {
			return fmt.Errorf("adopt slot %d: there is no shard %d", id, i)
		}
		if err := x.slot(slot, i); err != nil {
			return fmt.Errorf("adopt slot %d: %w", id, err)
		}
		a.shards[i].slotsUsed.Add(1)
	}
	for id := TLSID(1); uint32(id) < a.annexes.next; id++ {
		annex := a.annex(id)
		if !annex.Flags.Has(TLSUsed) {
			a.annexes.free = append(a.annexes.free, uint32(id))
			continue
		}
		i := x.annexOf[id] // one that no slot has is the first shard's
		for _, q := range [...]*Queue{&annex.Receiver.Partial, &annex.Unsent} {
			if err := x.queue(q, i); err != nil {
				return fmt.Errorf("adopt TLS annex %d: %w", id, err)
			}
		}
		a.shards[i].annexesUsed.Add(1)
		delete(x.annexOf, id)
	}
	if len(x.annexOf) > 0 {
		return fmt.Errorf("adopt wire arena: %d slots have TLS annexes that are free", len(x.annexOf))
	}
	x.giveBlocks()
	return nil
}

// adoption is one Adopt.
type adoption struct {
	a       *Arena
	annexOf map[TLSID]int // shard of the slot that has it
	owner   []int16       // of each block: shard plus 1
}

func (x *adoption) slot(slot *Slot, shard int) error {
	for _, id := range [...]TLSID{slot.ClientTLS, slot.BackendTLS} {
		if id == 0 {
			continue
		}
		if _, twice := x.annexOf[id]; twice || uint32(id) >= x.a.annexes.next {
			return fmt.Errorf("TLS annex %d is another's, or not there", id)
		}
		x.annexOf[id] = shard
	}
	return errors.Join(x.queue(&slot.ToBackend, shard), x.queue(&slot.ToClient, shard))
}

// queue takes the chunks of a queue out of the free ones.
func (x *adoption) queue(q *Queue, shard int) error {
	c := q.Head
	for left := int(q.Bytes); left > 0; left -= ChunkBytes {
		if c == q.Head {
			left += int(q.HeadOff)
		}
		b := int((c - 1) / blockChunks)
		if c == 0 || b >= len(x.owner) {
			return fmt.Errorf("a queue has chunk %d, which is not there", c)
		}
		if x.owner[b] == 0 {
			x.owner[b], x.a.blocks[b] = int16(shard)+1, block{free: allFree, prev: noBlock, next: noBlock}
		}
		bit := uint32(1) << ((c - 1) % blockChunks)
		if x.owner[b] != int16(shard)+1 || x.a.blocks[b].free&bit == 0 {
			return fmt.Errorf("a queue has chunk %d, which is another's", c)
		}
		x.a.blocks[b].free &^= bit
		x.a.shards[shard].chunksUsed.Add(1)
		if left <= ChunkBytes && c != q.Tail {
			return fmt.Errorf("a queue ends with chunk %d and not with %d", c, q.Tail)
		}
		c = *(*uint32)(x.a.chunk(c))
	}
	return nil
}

// giveBlocks gives each shard its blocks, and counts what has memory.
func (x *adoption) giveBlocks() {
	a := x.a
	a.mu.Lock()
	defer a.mu.Unlock()
	a.allocated = int64(a.hdr.NotesOff) + int64(a.slots.next-1)*SlotSize + int64(a.annexes.next-1)*annexSize
	for b, owner := range x.owner {
		if owner == 0 {
			a.freeBlocks = append(a.freeBlocks, int32(b))
			continue
		}
		s, m := a.shards[owner-1], &a.blocks[b]
		s.owned++
		for free := m.free; free != 0; free &= free - 1 {
			s.free++
		}
		if m.free != 0 {
			s.link(int32(b))
		}
		a.allocated += blockSize
	}
	a.weighLocked()
}

// Settle gives the memory of blocks back that the process before had kept empty. From here on the arena is this process's.
func (a *Arena) Settle() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := 0; i < len(a.freeBlocks); {
		n := 1
		for i+n < len(a.freeBlocks) && a.freeBlocks[i+n] == a.freeBlocks[i]+int32(n) {
			n++
		}
		_ = a.fallocate(a.fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, a.blockOff(a.freeBlocks[i]), int64(n)*blockSize) // else it stays, zeros
		i += n
	}
}

// Scrub zeroes what a process that was killed has left behind in chunks that no queue has.
func (a *Arena) Scrub() {
	a.Settle()
	for b := range a.blocks[:a.nextBlock] {
		for free := a.blocks[b].free; free != 0; free &= free - 1 {
			i := uint32(b)*blockChunks + uint32(bits.TrailingZeros32(free)) + 1
			clear(unsafe.Slice((*byte)(a.chunk(i)), ChunkSize))
		}
	}
	for id := SlotID(1); uint32(id) < a.slots.next; id++ {
		if slot := a.slot(id); slot.State != 0 {
			a.cutTail(&slot.ToBackend)
			a.cutTail(&slot.ToClient)
		}
	}
	for id := TLSID(1); uint32(id) < a.annexes.next; id++ {
		if annex := a.annex(id); annex.Flags.Has(TLSUsed) {
			a.cutTail(&annex.Receiver.Partial)
			a.cutTail(&annex.Unsent)
		}
	}
}

// cutTail forgets what was put or linked behind a queue and never counted.
func (a *Arena) cutTail(q *Queue) {
	if q.Tail != 0 {
		c := a.chunk(q.Tail)
		*(*uint32)(c) = 0
		clear(unsafe.Slice((*byte)(unsafe.Add(c, chunkHeader)), ChunkBytes)[q.TailOff:])
	}
}
