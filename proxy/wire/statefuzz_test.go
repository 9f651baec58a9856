package wire

import (
	"bytes"
	"errors"
	"testing"
	"time"
)

// FuzzImportState imports any bytes: what is taken is what an export of it says again, it can be used, and what is not taken leaves nothing.
func FuzzImportState(f *testing.F) {
	a := testArena(f, Options{Slots: 200, Shards: 2, MaxBytes: 4 << 20})
	from, s := a.Shard(0), a.Shard(1)
	unchecked(f)
	for _, suite := range fuzzSuites {
		for _, client := range []bool{false, true} {
			f.Add(stateOf(f, from, suite, client))
		}
		o := newOursOn(f, from, pairParams(suite, false))
		slot := from.Slot(o.slot)
		slot.State, slot.Flags = 3, Registered|ClientFINSeen
		must(f, from.AppendLines(&slot.ToBackend, []byte("PING 1\r\nPI")))
		b, err := from.ExportSlot(o.slot)
		must(f, err)
		f.Add(b)
		from.FreeSlot(o.slot)
	}
	mustBeIdle(f, a)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 100_000 {
			return
		}
		same := bytes.Clone(b)
		var again []byte
		if slot, err := s.ImportSlot(b); err == nil {
			if again, err = s.ExportSlot(slot); err != nil {
				t.Fatal(err)
			}
			s.FreeSlot(slot)
		} else if id, err := s.ImportTLS(b); err == nil {
			if again, err = s.ExportTLS(id); err != nil {
				t.Fatal(err)
			}
			s.FreeTLS(id)
			tryOut(t, s, bytes.Clone(again))
		} else if !bytes.Equal(b, same) {
			t.Fatal("bytes that are not taken are changed")
		}
		if len(again) > 0 && !bytes.Equal(again, same) {
			t.Fatalf("\ntaken %x\ngiven %x", same, again)
		}
		if st := a.Stats(); st.Chunks != 0 || st.TLS != 0 || st.Slots != 0 {
			t.Fatalf("stats %+v", st)
		}
	})
}

// tryOut opens and seals with a state that was taken.
func tryOut(t *testing.T, s *Shard, b []byte) {
	id, err := s.ImportTLS(b)
	if err != nil {
		t.Fatalf("what was given is not taken: %v", err)
	}
	defer s.FreeTLS(id)
	n := copy(s.ReadRoom(id), "\x17\x03\x03\x00\x20 and so on, which is no record of anybody")
	if _, err := s.Open(id, 0, 0); err != nil {
		return
	}
	if len(s.ReadRoom(id)) < n {
		t.Fatal("no room to read into")
	}
	if _, err := s.Open(id, n, time.Hour); err != nil && errors.Is(err, ErrFull) {
		t.Fatal(err)
	}
	records, err := s.Seal(id, []byte("line\r\n"))
	if err != nil && !errors.Is(err, ErrTLSEnded) {
		t.Fatal(err)
	}
	if err := s.Append(&s.TLS(id).Unsent, records); err != nil {
		t.Fatal(err)
	}
}

// FuzzPassOn is FuzzOpen with a hand-over between two arenas behind each piece: nothing is different.
func FuzzPassOn(f *testing.F) {
	f.Add(uint8(0), []byte{0, 0, 200, 1, 0, 80, 8, 1, 1, 0, 0, 9}, []byte{1, 7, 90})
	f.Add(uint8(1), []byte{1, 0, 80, 7, 0, 3, 7, 0, 1, 1, 0, 3}, []byte{3})
	f.Add(uint8(2), []byte{1, 0, 80, 2, 8, 40, 3, 20, 20, 1, 1, 1}, []byte{255})
	f.Add(uint8(3), []byte{1, 0, 80, 4, 30, 90, 1, 0, 20, 9, 0, 5}, []byte{40})
	f.Add(uint8(4), bytes.Repeat([]byte{8, 6, 1}, 40), []byte{4})
	f.Add(uint8(4), bytes.Repeat([]byte{8, 6, 1}, 33), []byte{4})
	f.Add(uint8(0), bytes.Repeat([]byte{9, 1, 1}, 40), []byte{4})
	unchecked(f)
	a := testArena(f, Options{Slots: 300, Shards: 3, MaxBytes: 4 << 20})
	f.Fuzz(func(t *testing.T, kind uint8, program, splits []byte) {
		if len(program) > 100 || len(splits) > 100 || len(splits) == 0 {
			return
		}
		suite, client := fuzzSuites[kind%4], kind&4 != 0
		stays, moves := newOursOn(t, a.Shard(0), pairParams(suite, client)), newOursOn(t, a.Shard(1), pairParams(suite, client))
		p := newOursOn(t, a.Shard(2), pairParams(suite, !client))
		stays.now, moves.now = 0, 0 // a state does not say when tokens were spent, so later ones would come back to who moves
		records, _, _ := conversation(p, program)
		want, got, err := stays.readSplit(records, nil)
		var plain []byte
		var last Opened
		var err2 error
		for i := 0; len(records) > 0 && err2 == nil && !last.Closed; i++ {
			n := min(len(records), 1+int(splits[i%len(splits)])*(1+i))
			var part []byte
			part, last, err2 = moves.readSplit(records[:n], nil)
			plain, records = append(plain, part...), records[n:]
			next := moves.passOn(a.Shard(i % 2))
			moves.s.FreeSlot(moves.slot)
			moves = next
		}
		if !bytes.Equal(plain, want) || last.Closed != got.Closed || !errors.Is(err2, err) && !sameTLSError(err, err2) {
			t.Fatalf("stays: %d bytes, closed %v, %v; moves: %d bytes, closed %v, %v", len(want), got.Closed, err, len(plain), last.Closed, err2)
		}
		alert, _ := stays.s.SealAlert(stays.id, AlertCloseNotify)
		alert = bytes.Clone(alert)
		if b, _ := moves.s.SealAlert(moves.id, AlertCloseNotify); !bytes.Equal(b, alert) {
			t.Fatal("the next record is not the same")
		}
		for _, o := range []*ours{stays, moves, p} {
			o.s.FreeSlot(o.slot)
		}
		if st := a.Stats(); st.Chunks != 0 || st.TLS != 0 || st.Slots != 0 {
			t.Fatalf("stats %+v", st)
		}
	})
}
