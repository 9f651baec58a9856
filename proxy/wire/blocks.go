package wire

import (
	"math/bits"
	"slices"

	"golang.org/x/sys/unix"
)

// block is the book about 32 chunks. It is not in the file: which chunks are in use can be seen from the queues of the slots.
//
//	untouched or punched -> takeBlock -> spare (all free) <-> partial <-> full
//	spare -> giveBlocks -> punched
type block struct {
	free       uint32 // bit i: chunk i is free
	prev, next int32  // in the shard's list of partial blocks
}

const (
	noBlock int32 = -1
	allFree       = 1<<blockChunks - 1
)

// takeBlock answers a block with memory, all chunks free.
func (a *Arena) takeBlock() (int32, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	b := a.nextBlock
	if n := len(a.freeBlocks); n > 0 {
		b = a.freeBlocks[n-1]
	}
	if int(b) >= len(a.blocks) {
		a.refused++
		return noBlock, ErrFull
	}
	if err := a.growLocked(a.blockOff(b), blockSize); err != nil {
		return noBlock, err
	}
	if n := len(a.freeBlocks); n > 0 {
		a.freeBlocks = a.freeBlocks[:n-1]
	} else {
		a.nextBlock++
		a.hdr.BlocksNext = uint32(a.nextBlock)
	}
	a.blocks[b] = block{free: allFree, prev: noBlock, next: noBlock}
	return b, nil
}

// giveBlocks takes blocks back, of which all chunks are free, and their memory from the kernel's point of view: neighbours in
// one call. It sorts bs.
func (a *Arena) giveBlocks(bs []int32) {
	slices.Sort(bs)
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(bs) > 0 {
		n := 1
		for n < len(bs) && bs[n] == bs[0]+int32(n) {
			n++
		}
		bytes := int64(n) * blockSize
		// If this is refused the memory stays; it is zero and populated, and populating it again is harmless.
		_ = a.fallocate(a.fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, a.blockOff(bs[0]), bytes)
		a.allocated -= bytes
		a.weighLocked()
		a.freeBlocks = append(a.freeBlocks, bs[:n]...)
		bs = bs[n:]
	}
}

func (a *Arena) blockOff(b int32) int64 { return int64(a.chunksOff()) + int64(b)*blockSize }

// takeChunk answers the number of a free chunk; reserve has made sure that there is one.
func (s *Shard) takeChunk() uint32 {
	b := s.partial
	if b == noBlock {
		b = s.spare[len(s.spare)-1]
		s.spare = s.spare[:len(s.spare)-1]
		s.link(b)
	}
	m := &s.a.blocks[b]
	i := bits.TrailingZeros32(m.free)
	m.free &^= 1 << i
	if m.free == 0 {
		s.unlink(b)
	}
	s.free--
	s.chunksUsed.Add(1)
	return uint32(b)*blockChunks + uint32(i) + 1
}

// freeChunk takes back a chunk whose bytes are zero.
func (s *Shard) freeChunk(c uint32) {
	b := int32((c - 1) / blockChunks)
	m := &s.a.blocks[b]
	if m.free == 0 {
		s.link(b)
	}
	m.free |= 1 << ((c - 1) % blockChunks)
	s.free++
	s.chunksUsed.Add(-1)
	if m.free == allFree {
		s.unlink(b)
		s.spare = append(s.spare, b)
		s.trim()
	}
}

// OnFull has f called when there is no memory for a chunk. f may give back what other queues hold, never the one in use; if it answers true it is
// tried again.
func (s *Shard) OnFull(f func() bool) { s.relief = f }

// reserve makes sure that takeChunk can be called n times.
func (s *Shard) reserve(n int) error {
	for s.free < n {
		b, err := s.a.takeBlock()
		if err != nil {
			if s.relief != nil && s.relief() {
				continue
			}
			s.trim()
			return err
		}
		s.owned++
		s.free += blockChunks
		s.spare = append(s.spare, b)
	}
	return nil
}

// trim gives spare blocks back. A shard keeps one, so that a half line now and then costs no system call, and half as many as
// are in use, so that a backlog that swings does not fill and empty the same memory all the time.
func (s *Shard) trim() {
	used := s.owned - len(s.spare)
	if len(s.spare) <= 1+used/2 {
		return
	}
	keep := 1 + used/4
	give := s.spare[keep:]
	s.owned -= len(give)
	s.free -= len(give) * blockChunks
	s.a.giveBlocks(give)
	s.spare = s.spare[:keep]
}

// link puts a block at the head of the partial ones: what is half used fills up before anything else is taken.
func (s *Shard) link(b int32) {
	m := &s.a.blocks[b]
	m.prev, m.next = noBlock, s.partial
	if s.partial != noBlock {
		s.a.blocks[s.partial].prev = b
	}
	s.partial = b
}

func (s *Shard) unlink(b int32) {
	m := &s.a.blocks[b]
	if m.prev != noBlock {
		s.a.blocks[m.prev].next = m.next
	} else {
		s.partial = m.next
	}
	if m.next != noBlock {
		s.a.blocks[m.next].prev = m.prev
	}
	m.prev, m.next = noBlock, noBlock
}
