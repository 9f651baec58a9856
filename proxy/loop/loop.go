package loop

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Loop is one event loop. See the package comment for who may call what.
type Loop struct {
	handler Handler
	poll    *epoll
	timers  wheel
	start   time.Time
	now     time.Duration // since start; read once a turn
	fresh   bool          // now is of this turn

	// Where the turn is, so that it goes on after a panic.
	events, event int
	again, going  []Key
	goes          int
	work          []func()
	done          int
	current       Key
	yield         int // turns since the last one through the scheduler

	mu        sync.Mutex
	posted    []func()
	signalled bool // the eventfd was written since posted was last taken
	stopping  bool

	turns   atomic.Uint64
	panics  atomic.Uint64
	stopped chan struct{}
}

// New makes a loop that calls h. Run starts it.
func New(h Handler) (*Loop, error) {
	poll, err := newEpoll()
	if err != nil {
		return nil, err
	}
	return &Loop{handler: h, poll: poll, start: time.Now(), stopped: make(chan struct{})}, nil
}

// Run turns the loop on the calling goroutine until Stop. Work that was posted before Stop is done.
func (l *Loop) Run() {
	defer close(l.stopped)
	defer l.poll.close()
	for !l.turnUntilPanic() {
	}
}

// SetNow has the loop's time go on from now, as that of a loop in another process did. Before Run and before any timer.
func (l *Loop) SetNow(now time.Duration) { l.start = time.Now().Add(-now) }

// Close gives the descriptors of a loop back that was never run.
func (l *Loop) Close() { l.poll.close() }

// turnUntilPanic turns until the loop is to stop (true) or something panicked (false: call it again, it goes on behind that).
func (l *Loop) turnUntilPanic() (stop bool) {
	defer func() {
		if v := recover(); v != nil {
			l.panics.Add(1)
			l.report(v, debug.Stack())
		}
	}()
	for {
		l.deliver()
		if l.stopNow() {
			return true
		}
		l.turns.Add(1)
		l.wait()
	}
}

func (l *Loop) report(v any, stack []byte) {
	defer func() {
		if recover() != nil {
			l.panics.Add(1) // a handler that cannot even close: the descriptor is lost, the loop is not
		}
	}()
	l.handler.Panicked(l.current, v, stack)
}

// yieldEvery is after how many turns the loop goes once through the Go scheduler. A goroutine that never does looks stuck to the
// runtime's monitor after 10 ms: it takes its processor away in the middle of a wait, sends its thread a signal, and then looks every
// 20 us for a while; under a steady trickle of lines that was 7 % of the CPU time.
const yieldEvery = 16

func (l *Loop) wait() {
	if l.yield++; l.yield == yieldEvery {
		l.yield = 0
		runtime.Gosched()
	}
	d := l.timers.until(l.lately())
	if len(l.again) > 0 {
		d = 0
	}
	n, errno := l.poll.wait(d)
	if errno != 0 {
		n = 0
		if errno != unix.EINTR {
			panic(fmt.Sprintf("epoll wait: %v", errno))
		}
	}
	l.events, l.event, l.fresh = n, 0, false
}

// deliver hands out what the last wait brought; after a panic it goes on where it was.
func (l *Loop) deliver() {
	for l.event < l.events {
		ev := &l.poll.events[l.event]
		l.event++
		if l.current = keyOf(ev); l.current == wakeKey {
			l.poll.woken()
			continue
		}
		l.handler.Ready(l.current, Events(ev.Events))
	}
	l.goOn()
	l.expire()
	l.runPosted()
	l.current = 0
	l.handler.TurnOver()
}

// goOn gives those who asked their next go; who asks again meanwhile waits for the next turn.
func (l *Loop) goOn() {
	if l.goes == len(l.going) {
		if len(l.again) == 0 {
			return
		}
		l.going, l.again, l.goes = l.again, l.going[:0], 0
	}
	for l.goes < len(l.going) {
		l.current = l.going[l.goes]
		l.goes++
		l.handler.Ready(l.current, Again)
	}
}

func (l *Loop) expire() {
	if l.timers.idle() {
		return // without a look at the clock
	}
	for {
		k, ok := l.timers.expired(l.Now())
		if !ok {
			return
		}
		l.current = k
		l.handler.Expired(k)
	}
}

