package loop

import (
	"math/bits"
	"time"
)

// Tick is the grain of timers: one expires up to a tick late, never early.
const Tick = 10 * time.Millisecond

// wheelSlots times Tick is how far the wheel reaches; later timers go round again.
const wheelSlots = 512

// entry is one timer; due is in loop time.
type entry struct {
	due time.Duration
	key Key
}

// wheel is a hashed timer wheel. Timers cannot be taken out: 16 bytes each until they expire, and nothing per owner.
type wheel struct {
	slots [wheelSlots][]entry
	used  [wheelSlots / 64]uint64 // bitmap of slots with entries
	done  int64                   // all ticks up to this one were handed out
	count int
	batch []entry // being handed out: survives a panic of the handler
	next  int
}

// idle: nothing is set. The wheel stands still meanwhile.
func (w *wheel) idle() bool { return w.count == 0 && w.next == len(w.batch) }

func (w *wheel) add(now, due time.Duration, k Key) {
	if w.idle() {
		w.done = max(w.done, int64(now/Tick))
	}
	tick := int64((due + Tick - 1) / Tick)
	// Never into a tick that was handed out, and never so far that the slot comes round before the time.
	tick = min(max(tick, w.done+1), w.done+wheelSlots-1)
	i := tick % wheelSlots
	w.slots[i] = append(w.slots[i], entry{due, k})
	w.used[i/64] |= 1 << (i % 64)
	w.count++
}

// until is how long after now something is to be done, when all that is due was handed out; negative: nothing is set.
func (w *wheel) until(now time.Duration) time.Duration {
	if w.count == 0 {
		return -1
	}
	start := (w.done + 1) % wheelSlots
	for n := int64(0); n < wheelSlots; {
		i := (start + n) % wheelSlots
		word := w.used[i/64] >> (i % 64)
		if word != 0 {
			n += int64(bits.TrailingZeros64(word))
			return max(time.Duration(w.done+1+n)*Tick-now, 0)
		}
		n += 64 - i%64
	}
	return -1
}

// expired returns the next timer that is due, until there is none. Timers that only went round go back into the wheel.
func (w *wheel) expired(now time.Duration) (Key, bool) {
	for {
		for w.next < len(w.batch) {
			e := w.batch[w.next]
			w.next++
			if e.due <= now {
				return e.key, true
			}
			w.add(now, e.due, e.key)
		}
		w.batch, w.next = w.batch[:0], 0
		if !w.advance(now) {
			return 0, false
		}
	}
}

// advance moves the next slot with entries that is due into the batch.
func (w *wheel) advance(now time.Duration) bool {
	last := int64(now / Tick)
	for w.done < last {
		w.done++
		i := w.done % wheelSlots
		if w.used[i/64]&(1<<(i%64)) == 0 {
			continue
		}
		w.used[i/64] &^= 1 << (i % 64)
		w.batch = append(w.batch, w.slots[i]...)
		w.count -= len(w.slots[i])
		if cap(w.slots[i]) > 64 {
			w.slots[i] = nil // a burst must not keep its memory in each slot that it went through
		} else {
			w.slots[i] = w.slots[i][:0]
		}
		return true
	}
	return false
}
