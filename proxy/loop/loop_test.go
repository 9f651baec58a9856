package loop

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const patience = 10 * time.Second

// recorder hands on what the loop calls.
type recorder struct {
	ready    func(Key, Events)
	expired  func(Key)
	panicked chan Key
	turnOver func()
}

func (r *recorder) Ready(k Key, ev Events)          { r.ready(k, ev) }
func (r *recorder) Expired(k Key)                   { r.expired(k) }
func (r *recorder) Panicked(k Key, _ any, _ []byte) { r.panicked <- k }
func (r *recorder) TurnOver() {
	if r.turnOver != nil {
		r.turnOver()
	}
}

func start(t *testing.T, r *recorder) *Loop {
	t.Helper()
	r.panicked = make(chan Key, 10)
	l, err := New(r)
	if err != nil {
		t.Fatal(err)
	}
	go l.Run()
	t.Cleanup(func() {
		l.Stop()
		await(t, l.Done())
	})
	return l
}

func await[T any](t *testing.T, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatal("nothing came")
	}
	return v
}

func pair(t *testing.T) (a, b int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { Close(fds[0]); Close(fds[1]) })
	return fds[0], fds[1]
}

func TestKeyKeepsItsParts(t *testing.T) {
	k := MakeKey(MaxSlot-5, 0xfffffff0, 7)
	if k.Slot() != MaxSlot-5 || k.Gen() != 0xfffffff0 || k.Port() != 7 {
		t.Errorf("%x: %d %x %d", uint64(k), k.Slot(), k.Gen(), k.Port())
	}
}

func TestEdgeComesUnderItsKey(t *testing.T) {
	a, b := pair(t)
	got := make(chan Key, 10)
	l := start(t, &recorder{ready: func(k Key, ev Events) {
		if ev&Readable != 0 {
			got <- k
		}
	}})
	key := MakeKey(3, 1<<31, 2)
	l.Post(func() {
		if err := l.Watch(a, key, false); err != nil {
			t.Error(err)
		}
	})
	Write(b, []byte("x"))
	if k := await(t, got); k != key {
		t.Errorf("event for %x, want %x", uint64(k), uint64(key))
	}
	l.Post(func() { l.Rewatch(a, key+1, false) })
	if k := await(t, got); k != key+1 {
		t.Errorf("what is ready already came under %x", uint64(k))
	}
	done := make(chan bool)
	l.Post(func() { l.Unwatch(a); close(done) })
	await(t, done)
	Write(b, []byte("y"))
	l.Post(func() { got <- 0 }) // behind any event of that
	if k := await(t, got); k != 0 {
		t.Errorf("event for %x after Unwatch", uint64(k))
	}
}

func TestPostsRunInOrder(t *testing.T) {
	l := start(t, &recorder{})
	got := make(chan int, 1000)
	for i := range 1000 {
		l.Post(func() { got <- i })
	}
	for i := range 1000 {
		if n := await(t, got); n != i {
			t.Fatalf("post %d came as %d", n, i)
		}
	}
}

func TestStopRunsWhatWasPosted(t *testing.T) {
	l, err := New(&recorder{})
	if err != nil {
		t.Fatal(err)
	}
	ran := false
	l.Post(func() { ran = true })
	l.Stop()
	l.Stop()
	if l.Post(func() {}) {
		t.Error("posted after the stop")
	}
	go l.Run()
	await(t, l.Done())
	if !ran {
		t.Error("what was posted before the stop did not run")
	}
}

// A panic costs the one thing that it happened in; what came in the same turn is still handed out.
func TestPanicDoesNotStopTheLoop(t *testing.T) {
	got := make(chan Key, 10)
	r := &recorder{ready: func(k Key, _ Events) {
		if k.Slot() == 1 {
			panic("on purpose")
		}
		got <- k
	}, expired: func(k Key) {
		if k.Slot() == 1 {
			panic("on purpose")
		}
		got <- k
	}}
	l := start(t, r)
	l.Post(func() {
		for i := range uint32(3) {
			l.Again(MakeKey(i, 0, 0))
		}
	})
	await(t, got)
	await(t, got)
	if k := await(t, r.panicked); k.Slot() != 1 {
		t.Errorf("panicked under %d", k.Slot())
	}
	l.Post(func() {
		for i := range uint32(3) {
			l.After(time.Millisecond, MakeKey(i, 0, 0))
		}
		panic("on purpose")
	})
	if k := await(t, r.panicked); k != 0 {
		t.Errorf("posted work panicked under %d", k)
	}
	await(t, got)
	await(t, got)
	if k := await(t, r.panicked); k.Slot() != 1 {
		t.Errorf("timer panicked under %d", k.Slot())
	}
	if n := l.Panics(); n != 3 {
		t.Errorf("%d panics are counted, want 3", n)
	}
}