func (l *Loop) runPosted() {
	if l.done == len(l.work) {
		l.mu.Lock()
		l.work, l.posted, l.done = l.posted, l.work[:0], 0
		l.signalled = false
		l.mu.Unlock()
	}
	for l.done < len(l.work) {
		f := l.work[l.done]
		l.work[l.done] = nil
		l.done++
		l.current = 0
		f()
	}
}

// Current is the key under which something is handed out now, 0 for posted work. Only for the loop's goroutine.
func (l *Loop) Current() Key { return l.current }

// Guard runs f as if it were handed out under k: a panic in it is caught, counted and told to the handler with k, and who called goes on. It
// answers whether f came to its end. Only for the loop's goroutine, in posted work that is about several keys.
func (l *Loop) Guard(k Key, f func()) (done bool) {
	outer := l.current
	defer func() {
		if v := recover(); v != nil {
			l.panics.Add(1)
			l.report(v, debug.Stack())
		}
		l.current = outer
	}()
	l.current = k
	f()
	return true
}

func (l *Loop) stopNow() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stopping && len(l.posted) == 0
}

// Post has f run on the loop's goroutine, in the order of the posts. Any goroutine may call it. It answers false, and f is not
// run, once the loop is to stop.
func (l *Loop) Post(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopping {
		return false
	}
	l.posted = append(l.posted, f)
	l.signal()
	return true
}

// Stop ends Run behind the work that was posted before. Any goroutine may call it, more than once.
func (l *Loop) Stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.stopping {
		l.stopping = true
		l.signal()
	}
}

// signal wakes the loop up. It is called with mu held, so the eventfd is not closed under it: Run ends by way of stopNow.
func (l *Loop) signal() {
	if !l.signalled {
		l.signalled = true
		l.poll.wake()
	}
}

// Done is closed when Run has returned.
func (l *Loop) Done() <-chan struct{} { return l.stopped }

// Turns counts turns, Panics caught panics; any goroutine may ask.
func (l *Loop) Turns() uint64  { return l.turns.Load() }
func (l *Loop) Panics() uint64 { return l.panics.Load() }

// Now is the loop's time: monotonic, since the loop was made, the same during one turn. Only for the loop's goroutine.
func (l *Loop) Now() time.Duration {
	if !l.fresh {
		l.now, l.fresh = time.Since(l.start), true
	}
	return l.now
}

// lately is a time for reckoning how long to wait: exact if there are timers, free of charge otherwise.
func (l *Loop) lately() time.Duration {
	if l.timers.count == 0 {
		return l.now
	}
	return time.Since(l.start)
}

// After has the handler's Expired called with k, d or up to a Tick more from now. Only for the loop's goroutine.
func (l *Loop) After(d time.Duration, k Key) {
	now := l.Now()
	l.timers.add(now, now+d, k)
}

// Again has the handler's Ready called with k in the next turn, which then does not wait. Only for the loop's goroutine.
func (l *Loop) Again(k Key) { l.again = append(l.again, k) }

// Watch reports events of fd under k from now on, Writable only if writes; an edge for what is so already comes at once.
func (l *Loop) Watch(fd int, k Key, writes bool) error {
	events := uint32(toRead)
	if writes {
		events = toWrite
	}
	if errno := l.poll.control(unix.EPOLL_CTL_ADD, fd, events, k); errno != 0 {
		return fmt.Errorf("watch descriptor: %w", errno)
	}
	return nil
}

// WatchLevel reports Readable of fd as long as it lasts: for listening sockets.
func (l *Loop) WatchLevel(fd int, k Key) error {
	if errno := l.poll.control(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN, k); errno != 0 {
		return fmt.Errorf("watch listening socket: %w", errno)
	}
	return nil
}

// Rewatch is Watch for a descriptor that is watched already: later events come under k, and if writes also Writable. What is so
// already is reported again.
func (l *Loop) Rewatch(fd int, k Key, writes bool) error {
	events := uint32(toRead)
	if writes {
		events = toWrite
	}
	if errno := l.poll.control(unix.EPOLL_CTL_MOD, fd, events, k); errno != 0 {
		return fmt.Errorf("watch descriptor: %w", errno)
	}
	return nil
}

// Unwatch ends the reports of fd. Always before it is closed: duplicates may live elsewhere, and epoll knows the open file, not the
// descriptor.
func (l *Loop) Unwatch(fd int) { l.poll.control(unix.EPOLL_CTL_DEL, fd, 0, 0) }
