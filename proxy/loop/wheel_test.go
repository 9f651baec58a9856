package loop

import (
	"testing"
	"time"
)

// The loop sleeps until something is due: slots that were handed out do not wake it when the wheel comes round to them again.
func TestWheelWakesForNothing(t *testing.T) {
	var w wheel
	w.add(0, time.Second, 1)
	w.add(0, 5*time.Second, 2)
	for _, due := range []time.Duration{time.Second, 5 * time.Second} {
		if wait := w.until(due - time.Second); wait != time.Second {
			t.Errorf("waits for %v a second before a timer", wait)
		}
		if _, ok := w.expired(due); !ok {
			t.Errorf("nothing expired at %v", due)
		}
		if _, ok := w.expired(due); ok {
			t.Errorf("more than one expired at %v", due)
		}
	}
	w.add(5*time.Second, 10*time.Second, 3)
	if wait := w.until(5 * time.Second); wait != 5*time.Second {
		t.Errorf("waits for %v, want 5 s", wait)
	}
	w = wheel{}
	w.add(time.Hour, time.Hour+time.Second, 4)
	if wait := w.until(time.Hour); wait != time.Second {
		t.Errorf("after an hour without timers waits for %v, want 1 s", wait)
	}
}

// A timer without time, in a tick that was handed out already, comes with the next.
func TestTimerOfNoTime(t *testing.T) {
	var w wheel
	w.add(0, time.Second, 1)
	w.add(0, 5*time.Second, 2)
	if k, ok := w.expired(time.Second); k != 1 || !ok {
		t.Fatalf("timer %d %v", k, ok)
	}
	w.expired(time.Second)
	w.add(time.Second, time.Second, 3)
	if k, ok := w.expired(time.Second + Tick); k != 3 || !ok {
		t.Errorf("timer %d %v", k, ok)
	}
}

// A burst leaves no memory in the slot that it went through.
func TestWheelGivesMemoryBack(t *testing.T) {
	var w wheel
	for range 10_000 {
		w.add(0, time.Second, 1)
	}
	n := 0
	for ok := true; ok; n++ {
		_, ok = w.expired(time.Second)
	}
	if n-1 != 10_000 {
		t.Errorf("%d of 10000 expired", n-1)
	}
	if w.until(time.Second) >= 0 || !w.idle() {
		t.Error("an empty wheel is waited for")
	}
	w.batch = nil
	for now := time.Second; now < time.Minute; now += time.Second {
		w.add(now, now, 1)
		for ok := true; ok; _, ok = w.expired(now + 2*Tick) {
		}
	}
	if n := cap(w.batch); n > 8 {
		t.Errorf("room for %d at a time is kept, of timers that came one by one", n)
	}
	for i, s := range w.slots {
		if cap(s) > 64 {
			t.Errorf("slot %d keeps room for %d", i, cap(s))
		}
	}
}
