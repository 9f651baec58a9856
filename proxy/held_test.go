package proxy

import (
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ircferry/ircferry/internal/config"
)

// Whoever is frozen for a while without a move that will let him go is found by the books, and nobody else is.
func TestBooksFindWhoIsFrozenWithoutAMove(t *testing.T) {
	r, a, _ := moves(t, config.Listener{})
	x := r.user(a, "ann")
	var lives atomic.Bool
	lives.Store(true)
	r.SetMoving(func(backend string) bool { return lives.Load() || backend != "main/a" })
	if fs, err := r.Freeze(ctxOf(t), "main/a"); err != nil || len(fs) != 1 {
		t.Fatal(fs, err)
	}
	look := func() uint64 {
		r.checkHeld()
		return r.unowned.Load()
	}
	lives.Store(false)
	if look() != 0 {
		t.Error("found while the freeze is young")
	}
	r.onAll(ctxOf(t), func(w *worker) { w.each(func(s *session) { s.mv.frozenAt -= 2 * heldGrace }) })
	lives.Store(true)
	if look() != 0 {
		t.Error("found although its move lives")
	}
	lives.Store(false)
	if look() != 1 || !strings.Contains(r.logs.String(), "no move has them") {
		t.Errorf("%d found; log:\n%s", r.unowned.Load(), r.logs.String())
	}
	r.Thaw([]string{x.u})
	if look() != 1 {
		t.Error("found after the thaw")
	}
	x.toServer("PING x\r\n")
}
