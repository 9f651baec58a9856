package proxy

import (
	"runtime"
	"testing"
)

func TestMemoryIsReleasedOnceWhenABurstIsOver(t *testing.T) {
	now, released := uint64(0), 0
	r := &releaser{collections: func() uint64 { return now }, release: func() { released++; now++ }}
	for _, step := range []struct {
		what        string
		collections uint64
		want        int
	}{
		{"nothing has happened", 0, 0},
		{"an ordinary day", burst - 1, 0},
		{"and it is quiet", 0, 0},
		{"a burst", 3 * burst, 0},
		{"that goes on", 1, 0},
		{"is over", 0, 1},
		{"once only", 0, 1},
		{"an ordinary day again", burst - 1, 1},
		{"quiet again", 0, 1},
		{"one more makes it a burst", 1, 1},
		{"and that is over", 0, 2},
	} {
		now += step.collections
		r.look()
		if released != step.want {
			t.Fatalf("%s: released %d times, want %d", step.what, released, step.want)
		}
	}
}

func TestCollectionsAreCounted(t *testing.T) {
	before := collections()
	runtime.GC()
	if after := collections(); after <= before {
		t.Errorf("%d collections before one more, %d after it", before, after)
	}
}
