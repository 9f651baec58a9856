package wire

import (
	"errors"
	"io"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// copyFile copies the arena's file as it is now into one of its own, holes left out.
func copyFile(t testing.TB, a *Arena) int {
	t.Helper()
	fd, err := memfd()
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Ftruncate(fd, int64(a.size)); err != nil {
		t.Fatal(err)
	}
	eachExtent(t, a.Fd(), func(off int64, p []byte) {
		if _, err := unix.Pwrite(fd, p, off); err != nil {
			t.Fatal(err)
		}
	})
	return fd
}

// eachExtent calls f with everything in the file that is not a hole.
func eachExtent(t testing.TB, fd int, f func(off int64, p []byte)) {
	t.Helper()
	for off := int64(0); ; {
		from, err := unix.Seek(fd, off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if off, err = unix.Seek(fd, from, unix.SEEK_HOLE); err != nil {
			t.Fatal(err)
		}
		p := make([]byte, off-from)
		if n, err := unix.Pread(fd, p, from); n < len(p) || err != nil && err != io.EOF {
			t.Fatalf("read %d of %d bytes: %v", n, len(p), err)
		}
		f(from, p)
	}
}

// attach makes an arena of a file that another process has used, with one shard: the books that are not in the file are made
// anew from what slots and annexes hold.
func attach(t testing.TB, fd int) *Arena {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	base, err := unix.MmapPtr(fd, 0, nil, uintptr(st.Size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_NORESERVE)
	if err != nil {
		t.Fatal(err)
	}
	h := (*header)(base)
	if h.Magic != Magic || h.Version != LayoutVersion || h.LayoutHash != LayoutHash() || h.Size != uint64(st.Size) || h.Shards != 1 {
		t.Fatalf("header %+v", *h)
	}
	a := &Arena{
		fd: fd, base: base, size: uintptr(st.Size), hdr: h, chunks: uint32(h.Chunks), maxBytes: st.Size, maxQueue: maxQueue, fallocate: fallocate,
		slots:   cells{off: int64(h.SlotsOff), size: SlotSize, batch: slotBatch, highest: uint32(h.Slots), next: 1},
		annexes: cells{off: int64(h.AnnexesOff), size: annexSize, batch: annexBatch, highest: uint32(h.Annexes), next: 1},
		blocks:  make([]block, h.Chunks/blockChunks),
	}
	a.shards = []*Shard{newShard(a, 0)}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	a.Recover()

	used := map[uint32]bool{}
	mark := func(q *Queue) {
		for c, left := q.Head, q.Len()+int(q.HeadOff); c != 0; c = *a.shards[0].next(c) {
			used[c] = true
			if left -= ChunkBytes; left <= 0 {
				*a.shards[0].next(c) = 0
				break
			}
		}
	}
	for id := SlotID(1); uint64(id) <= h.Slots; id++ {
		if slot := a.slot(id); slot.State != 0 {
			mark(&slot.ToBackend)
			mark(&slot.ToClient)
			a.shards[0].slotsUsed.Add(1)
			a.slots.next = uint32(id) + 1
		}
	}
	for id := TLSID(1); uint64(id) <= h.Annexes; id++ {
		if annex := a.annex(id); annex.Flags.Has(TLSUsed) {
			mark(&annex.Receiver.Partial)
			mark(&annex.Unsent)
			a.shards[0].annexesUsed.Add(1)
			a.annexes.next = uint32(id) + 1
		}
	}
	a.adopt(used)
	return a
}

// adopt gives the only shard all blocks with chunks in use, and zeroes the others.
func (a *Arena) adopt(used map[uint32]bool) {
	s := a.shards[0]
	for c := range used {
		a.nextBlock = max(a.nextBlock, int32((c-1)/blockChunks)+1)
	}
	for b := range a.nextBlock {
		a.blocks[b] = block{prev: noBlock, next: noBlock}
		for i := range uint32(blockChunks) {
			if c := uint32(b)*blockChunks + i + 1; !used[c] {
				clear(unsafe.Slice((*byte)(a.chunk(c)), ChunkSize))
				a.blocks[b].free |= 1 << i
			}
		}
		free := 0
		for i := range blockChunks {
			free += int(a.blocks[b].free >> i & 1)
		}
		if free == blockChunks {
			a.freeBlocks = append(a.freeBlocks, b)
			continue
		}
		s.owned++
		s.free += free
		s.chunksUsed.Add(int64(blockChunks - free))
		if free > 0 {
			s.link(b)
		}
	}
}
