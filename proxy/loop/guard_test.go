package loop

import "testing"

// A panic in the work for one key is that key's alone: the caller goes on, the handler hears of it, and what comes after is not taken for it.
func TestGuardCatchesThePanicOfOneKey(t *testing.T) {
	r := &recorder{}
	l := start(t, r)
	done := make(chan [2]bool)
	k := MakeKey(7, 3, 1)
	l.Post(func() {
		first := l.Guard(k, func() { panic("one") })
		second := l.Guard(k+1, func() {})
		done <- [2]bool{first, second}
		panic("behind it")
	})
	if got := await(t, done); got != [2]bool{false, true} {
		t.Errorf("came to their ends: %v", got)
	}
	if got := await(t, r.panicked); got != k {
		t.Errorf("panic under %x, want %x", uint64(got), uint64(k))
	}
	if got := await(t, r.panicked); got != 0 {
		t.Errorf("panic of the posted work under %x, want 0", uint64(got))
	}
	if n := l.Panics(); n != 2 {
		t.Errorf("%d panics counted", n)
	}
}

// TurnOver comes behind everything that a turn hands out, also if some of it panicked, and before the loop waits again.
func TestTurnOverComesLast(t *testing.T) {
	over := make(chan int, 100)
	n := 0
	r := &recorder{turnOver: func() { over <- n }}
	l := start(t, r)
	held, hold := make(chan bool, 1), make(chan bool)
	l.Post(func() { held <- true; <-hold })
	await(t, held) // what is posted now is of one turn
	l.Post(func() { n++ })
	l.Post(func() { n++; panic("in between") })
	l.Post(func() { n++ })
	close(hold)
	await(t, r.panicked)
	for got := await(t, over); got != 3; got = await(t, over) {
		if got != 0 {
			t.Fatalf("the turn was over after %d of 3", got)
		}
	}
}
