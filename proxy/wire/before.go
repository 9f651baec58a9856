package wire

import (
	"errors"
	"fmt"
	"io"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The layout before this one, so that an upgrade from the program that has it keeps the clients. Its slots were smaller, and there were no notes; all else
// is the same in it. A change of the layout makes this file about the one that is this one now.

const (
	versionBefore = 3
	hashBefore    = 0xda007d021f3600dc
	slotBefore    = 128
)

// oldSlot is a slot there. Its session's own part was in the session.
type oldSlot struct {
	Session                                    uint64
	Generation                                 uint32
	Flags                                      Flags
	State                                      uint8
	_                                          uint8
	ClientIn, ClientOut, BackendIn, BackendOut uint64
	ToBackend, ToClient                        Queue
	_                                          [32]byte
	ClientTLS, BackendTLS                      TLSID
}

var _ [slotBefore - unsafe.Sizeof(oldSlot{})]byte
var _ [unsafe.Sizeof(oldSlot{}) - slotBefore]byte

// Reads reports whether this program can go on with an arena of that layout.
func Reads(layoutHash uint64) bool { return layoutHash == LayoutHash() || layoutHash == hashBefore }

// HashOf is the layout hash in the header of an arena's file, also one of another layout; 0: it is no arena.
func HashOf(fd int) uint64 {
	var h header
	p := unsafe.Slice((*byte)(unsafe.Pointer(&h)), unsafe.Offsetof(h.Size))
	if n, err := unix.Pread(fd, p, 0); err != nil || n < len(p) || h.Magic != Magic {
		return 0
	}
	return h.LayoutHash
}

// convert makes a file of this layout of one of the layout before; -1: it is not one.
func convert(fd int) (int, error) {
	var h header
	p := unsafe.Slice((*byte)(unsafe.Pointer(&h)), unsafe.Offsetof(h.Notes))
	if n, err := unix.Pread(fd, p, 0); err != nil || n < len(p) || h.Magic != Magic || h.Version != versionBefore || h.LayoutHash != hashBefore {
		return -1, nil // attachFile says what is wrong with it
	}
	o := Options{Slots: int(min(h.Slots, 1<<30)), Shards: int(h.Shards), MaxBytes: int64(min(h.MaxBytes, 1<<50))}
	e, err := o.extent()
	if err != nil {
		return -1, fmt.Errorf("%w: %w", ErrLayout, err)
	}
	was := e.before(o)
	if h.SlotsOff != uint64(was.slots) || h.AnnexesOff != uint64(was.annexes) || h.ChunksOff != uint64(was.chunks) || h.Chunks != uint64(e.blocks)*blockChunks ||
		h.Size != uint64(was.size) || h.SlotsNext == 0 || uint64(h.SlotsNext) > h.Slots+1 || h.AnnexesNext == 0 || uint64(h.AnnexesNext) > h.Annexes+1 ||
		int64(h.BlocksNext) > e.blocks {
		return -1, fmt.Errorf("%w: the header of layout %d does not add up", ErrLayout, versionBefore)
	}
	a, err := New(o)
	if err != nil {
		return -1, fmt.Errorf("make an arena of layout %d of one of layout %d: %w", LayoutVersion, versionBefore, err)
	}
	a.hdr.SlotsNext, a.hdr.AnnexesNext, a.hdr.BlocksNext = h.SlotsNext, h.AnnexesNext, h.BlocksNext
	err = errors.Join(
		copySlots(a.fd, fd, e.slots, was.slots, int64(h.SlotsNext)),
		copyRange(a.fd, fd, e.annexes, was.annexes, int64(h.AnnexesNext)*annexSize),
		copyRange(a.fd, fd, e.chunks, was.chunks, int64(h.BlocksNext)*blockSize),
	)
	fresh := a.fd
	if err = errors.Join(err, a.Detach()); err != nil {
		unix.Close(fresh)
		return -1, fmt.Errorf("make an arena of layout %d of one of layout %d: %w", LayoutVersion, versionBefore, err)
	}
	return fresh, nil
}

// before is the extent that a file with these options had.
func (e extent) before(o Options) extent {
	e.slots = e.notes
	e.annexes = roundUp(e.slots+int64(o.Slots+1)*slotBefore, annexSize)
	e.chunks = roundUp(e.annexes+(e.annexCount+1)*annexSize, blockSize)
	e.size = e.chunks + e.blocks*blockSize
	return e
}

// copySlots copies the first n slots.
func copySlots(to, from int, toOff, fromOff, n int64) error {
	const batch = 512
	var old [batch]oldSlot
	var now [batch]Slot
	defer clear(old[:])
	for id := int64(0); id < n; id += batch {
		k := min(batch, n-id)
		p := unsafe.Slice((*byte)(unsafe.Pointer(&old)), k*slotBefore)
		if err := preadAll(from, p, fromOff+id*slotBefore); err != nil {
			return err
		}
		for i := range k {
			o := &old[i]
			now[i] = Slot{Session: o.Session, Generation: o.Generation, Flags: o.Flags, State: o.State, ClientIn: o.ClientIn, ClientOut: o.ClientOut,
				BackendIn: o.BackendIn, BackendOut: o.BackendOut, ToBackend: o.ToBackend, ToClient: o.ToClient, ClientTLS: o.ClientTLS, BackendTLS: o.BackendTLS}
		}
		p = unsafe.Slice((*byte)(unsafe.Pointer(&now)), k*SlotSize)
		if _, err := unix.Pwrite(to, p, toOff+id*SlotSize); err != nil {
			return err
		}
	}
	return nil
}

// copyRange copies n bytes, holes left out.
func copyRange(to, from int, toOff, fromOff, n int64) error {
	buf := make([]byte, min(n, 1<<20))
	defer clear(buf) // there are keys in it
	for off, end := fromOff, fromOff+n; off < end; {
		data, err := unix.Seek(from, off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) || err == nil && data >= end {
			return nil
		}
		if err != nil {
			return err
		}
		hole, err := unix.Seek(from, data, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		for off = data; off < min(hole, end); {
			p := buf[:min(int64(len(buf)), min(hole, end)-off)]
			if err := preadAll(from, p, off); err != nil {
				return err
			}
			if _, err := unix.Pwrite(to, p, toOff+off-fromOff); err != nil {
				return err
			}
			off += int64(len(p))
		}
	}
	return nil
}

func preadAll(fd int, p []byte, off int64) error {
	for len(p) > 0 {
		n, err := unix.Pread(fd, p, off)
		if err != nil {
			return err
		}
		if n == 0 {
			return io.ErrUnexpectedEOF
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}
