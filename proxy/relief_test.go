package proxy

import (
	"strings"
	"testing"

	"github.com/ircferry/ircferry/internal/config"
)

// holders are users who are parked and hold as many KiB as their place says, over the loops as they come.
func (r *rig) holders(a *native, kib ...int) (all []*user) {
	r.t.Helper()
	for range kib {
		all = append(all, r.user(a, "ann"))
	}
	if fs, err := r.Freeze(ctxOf(r.t), "main/a"); err != nil || len(fs) != len(kib) {
		r.t.Fatal(len(fs), err)
	}
	for i, x := range all {
		r.Park([]string{x.u}, "irc.a")
		r.turnTime(r.t.(*testing.T), parkAwake)
		x.client.send(strings.Repeat("PRIVMSG #a :"+strings.Repeat("w", 498)+"\r\n", 2*kib[i]))
	}
	r.eventually("what they hold", func() bool {
		held := 0
		for _, s := range r.infos() {
			held += s.Held
		}
		want := 0
		for _, n := range kib {
			want += n << 10
		}
		return held == want
	})
	return all
}

// holds is what each of them holds now, in KiB.
func (r *rig) holds(all []*user) []int {
	held := map[string]int{}
	for _, s := range r.infos() {
		held[s.ID] = s.Held >> 10
	}
	var kib []int
	for _, x := range all {
		kib = append(kib, held[x.u])
	}
	return kib
}

// Relief takes from the one that holds most of all, on whatever loop it is, and from nobody who holds little.
func TestReliefEndsTheLargestOfAllLoops(t *testing.T) {
	r, a, _ := moves(t, config.Listener{})
	all := r.holders(a, 20, 50, 8, 40, 30, 12)
	for _, largest := range []int{1, 3, 4, 0} {
		before := r.holds(all)
		if !r.relief.relieve() {
			t.Fatalf("no relief with %v", before)
		}
		r.eventually("relief", func() bool { return r.holds(all)[largest] == 0 })
		before[largest] = 0
		for i, n := range r.holds(all) {
			if n != before[i] {
				t.Errorf("user %d holds %d KiB, want %d", i, n, before[i])
			}
		}
	}
	if r.relief.relieve() {
		t.Errorf("relief from who holds little: %v", r.holds(all))
	}
}

// In the middle of work a loop takes from its own largest holder, but not from the one that asks, nor for one that holds as much itself.
func TestALoopMakesRoomForWhoHoldsLess(t *testing.T) {
	a := newNative(t, "a")
	r := newRig(t, rigOptions{backends: []config.Backend{a.config()}, loops: 1})
	r.up("main/a")
	all := r.holders(a, 20, 50, 30)
	ask := func(i int) (made bool) {
		w := r.workers[0]
		r.onAll(ctxOf(t), func(*worker) {
			s := w.find(all[i].u)
			w.loop.Guard(s.key(portClient), func() { made = w.makeRoom() })
		})
		return made
	}
	if ask(1) {
		t.Error("room for the one that holds most")
	}
	if got := r.holds(all); got[0] != 20 || got[1] != 50 || got[2] != 30 {
		t.Errorf("they hold %v", got)
	}
	if !ask(0) || r.holds(all)[1] != 0 {
		t.Errorf("no room from the one that holds most: %v", r.holds(all))
	}
	if !ask(0) || r.holds(all)[2] != 0 || r.holds(all)[0] != 20 {
		t.Errorf("no room from the next: %v", r.holds(all))
	}
	if ask(0) {
		t.Error("room from nobody")
	}
}
