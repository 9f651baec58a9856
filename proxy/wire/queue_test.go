package wire

import (
	"bytes"
	"errors"
	"testing"
)

func TestQueueKeepsOrderOverChunks(t *testing.T) {
	a := testArena(t, Options{Slots: 2, Shards: 1, MaxBytes: 4 << 20})
	s := a.Shard(0)
	for _, n := range []int{1, ChunkBytes - 1, ChunkBytes, ChunkBytes + 1, 2 * ChunkBytes, 16 << 10, 100_000, 1 << 20} {
		var q Queue
		want := pattern(n)
		for p := want; len(p) > 0; {
			k := min(len(p), 1+len(p)/3)
			if err := s.Append(&q, p[:k]); err != nil {
				t.Fatal(err)
			}
			p = p[k:]
		}
		if !bytes.Equal(queued(s, &q), want) {
			t.Errorf("%d bytes come out otherwise", n)
		}
		if got, most := a.Stats().Chunks, (n+ChunkBytes-1)/ChunkBytes; got != most {
			t.Errorf("%d bytes: %d chunks, want %d", n, got, most)
		}
		if few := s.Iovecs(&q, make([][]byte, 0, 2)); len(few) > 2 {
			t.Errorf("%d pieces in room for 2", len(few))
		}
		if p := bytes.Join(s.Pieces(&q, n/2, nil), nil); !bytes.Equal(p, want[:n/2]) {
			t.Errorf("first half of %d bytes comes out otherwise", n)
		}
		s.Clear(&q)
		if q != (Queue{}) || a.Stats().Chunks != 0 {
			t.Errorf("cleared queue %+v, %d chunks", q, a.Stats().Chunks)
		}
	}
}

// A megabyte, the most that a session takes through a move, goes out by one writev.
func TestMegabyteInOneWritev(t *testing.T) {
	const iovMax = 1024
	if n := (1<<20 + ChunkBytes - 1) / ChunkBytes; n > iovMax {
		t.Errorf("%d pieces, the kernel takes %d", n, iovMax)
	}
}

func TestHalfLineIsKnown(t *testing.T) {
	a := testArena(t, Options{Slots: 2, Shards: 1, MaxBytes: 1 << 20})
	s := a.Shard(0)
	var q Queue
	for _, step := range []struct {
		in          string
		whole, half int
	}{
		{"NICK a", 0, 6},
		{"bc", 0, 8},
		{"\r\nUSER", 10, 4},
		{" a\nPING", 17, 4},
		{"\n", 22, 0},
		{"X\nY\n", 26, 0},
	} {
		if err := s.AppendLines(&q, []byte(step.in)); err != nil {
			t.Fatal(err)
		}
		if q.Whole() != step.whole || int(q.Half) != step.half {
			t.Errorf("after %q: whole %d half %d, want %d and %d", step.in, q.Whole(), q.Half, step.whole, step.half)
		}
	}
	if err := s.AppendLines(&q, []byte("half")); err != nil {
		t.Fatal(err)
	}
	s.Consume(&q, q.Whole())
	if q.Half != 4 || string(s.Front(&q)) != "half" {
		t.Errorf("after the whole lines: %q, half %d", s.Front(&q), q.Half)
	}
}

func TestPrependGoesFirstAndKeepsTheHalfLine(t *testing.T) {
	a := testArena(t, Options{Slots: 2, Shards: 1, MaxBytes: 4 << 20})
	s := a.Shard(0)
	for _, n := range []int{0, 1, 3000, 70_000, 300_000} {
		for _, m := range []int{0, 1, 3000, 64 << 10} {
			var q Queue
			old, rq := append(pattern(n), "half"...), append(pattern(m), '\n')
			if err := s.AppendLines(&q, old); err != nil {
				t.Fatal(err)
			}
			half := q.Half
			if err := s.Prepend(&q, rq); err != nil {
				t.Fatal(err)
			}
			if got := queued(s, &q); !bytes.Equal(got, append(bytes.Clone(rq), old...)) || q.Half != half {
				t.Errorf("%d bytes before %d: got %d bytes, half %d, want half %d", m, n, len(got), q.Half, half)
			}
			s.Clear(&q)
			if a.Stats().Chunks != 0 {
				t.Fatalf("%d chunks left", a.Stats().Chunks)
			}
		}
	}
}

