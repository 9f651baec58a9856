package handoff

import (
	"context"
	"sync"
	"time"
)

// grace is what a call whose context is over has to say how far it came.
const grace = 200 * time.Millisecond

// within runs f beside the caller, who waits for its answer until ctx is over: a disk or a proxy that hangs must hold nobody.
func within[T any](ctx context.Context, f func() T) (T, error) {
	answer := make(chan T, 1)
	go func() { answer <- f() }()
	select {
	case v := <-answer:
		return v, nil
	case <-ctx.Done():
	}
	select {
	case v := <-answer:
		return v, nil
	case <-time.After(grace):
	}
	var none T
	return none, context.Cause(ctx)
}

// briefly is within for what takes a moment, and is not worth more than d of anybody's time. False: it was not done in time. f is then still under way,
// and must not write what the caller reads: see soon.
func briefly(d time.Duration, f func()) bool {
	_, inTime := soon(d, func() struct{} { f(); return struct{}{} })
	return inTime
}

// soon is briefly for what has one.
func soon[T any](d time.Duration, f func() T) (got T, inTime bool) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	got, err := within(ctx, f)
	return got, err == nil
}

// disk does one thing after the other beside who asks for it, so that the order is kept and nobody has to wait.
type disk struct {
	mu      sync.Mutex
	queue   []func()
	running bool
}

func (d *disk) do(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.queue = append(d.queue, f)
	if !d.running {
		d.running = true
		go d.run()
	}
}

func (d *disk) run() {
	for {
		d.mu.Lock()
		if len(d.queue) == 0 {
			d.running = false
			d.mu.Unlock()
			return
		}
		f := d.queue[0]
		d.queue = d.queue[1:]
		d.mu.Unlock()
		f()
	}
}
