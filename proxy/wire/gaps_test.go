package wire

import (
	"bytes"
	"strings"
	"testing"
)

// The tests of this file are for mistakes that no other test noticed (make mutate).

// The half line at the end of a queue can be looked at and taken out, in however many chunks it lies.
func TestHalfOfAQueue(t *testing.T) {
	for name, c := range map[string]struct{ whole, half string }{
		"nothing":                     {"", ""},
		"whole lines":                 {"PING a\r\nPING b\r\n", ""},
		"half a line":                 {"", "PIN"},
		"behind a line":               {"PING a\r\n", "PIN"},
		"over chunks":                 {strings.Repeat("PING a\r\n", ChunkBytes), strings.Repeat("y", 2*ChunkBytes)},
		"the end of a chunk":          {strings.Repeat("x", ChunkBytes-1) + "\n", "PIN"},
		"a little behind many chunks": {strings.Repeat("PING a\r\n", ChunkBytes), "P"},
	} {
		s := testArena(t, Options{Slots: 8, Shards: 1, MaxBytes: 4 << 20}).Shard(0)
		var q Queue
		if err := s.AppendLines(&q, []byte(c.whole+c.half)); err != nil {
			t.Fatal(err)
		}
		if got := s.AppendHalf([]byte("="), &q); string(got) != "="+c.half {
			t.Errorf("%s: %d bytes of half a line, want %d", name, len(got)-1, len(c.half))
		}
		if err := s.DropHalf(&q); err != nil {
			t.Fatal(err)
		}
		if got := bytes.Join(s.Pieces(&q, q.Len()+100, nil), nil); string(got) != c.whole || q.Whole() != len(c.whole) || q.Len() != len(c.whole) {
			t.Errorf("%s: %d bytes are left, want %d", name, len(got), len(c.whole))
		}
		s.Clear(&q)
		if n := s.a.Stats().Chunks; n != 0 {
			t.Errorf("%s: %d chunks are in use", name, n)
		}
	}
}

// A slot that is none is a mistake of the caller's, and never somebody else's memory.
func TestNoSuchSlot(t *testing.T) {
	s := testArena(t, Options{Slots: 8, Shards: 1, MaxBytes: 4 << 20}).Shard(0)
	id, _, err := s.NewSlot()
	if err != nil {
		t.Fatal(err)
	}
	s.Slot(id)
	for _, id := range []SlotID{0, 1 << 20, ^SlotID(0)} {
		func() {
			defer func() {
				if recover() != "wire: no such slot" {
					t.Errorf("slot %d is one", id)
				}
			}()
			s.Slot(id)
		}()
	}
}