// Near the end of the arena Prepend is done whole or not at all.
func TestPrependInANearlyFullArena(t *testing.T) {
	a := testArena(t, Options{Slots: 2, Shards: 1, MaxBytes: 1 << 20})
	s := a.Shard(0)
	for room := range 8 { // chunks
		for _, rq := range []int{1, ChunkBytes, ChunkBytes + 1, 3 * ChunkBytes} {
			var q Queue
			for s.Append(&q, pattern(777)) == nil {
			}
			for s.Append(&q, []byte("x")) == nil {
			}
			s.Consume(&q, room*ChunkBytes+5)
			q.Half = 100
			before, old := q, queued(s, &q)
			err := s.Prepend(&q, pattern(rq))
			need := (rq - min(rq, 5) + ChunkBytes - 1) / ChunkBytes // the first chunk has room for 5
			if (err == nil) != (room >= need) {
				t.Errorf("%d bytes with room for %d chunks: %v", rq, room, err)
			}
			switch got := queued(s, &q); {
			case err == nil && (!bytes.Equal(got, append(pattern(rq), old...)) || q.Half != 100):
				t.Errorf("%d bytes with room for %d chunks: %d bytes come out otherwise", rq, room, len(got))
			case err != nil && (!errors.Is(err, ErrFull) || q != before || !bytes.Equal(got, old)):
				t.Errorf("%d bytes with room for %d chunks: refused, but changed: %+v, before %+v", rq, room, q, before)
			}
			s.Clear(&q)
			mustBeIdle(t, a)
		}
	}
}

// What was in a queue can hold passwords: nothing of it stays in the file.
func TestFreedChunksAreZero(t *testing.T) {
	a := testArena(t, Options{Slots: 2, Shards: 1, MaxBytes: 4 << 20})
	s := a.Shard(0)
	var keep, q Queue
	if err := s.Append(&keep, []byte("x")); err != nil { // holds the first block
		t.Fatal(err)
	}
	if err := s.Append(&q, bytes.Repeat([]byte("secret"), 5000)); err != nil {
		t.Fatal(err)
	}
	used := []uint32{}
	for c := q.Head; c != 0; c = *s.next(c) {
		used = append(used, c)
	}
	s.Consume(&q, 10_000)
	s.Clear(&q)
	for _, c := range used {
		if i := bytes.IndexFunc(s.payload(c), func(r rune) bool { return r != 0 }); i >= 0 || *s.next(c) != 0 {
			t.Fatalf("chunk %d holds %q at %d, next %d", c, s.payload(c)[i], i, *s.next(c))
		}
	}
	s.Clear(&keep)
}

// FuzzQueue runs any program of queue operations beside bytes.Buffers.
func FuzzQueue(f *testing.F) {
	f.Add([]byte{0, 200, 1, 3, 0, 255, 2, 9, 4, 0, 3, 0, 5, 7})
	f.Add(bytes.Repeat([]byte{0, 255, 1, 100}, 60))
	f.Add(bytes.Repeat([]byte{0, 255, 5, 255, 8, 255, 1, 255}, 30))
	a := testArena(f, Options{Slots: 4, Shards: 1, MaxBytes: 1 << 20})
	s := a.Shard(0)
	f.Fuzz(func(t *testing.T, program []byte) {
		s.Bind()
		var qs [2]Queue
		var models [2][]byte
		var halves [2]int
		src := pattern(256 * 97)
		src[300], src[9000] = '\n', '\n'
		for ; len(program) >= 2; program = program[2:] {
			i := int(program[0] & 1)
			q, m, half := &qs[i], &models[i], &halves[i]
			n := int(program[1]) * 97 // up to 12 chunks
			switch program[0] >> 1 % 5 {
			case 0:
				if err := s.AppendLines(q, src[:n]); err == nil {
					*m = append(*m, src[:n]...)
					if cut := Cut(src[:n]); cut > 0 {
						*half = n - cut
					} else {
						*half += n
					}
				}
			case 1:
				n = min(n, len(*m))
				s.Consume(q, n)
				*m = (*m)[n:]
			case 2:
				if err := s.Prepend(q, src[:n]); err == nil {
					*m = append(bytes.Clone(src[:n]), *m...)
				}
			case 3:
				front := s.Front(q)
				if !bytes.HasPrefix(*m, front) || (len(front) == 0) != (len(*m) == 0) {
					t.Fatalf("front %q of %d bytes", front, len(*m))
				}
				s.Consume(q, len(front))
				*m = (*m)[len(front):]
			case 4:
				s.Clear(q)
				*m = nil
			}
			*half = min(*half, len(*m))
			if q.Len() != len(*m) || int(q.Half) != *half || q.Whole() != len(*m)-*half {
				t.Fatalf("length %d half %d, want %d and %d", q.Len(), q.Half, len(*m), *half)
			}
		}
		for i := range qs {
			if !bytes.Equal(queued(s, &qs[i]), models[i]) {
				t.Fatalf("queue %d comes out otherwise", i)
			}
			s.Clear(&qs[i])
		}
		mustBeIdle(t, a)
	})
}
