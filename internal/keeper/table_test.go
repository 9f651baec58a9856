package keeper

import (
	"math/rand/v2"
	"testing"
)

// The table against a map, by chance.
func TestTable(t *testing.T) {
	for _, tags := range []uint64{4, 600, 5000} {
		r := rand.New(rand.NewPCG(1, tags))
		x, want, fds, next := newTable(), map[Tag]int{}, []int{}, 3
		for range 60000 {
			tag := Tag(r.Uint64N(tags)<<20 | 1)
			if r.IntN(2) == 0 {
				fd := next
				if n := len(fds); n > 0 {
					fd, fds = fds[n-1], fds[:n-1]
				} else {
					next++
				}
				before, ok := want[tag]
				if got := x.put(tag, fd); ok && got != before || !ok && got != -1 {
					t.Fatalf("put: %d before, want %d (%v)", got, before, ok)
				}
				if ok {
					fds = append(fds, before)
				}
				want[tag] = fd
			} else {
				before, ok := want[tag]
				if got := x.remove(tag); ok && got != before || !ok && got != -1 {
					t.Fatalf("remove: %d, want %d (%v)", got, before, ok)
				}
				if ok {
					fds = append(fds, before)
				}
				delete(want, tag)
			}
			if x.n != len(want) {
				t.Fatalf("%d entries, want %d", x.n, len(want))
			}
		}
		for tag, fd := range want {
			if !x.has(tag) || x.tags[fd] != tag {
				t.Fatalf("tag %d is not at descriptor %d", tag, fd)
			}
		}
		some := 0
		for _, tag := range x.tags {
			if tag != 0 {
				some++
			}
		}
		if some != len(want) {
			t.Errorf("%d descriptors have a tag, want %d", some, len(want))
		}
	}
}

// Traffic allocates nothing: the keeper's memory follows the number of descriptors alone.
func TestTrafficAllocatesNothing(t *testing.T) {
	x := newTable()
	for tag := Tag(1); tag <= 2000; tag++ {
		x.put(tag, int(tag))
	}
	if n := testing.AllocsPerRun(1000, func() { x.put(5000, 2001); x.remove(5000) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
