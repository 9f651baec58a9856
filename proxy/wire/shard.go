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

	slots   []SlotID // free slots of this shard, the last one is taken first
	spare   []int32  // blocks of which all chunks are free
	partial int32    // list of blocks of which some chunks are free
	owned   int      // blocks of this shard
	free    int      // free chunks in all its blocks

	slotsUsed  atomic.Int64 // for Stats
	chunksUsed atomic.Int64
}

// NewSlot answers a slot of zeros but for its Generation, which is one that the index had not before and never 0. The caller
// sets State, so that whoever reads the file later sees a slot in use.
func (s *Shard) NewSlot() (SlotID, *Slot, error) {
	s.check()
	if len(s.slots) == 0 {
		if err := s.a.takeSlots(s); err != nil {
			return 0, nil, err
		}
	}
	id := s.slots[len(s.slots)-1]
	s.slots = s.slots[:len(s.slots)-1]
	s.slotsUsed.Add(1)
	slot := s.a.slot(id)
	slot.Generation++
	if slot.Generation == 0 {
		slot.Generation = 1
	}
	return id, slot, nil
}

// FreeSlot clears both queues and zeroes the slot but for its Generation.
func (s *Shard) FreeSlot(id SlotID) {
	slot := s.Slot(id)
	s.Clear(&slot.ToBackend)
	s.Clear(&slot.ToClient)
	*slot = Slot{Generation: slot.Generation}
	s.slots = append(s.slots, id)
	s.slotsUsed.Add(-1)
	if len(s.slots) >= 3*slotBatch {
		// The loops may be loaded unevenly: what one does not need another may.
		s.a.giveSlots(s)
	}
}

// Slot is the slot of an id that NewSlot has answered. It is not checked that the slot is in use.
func (s *Shard) Slot(id SlotID) *Slot {
	s.check()
	if id == 0 || uint32(id) > s.a.slots {
		panic("wire: no such slot")
	}
	return s.a.slot(id)
}

// Staging is the shard's staging buffer. There is one: what is in it must be written or queued before the next read.
func (s *Shard) Staging() []byte {
	s.check()
	p := unsafe.Add(s.a.base, uintptr(s.a.hdr.StagingOff)+uintptr(s.index)*StagingSize)
	return unsafe.Slice((*byte)(p), StagingSize)
}

// Staged is the record of what lies in the staging buffer.
func (s *Shard) Staged() *Staged {
	s.check()
	return &s.a.hdr.Staged[s.index]
}

func (a *Arena) slot(id SlotID) *Slot {
	return (*Slot)(unsafe.Add(a.base, uintptr(a.hdr.SlotsOff)+uintptr(id)*SlotSize))
}

// takeSlots gives the shard a batch of free slots: such as other shards gave back, else new ones.
func (a *Arena) takeSlots(s *Shard) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if n := len(a.freeSlots); n > 0 {
		first := max(0, n-slotBatch)
		s.slots = append(s.slots, a.freeSlots[first:]...)
		a.freeSlots = a.freeSlots[:first]
		return nil
	}
	left := int(a.slots) - int(a.nextSlot) + 1
	if left <= 0 {
		a.refused++
		return ErrFull
	}
	n := min(slotBatch, left)
	if err := a.growLocked(int64(a.hdr.SlotsOff)+int64(a.nextSlot)*SlotSize, int64(n)*SlotSize); err != nil {
		return err
	}
	for i := n - 1; i >= 0; i-- {
		s.slots = append(s.slots, a.nextSlot+SlotID(i))
	}
	a.nextSlot += SlotID(n)
	return nil
}

func (a *Arena) giveSlots(s *Shard) {
	a.mu.Lock()
	defer a.mu.Unlock()
	// The oldest ones: the last freed are still in the processor's cache.
	a.freeSlots = append(a.freeSlots, s.slots[:slotBatch]...)
	s.slots = append(s.slots[:0], s.slots[slotBatch:]...)
}
