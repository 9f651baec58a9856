package wire

import (
	"sync/atomic"
	"unsafe"
)

// A process that comes after one that was killed must find each session as it was at one moment, and know of each byte whether the kernel has it. Two
// records for each shard make that so, both of what was before, so that whoever comes later puts it back:
//
//   - undo is of one queue while it is changed.
//   - image is of one session from before bytes of it are read until all that they bring about is done (Begin, Worked). Staged names it. What was
//     read in between lies in a staging buffer, so that it can be worked once more; what of the outcome the kernel has taken already,
//     its counters tell. Two things are not put back, for they are records of their own: connections over TLS (redo.go), and the queue of records of
//     a client with TLS, whose end Queued tells.
//
// So nothing that an image or undo names may go before it is done with: chunks and annexes that were given up meanwhile wait (free later).
//
// None of this is written unless Journal was called: it is for who has somebody to keep the file.

// journal is a shard's, behind its redo records.
type journal struct {
	Undo  undo
	_     [24]byte
	Image image
	Epoch int64  // the system's monotonic clock, in nanoseconds, when the loop's time began
	Gen   uint32 // no place for a session of the loop has had a higher one
	_     uint32
}

// undo is what a queue was.
type undo struct {
	At     uint64 // where in the file it lies; 0: nothing is to be put back
	Was    Queue
	Annex  TLSID // 0: not a queue of records
	Queued uint32
	_      uint32
}

// image is what a session was, and how far its connections over TLS had come.
type image struct {
	Slot   Slot
	Opened [2]uint32 // of the client's, and the backend's
	Sealed [2]uint32
}

func (s *Shard) journal() *journal {
	return (*journal)(unsafe.Pointer(unsafe.SliceData(s.area(journalOff, unsafe.Sizeof(journal{})))))
}

// Journal has the shard keep its records from now on.
func (s *Shard) Journal() { s.journals = true }

// Journals reports whether it does.
func (s *Shard) Journals() bool { return s.journals }

// Begin is called before bytes of a session are read that travel in direction d. Worked is called when all that they have brought about is done;
// another Begin is a Worked before it.
func (s *Shard) Begin(id SlotID, d Direction) {
	if !s.journals {
		return
	}
	s.Worked()
	slot, j, st := s.Slot(id), s.journal(), s.Staged()
	j.Image.Slot = *slot
	j.Image.Opened, j.Image.Sealed = s.progress(slot)
	st.Generation, st.From, st.To, st.Dir = slot.Generation, 0, 0, d
	s.working = slot
	atomic.StoreUint32((*uint32)(&st.Slot), uint32(id))
}

// progress is how far the connections over TLS of a session have come.
func (s *Shard) progress(slot *Slot) (opened, sealed [2]uint32) {
	for i, id := range [...]TLSID{slot.ClientTLS, slot.BackendTLS} {
		if id != 0 {
			t := s.TLS(id)
			opened[i], sealed[i] = t.Totals.Opened, t.Totals.Sealed
		}
	}
	return opened, sealed
}

// Working reports whether bytes of this session are worked between Begin and Worked.
func (s *Shard) Working(slot *Slot) bool { return s.working == slot }

// Got notes how much was read.
func (s *Shard) Got(n int) {
	if s.working != nil {
		s.Staged().To = uint32(n)
	}
}

// Worked: what was read is done with.
func (s *Shard) Worked() {
	if s.working == nil {
		return
	}
	s.working = nil
	atomic.StoreUint32((*uint32)(&s.Staged().Slot), 0)
	for _, c := range s.later {
		s.wipeChunk(c, ChunkBytes)
	}
	s.later = s.later[:0]
	for _, id := range s.laterTLS {
		s.freeTLS(id)
	}
	s.laterTLS = s.laterTLS[:0]
}

// protect has a queue put back as it is, should the process end before settled. It answers whether the caller is to call that.
func (s *Shard) protect(q *Queue, annex TLSID) bool {
	at := uint64(uintptr(unsafe.Pointer(q)) - uintptr(s.a.base))
	if !s.journals || at < s.a.hdr.SlotsOff || at >= s.a.hdr.ChunksOff {
		return false // one that nobody would find
	}
	u := &s.journal().Undo
	if u.At != 0 {
		return false // it is part of a larger change
	}
	u.Was, u.Annex = *q, annex
	if annex != 0 {
		u.Queued = s.TLS(annex).Queued
	}
	atomic.StoreUint64(&u.At, at)
	return true
}

func (s *Shard) settled() { atomic.StoreUint64(&s.journal().Undo.At, 0) }

// ofImage reports whether a queue is one that Worked has not happened to yet.
func (s *Shard) ofImage(q *Queue) bool {
	return s.working != nil && (q == &s.working.ToBackend || q == &s.working.ToClient)
}

// AppendRecords is Append for records that were just sealed for the connection id, all of them or the rest: they end where its stream does.
func (s *Shard) AppendRecords(q *Queue, id TLSID, p []byte) error {
	mine := s.protect(q, id)
	err := s.Append(q, p)
	if err == nil {
		t := s.TLS(id)
		t.Queued = t.Totals.Sent
	}
	if mine {
		s.settled()
	}
	return err
}