// Who asks for another go gets it behind the others, and the loop still sees events and posts.
func TestAgainStarvesNobody(t *testing.T) {
	stop := make(chan bool)
	var l *Loop
	l = start(t, &recorder{ready: func(k Key, _ Events) {
		select {
		case <-stop:
		default:
			l.Again(k)
		}
	}})
	l.Post(func() { l.Again(1); l.Again(2) })
	for range 100 {
		done := make(chan bool)
		l.Post(func() { close(done) })
		await(t, done)
	}
	close(stop)
}

func TestWheelNeverEarlyAndNeverLost(t *testing.T) {
	var w wheel
	rng := rand.New(rand.NewPCG(1, 2))
	due := map[Key]time.Duration{}
	now, next := time.Duration(0), Key(1)
	for step := range 20000 {
		if step < 15000 && rng.IntN(3) > 0 {
			d := time.Duration(rng.Int64N(int64(12 * time.Second)))
			if rng.IntN(4) == 0 {
				d = time.Duration(rng.Int64N(int64(50 * time.Millisecond)))
			}
			w.add(now, now+d, next)
			due[next] = now + d
			next++
		}
		wait := w.until(now)
		if len(due) > 0 && wait < 0 {
			t.Fatalf("%d timers are set and nothing is waited for", len(due))
		}
		now += min(max(wait, 0), time.Duration(rng.Int64N(int64(30*time.Millisecond))))
		for {
			k, ok := w.expired(now)
			if !ok {
				break
			}
			at, known := due[k]
			switch {
			case !known:
				t.Fatalf("timer %d expired twice", k)
			case at > now:
				t.Fatalf("timer %d is early by %v", k, at-now)
			case now-at > 60*time.Millisecond:
				t.Fatalf("timer %d is late by %v", k, now-at)
			}
			delete(due, k)
		}
		if step >= 15000 && len(due) == 0 {
			return
		}
		if step >= 15000 {
			now += w.until(now)
		}
	}
	t.Fatalf("%d timers never expired", len(due))
}

func TestTimerAfterALongSilence(t *testing.T) {
	got := make(chan time.Duration, 1)
	var l *Loop
	l = start(t, &recorder{expired: func(Key) { got <- l.Now() }})
	for _, d := range []time.Duration{30 * time.Millisecond, time.Millisecond, 120 * time.Millisecond} {
		set := make(chan time.Duration, 1)
		l.Post(func() { l.After(d, 1); set <- l.Now() })
		from := await(t, set)
		if took := await(t, got) - from; took < d || took > d+5*time.Second {
			t.Errorf("a timer of %v took %v", d, took)
		}
	}
}

func TestWritevGathers(t *testing.T) {
	a, b := pair(t)
	var room Iovecs
	var pieces [][]byte
	want := ""
	for i := range 40 { // more than fit into one call
		p := fmt.Sprintf("<%d>", i)
		pieces = append(pieces, []byte(p), nil)
		if i < len(room) {
			want += p
		}
	}
	n, errno := Writev(a, pieces, &room)
	if errno != 0 || n != len(want) {
		t.Fatalf("wrote %d of %d: %v", n, len(want), errno)
	}
	buf := make([]byte, 1000)
	m, _ := Read(b, buf)
	if string(buf[:m]) != want {
		t.Errorf("got %q, want %q", buf[:m], want)
	}
	if _, errno := Read(b, buf); errno != unix.EAGAIN {
		t.Errorf("nothing to read: %v", errno)
	}
	EndWrites(a)
	if n, errno := Read(b, buf); n != 0 || errno != 0 {
		t.Errorf("the end: %d, %v", n, errno)
	}
	if _, errno := Write(a, []byte("x")); errno != unix.EPIPE {
		t.Errorf("write behind the end: %v", errno)
	}
	if n, errno := Writev(a, [][]byte{nil, {}}, &room); n != 0 || errno != 0 {
		t.Errorf("nothing was written: %d, %v", n, errno)
	}
}

// Writable is told only to who asked for it.
func TestWritableIsAskedFor(t *testing.T) {
	a, _ := pair(t)
	b, _ := pair(t)
	got := make(chan Key, 10)
	l := start(t, &recorder{ready: func(k Key, ev Events) {
		if ev&Writable != 0 {
			got <- k
		}
	}})
	watch := func(f func() error) {
		t.Helper()
		done := make(chan error, 1)
		l.Post(func() { done <- f() })
		if err := await(t, done); err != nil {
			t.Fatal(err)
		}
	}
	watch(func() error { return l.Watch(a, 1, false) })
	watch(func() error { return l.Watch(b, 2, true) })
	if k := await(t, got); k != 2 {
		t.Errorf("writable: %d", k)
	}
	watch(func() error { return l.Rewatch(a, 3, true) })
	if k := await(t, got); k != 3 {
		t.Errorf("writable: %d", k)
	}
	watch(func() error { return l.Rewatch(b, 4, false) })
	watch(func() error { return nil }) // behind any event of that
	watch(func() error { return nil })
	if len(got) > 0 {
		t.Errorf("writable: %d", <-got)
	}
}

