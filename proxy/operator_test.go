package proxy

import (
	"testing"

	"github.com/ircferry/ircferry/internal/config"
)

// Admit lets in as many as it is told, of this pool alone, and the gate stays shut for the others.
func TestAdmitLetsSomeIn(t *testing.T) {
	r, d := relay(t, config.Listener{})
	r.Gate("main")
	for range 5 {
		r.dial().send("NICK ann\r\n")
	}
	r.eventually("waiting clients", func() bool { return r.Counts().Waiting == 5 })
	admit := func(pool string, n, want int) {
		t.Helper()
		if left, err := r.Admit(ctxOf(t), pool, n); left != want || err != nil {
			t.Errorf("%d of %s were let in: %d are left (%v), want %d", n, pool, left, err, want)
		}
	}
	admit("other", 5, 0)
	admit("main", 0, 5)
	for _, left := range []int{3, 1} {
		admit("main", 2, left)
		for range 2 {
			d.next().expect("NICK ann\r\n")
		}
		if n := r.Counts().Waiting; n != left {
			t.Errorf("%d wait, want %d", n, left)
		}
	}
	late := r.dial()
	late.send("NICK late\r\n")
	r.eventually("two waiting clients", func() bool { return r.Counts().Waiting == 2 })
	r.Ungate("main")
	for range 2 {
		d.next().expectLine("NICK ")
	}
	admit("main", 5, 0)
}
