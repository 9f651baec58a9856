package wire

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"
)

// Notes are what a process that comes after one that was killed must know beside slots and annexes, in a form that is its owner's. There is room for
// two editions; the one that the header names is whole at any time.

// ErrNotes says that notes are longer than there is room for.
var ErrNotes = errors.New("notes are too long for the wire arena")

// Note makes b the notes.
func (a *Arena) Note(b []byte) error {
	if len(b) > notesSize {
		return fmt.Errorf("%w: %d bytes, room for %d", ErrNotes, len(b), notesSize)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	edition := a.hdr.Notes>>32 + 1
	off := int64(a.hdr.NotesOff) + int64(edition&1)*notesSize
	page := int64(os.Getpagesize())
	if n := roundUp(int64(len(b)), page) - a.noted[edition&1]; n > 0 {
		if err := a.growLocked(off+a.noted[edition&1], n); err != nil {
			return err
		}
		a.noted[edition&1] += n
	}
	copy(a.notes(edition, len(b)), b)
	atomic.StoreUint64(&a.hdr.Notes, edition<<32|uint64(len(b)))
	return nil
}

// Notes answers them; nil: there are none. They are a copy.
func (a *Arena) Notes() []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	edition, n := a.hdr.Notes>>32, a.hdr.Notes&(1<<32-1)
	if edition == 0 || n > notesSize {
		return nil
	}
	return append([]byte(nil), a.notes(edition, int(n))...)
}

func (a *Arena) notes(edition uint64, n int) []byte {
	return unsafe.Slice((*byte)(unsafe.Add(a.base, a.hdr.NotesOff+edition&1*notesSize)), n)
}
