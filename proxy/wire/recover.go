package wire

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Recover makes the arena of a process that was killed whole: what it had committed and not finished is finished, what it had begun is as it was
// before. It is called before any other use of the arena. The shards whose session's bytes were being worked say so: Interrupted.
func (a *Arena) Recover() {
	for _, s := range a.shards {
		s.putBack()
		s.finishRedo()
		s.restore()
	}
}

// putBack undoes the change of a queue.
func (s *Shard) putBack() {
	u := &s.journal().Undo
	if u.At < s.a.hdr.SlotsOff || u.At > s.a.hdr.ChunksOff-uint64(unsafe.Sizeof(Queue{})) {
		u.At = 0
		return
	}
	*(*Queue)(unsafe.Add(s.a.base, u.At)) = u.Was
	if u.Annex != 0 && uint32(u.Annex) <= s.a.annexes.highest {
		s.a.annex(u.Annex).Queued = u.Queued
	}
	u.At = 0
}

// finishRedo finishes the last Open or Seal, and wipes keys of one that was not committed.
func (s *Shard) finishRedo() {
	l := s.redoLog()
	if l.Commits > 0 {
		r := &l.Records[l.Commits&1]
		if r.TLS != 0 && uint32(r.TLS) <= s.a.annexes.highest {
			t := s.a.annex(r.TLS)
			if t.Flags.Has(TLSUsed) && t.Ops+1 == r.Ops {
				r.apply(t, nil)
			}
		}
	}
	for i := range l.Records {
		l.Records[i].Keys = TLSKeys{}
	}
}

// restore makes the session whose bytes were being worked what it was before.
func (s *Shard) restore() {
	st := &s.a.hdr.Staged[s.index]
	if st.Slot == 0 || uint32(st.Slot) > s.a.slots.highest {
		st.Slot = 0
		return
	}
	slot, was := s.a.slot(st.Slot), &s.journal().Image.Slot
	if slot.Generation != st.Generation || was.Generation != st.Generation {
		st.Slot = 0 // it has ended since
		return
	}
	records := slot.ToClient
	closed := was.ClientTLS != 0 && slot.ClientTLS == 0
	crashes := slot.Crashes
	*slot = *was
	slot.Crashes = crashes
	if was.ClientTLS != 0 && !closed {
		slot.ToClient = records
	}
}

// FreeLost frees annexes that no slot has: their connections were being taken over, or given up. It comes behind Recover.
func (a *Arena) FreeLost() {
	used := make(map[TLSID]bool)
	for id := SlotID(1); uint32(id) < a.slots.next; id++ {
		if slot := a.slot(id); slot.State != 0 {
			used[slot.ClientTLS], used[slot.BackendTLS] = true, true
		}
	}
	for id := TLSID(1); uint32(id) < a.annexes.next; id++ {
		if t := a.annex(id); t.Flags.Has(TLSUsed) && !used[id] {
			*t = TLS{Ops: t.Ops + 2}
		}
	}
}

// Interrupted is the work in whose midst a process was killed.
type Interrupted struct {
	Slot   SlotID
	Dir    Direction
	Plain  int       // bytes that were opened and are in Plaintext
	Got    int       // bytes that were read, 0 if that is not known
	Sealed [2]uint32 // plaintext that was sealed for the client, and the backend: it is not to be sealed again
}

// Interrupted answers the shard's, behind Recover; false: there is none. It is there until Worked.
func (s *Shard) Interrupted() (Interrupted, bool) {
	st := s.Staged()
	if st.Slot == 0 {
		return Interrupted{}, false
	}
	slot, was := s.a.slot(st.Slot), &s.journal().Image
	in := Interrupted{Slot: st.Slot, Dir: st.Dir, Got: int(st.To)}
	opened, sealed := s.progress(slot)
	for i := range sealed {
		in.Sealed[i] = sealed[i] - was.Sealed[i]
	}
	if side := int(st.Dir) - int(ToBackend); side == 0 || side == 1 {
		in.Plain = min(int(opened[side]-was.Opened[side]), plainSize)
	}
	return in, true
}

// Plaintext is the first n bytes of what was opened last.
func (s *Shard) Plaintext(n int) []byte { return s.plain()[:n] }

// Again goes on with the work that was interrupted, as if Begin had just been.
func (s *Shard) Again(id SlotID) {
	if s.journals {
		s.working = s.Slot(id)
	}
}

// DropWorkOf ends it without, if it is that of a slot.
func (s *Shard) DropWorkOf(id SlotID) {
	if st := s.Staged(); st.Slot == id {
		s.working = nil
		st.Slot = 0
	}
}

// Used calls f for every slot in use of an adopted arena whose session is one of the shard's.
func (a *Arena) Used(shard int, f func(SlotID, *Slot)) {
	for id := SlotID(1); uint32(id) < a.slots.next; id++ {
		if slot := a.slot(id); slot.State != 0 && int(slot.Session%uint64(len(a.shards))) == shard {
			f(id, slot)
		}
	}
}

// Sealed are the n last bytes of the records that were sealed last, if they are of the connection id.
func (s *Shard) Sealed(id TLSID, n int) ([]byte, bool) {
	l := s.redoLog()
	r := &l.Records[l.Commits&1]
	if l.Commits == 0 || r.TLS != id || r.Dir != tlsOut || n > int(r.Made) || s.TLS(id).Ops != r.Ops {
		return nil, false
	}
	return s.sealed()[int(r.Made)-n : r.Made], true
}

// Stamp notes when the loop's time began, now being its time.
func (s *Shard) Stamp(now time.Duration) { s.journal().Epoch = monotonic() - int64(now) }

// Time is what the loop's time would be by now.
func (s *Shard) Time() time.Duration { return time.Duration(monotonic() - s.journal().Epoch) }

func monotonic() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return ts.Nano()
}

// HadGen notes that a place for a session has had this generation; Gen is the highest that one has had.
func (s *Shard) HadGen(gen uint32) { s.journal().Gen = max(s.journal().Gen, gen) }
func (s *Shard) Gen() uint32       { return s.journal().Gen }
