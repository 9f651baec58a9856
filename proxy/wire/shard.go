package wire

import (
	"sync/atomic"
	"unsafe"
)

// Shard is one event loop's part of an arena. All methods are for the goroutine of that loop only.
type Shard struct {
	a     *Arena
	index int
	owner atomic.Uint64 // goroutine, 0: not known; see CheckOwner

	slots   []uint32 // free slots of this shard, the last one is taken first
	annexes []uint32 // the same of the TLS annexes
	spare   []int32  // blocks of which all chunks are free
	partial int32    // list of blocks of which some chunks are free
	owned   int      // blocks of this shard
	free    int      // free chunks in all its blocks
	relief  func() bool

	journals bool     // see journal.go
	working  *Slot    // between Begin and Worked
	later    []uint32 // chunks that are freed at Worked
	laterTLS []TLSID  // the same of annexes

	tls tlsShard // what TLS needs in process memory

	slotsUsed   atomic.Int64 // for Stats
	annexesUsed atomic.Int64
	chunksUsed  atomic.Int64
}

func newShard(a *Arena, i int) *Shard {
	s := &Shard{a: a, index: i, partial: noBlock}
	s.tls.init()
	return s
}

// NewSlot answers a slot of zeros but for its Generation, which is one that the index had not before and never 0. The caller
// sets State, so that whoever reads the file later sees a slot in use.
func (s *Shard) NewSlot() (SlotID, *Slot, error) {
	s.check()
	if len(s.slots) == 0 {
		if err := s.a.take(&s.a.slots, &s.slots); err != nil {
			return 0, nil, err
		}
	}
	id := SlotID(s.slots[len(s.slots)-1])
	s.slots = s.slots[:len(s.slots)-1]
	s.slotsUsed.Add(1)
	slot := s.a.slot(id)
	slot.Generation++
	if slot.Generation == 0 {
		slot.Generation = 1
	}
	return id, slot, nil
}

// FreeSlot clears both queues, frees both annexes and zeroes the slot but for its Generation.
func (s *Shard) FreeSlot(id SlotID) {
	slot := s.Slot(id)
	for _, annex := range [...]TLSID{slot.ClientTLS, slot.BackendTLS} {
		if annex != 0 {
			s.FreeTLS(annex)
		}
	}
	s.Clear(&slot.ToBackend)
	s.Clear(&slot.ToClient)
	*slot = Slot{Generation: slot.Generation}
	s.slots = append(s.slots, uint32(id))
	s.slotsUsed.Add(-1)
	s.a.give(&s.a.slots, &s.slots)
}

// Slot is the slot of an id that NewSlot has answered. It is not checked that the slot is in use.
func (s *Shard) Slot(id SlotID) *Slot {
	s.check()
	if id == 0 || uint32(id) > s.a.slots.highest {
		panic("wire: no such slot")
	}
	return s.a.slot(id)
}

// IDOf is the id of a slot of the arena.
func (s *Shard) IDOf(slot *Slot) SlotID {
	return SlotID((uintptr(unsafe.Pointer(slot)) - uintptr(s.a.base) - uintptr(s.a.slots.off)) / SlotSize)
}

// Staging is the shard's staging buffer for reads. There is one: what is in it must be written, queued or opened before the next
// read.
func (s *Shard) Staging() []byte {
	s.check()
	return s.area(redoSize, StagingSize)
}

// plain is where Open puts what it opened, sealed where Seal puts its records.

func (s *Shard) plain() []byte { return s.area(redoSize+StagingSize, plainSize) }

func (s *Shard) sealed() []byte { return s.area(redoSize+StagingSize+plainSize, sealedSize) }

// area is a part of the shard's own place in the file.
func (s *Shard) area(off, size uintptr) []byte {
	p := unsafe.Add(s.a.base, uintptr(s.a.hdr.AreasOff)+uintptr(s.index)*shardAreaSize+off)
	return unsafe.Slice((*byte)(p), size)
}

// Staged is the record of what lies in the staging buffer.
func (s *Shard) Staged() *Staged {
	s.check()
	return &s.a.hdr.Staged[s.index]
}

func (a *Arena) slot(id SlotID) *Slot {
	return (*Slot)(unsafe.Add(a.base, uintptr(a.slots.off)+uintptr(id)*SlotSize))
}
