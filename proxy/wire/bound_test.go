package wire

import (
	"bytes"
	"errors"
	"testing"
)

// One queue cannot have more than its bound, whatever room the arena has, and what is over it leaves the queue as it was.
func TestQueueHasABound(t *testing.T) {
	a := testArena(t, Options{Slots: 8, Shards: 1, MaxBytes: 8 << 20, MaxQueue: 100_000})
	s := a.Shard(0)
	var q Queue
	if err := s.AppendLines(&q, pattern(99_990)); err != nil {
		t.Fatal(err)
	}
	before := q
	for _, put := range []func(*Queue, []byte) error{s.Append, s.AppendLines, s.Prepend} {
		if err := put(&q, make([]byte, 11)); !errors.Is(err, ErrQueueFull) {
			t.Errorf("11 bytes more: %v", err)
		}
	}
	if q != before {
		t.Errorf("the queue has changed: %+v, was %+v", q, before)
	}
	if err := s.Prepend(&q, make([]byte, 10)); err != nil || q.Len() != 100_000 {
		t.Errorf("10 bytes more: %v, %d bytes", err, q.Len())
	}
	s.Clear(&q)
	mustBeIdle(t, a)
}

// When the arena is full, who asks gets what relief gives back, and ErrFull only when that has nothing more.
func TestReliefMakesRoom(t *testing.T) {
	a := testArena(t, Options{Slots: 8, Shards: 1, MaxBytes: 4 << 20})
	s := a.Shard(0)
	var big, small Queue
	for s.Append(&big, make([]byte, ChunkBytes)) == nil {
	}
	if err := s.Append(&small, []byte("x")); !errors.Is(err, ErrFull) {
		t.Fatalf("a full arena: %v", err)
	}
	asked := 0
	s.OnFull(func() bool {
		asked++
		had := big.Len() > 0
		s.Clear(&big)
		return had
	})
	if err := s.Append(&small, []byte("PING x")); err != nil || asked != 1 {
		t.Fatalf("with relief: %v, asked %d times", err, asked)
	}
	if got := s.Front(&small); !bytes.Equal(got, []byte("PING x")) {
		t.Errorf("queued: %q", got)
	}
	for s.Append(&small, make([]byte, ChunkBytes)) == nil {
	}
	if asked != 2 {
		t.Errorf("asked %d times, want once more for a relief that has nothing", asked)
	}
	s.Clear(&small)
	mustBeIdle(t, a)
}

// Tight is said before the arena is full, and taken back when there is room again.
func TestTightIsSaidInTime(t *testing.T) {
	a := testArena(t, Options{Slots: 8, Shards: 1, MaxBytes: 8 << 20})
	s := a.Shard(0)
	var q Queue
	for !a.Tight() {
		if err := s.Append(&q, make([]byte, ChunkBytes)); err != nil {
			t.Fatalf("full before it was tight: %v", err)
		}
	}
	if st := a.Stats(); st.Allocated < st.Max*7/8 || st.Allocated > st.Max*7/8+blockSize {
		t.Errorf("tight with %d of %d bytes", st.Allocated, st.Max)
	}
	s.Clear(&q)
	if a.Tight() {
		t.Error("still tight when nothing is queued")
	}
}