// Who asks for another go gets it at once, from a loop that has nothing else to do; then the loop rests.
func TestAgainDoesNotWait(t *testing.T) {
	got := make(chan bool, 1)
	n := 0
	var l *Loop
	l = start(t, &recorder{ready: func(k Key, ev Events) {
		if n++; n < 5 {
			l.Again(k)
			return
		}
		got <- ev == Again
	}})
	ran := make(chan bool)
	l.Post(func() { close(ran) })
	await(t, ran)
	time.Sleep(20 * time.Millisecond) // it waits, whatever woke it before
	l.Post(func() { l.Again(1) })
	if !await(t, got) {
		t.Error("a go came as an event")
	}
	time.Sleep(20 * time.Millisecond)
	before := l.Turns()
	time.Sleep(50 * time.Millisecond)
	if turns := l.Turns() - before; turns > 1 {
		t.Errorf("%d turns without anything to do", turns)
	}
	if before == 0 {
		t.Error("turns are not counted")
	}
}

// A timer that is set while another is due does not hold that up.
func TestTimerIsNotHeldUpByTheNext(t *testing.T) {
	a, b := pair(t)
	got := make(chan Key, 2)
	var l *Loop
	l = start(t, &recorder{expired: func(k Key) { got <- k }, ready: func(Key, Events) { l.After(300*time.Millisecond, 2) }})
	l.Post(func() {
		l.After(10*time.Millisecond, 1)
		if err := l.Watch(a, 7, false); err != nil {
			t.Error(err)
		}
		Write(b, []byte("x"))
		time.Sleep(50 * time.Millisecond) // the turn takes so long
	})
	for _, want := range []Key{1, 2} {
		if k := await(t, got); k != want {
			t.Errorf("timer %d, want %d", k, want)
		}
	}
}

// How long to wait is reckoned from the time that it is, not from when the turn began.
func TestWaitIsReckonedFromNow(t *testing.T) {
	l, err := New(&recorder{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.start = l.start.Add(-time.Hour)
	if d := l.lately(); d != 0 {
		t.Errorf("without a timer the clock was looked at: %v", d)
	}
	began := l.Now()
	l.After(time.Second, 1)
	time.Sleep(time.Millisecond)
	if l.lately() <= began {
		t.Error("time stands still")
	}
}

// A handler that panics when it is told of a panic costs what it had to give back, not the loop.
func TestPanicInTheReportOfAPanic(t *testing.T) {
	l, err := New(panicky{})
	if err != nil {
		t.Fatal(err)
	}
	l.Post(func() { panic("one") })
	ran := false
	l.Post(func() { ran = true })
	l.Stop()
	l.Run()
	if !ran || l.Panics() != 2 {
		t.Errorf("the rest ran: %v; %d panics", ran, l.Panics())
	}
}

type panicky struct{ Handler }

func (panicky) Panicked(Key, any, []byte) { panic("another") }
func (panicky) TurnOver()                 {}

// What a posted function holds is not held longer than it runs.
func TestPostedWorkIsForgotten(t *testing.T) {
	l := start(t, &recorder{})
	held := new([1 << 10]byte)
	freed := make(chan bool)
	runtime.AddCleanup(held, func(int) { close(freed) }, 0)
	ran := make(chan bool)
	l.Post(func() { held[0]++; close(ran) })
	await(t, ran)
	held = nil
	for end := time.Now().Add(patience); ; {
		runtime.GC()
		select {
		case <-freed:
			return
		default:
		}
		if time.Now().After(end) {
			t.Fatal("it is held")
		}
		done := make(chan bool)
		l.Post(func() { close(done) })
		await(t, done)
	}
}

// What panics when a turn is over is no fault of who came last in it.
func TestPanicAtTheEndOfATurn(t *testing.T) {
	end := false
	r := &recorder{turnOver: func() {
		if end {
			end = false
			panic("on purpose")
		}
	}, expired: func(Key) { end = true }}
	l := start(t, r)
	l.Post(func() { l.After(time.Millisecond, 7) })
	if k := await(t, r.panicked); k != 0 {
		t.Errorf("panic under %d", k)
	}
}
