// SPDX-License-Identifier: MIT

package irc

import (
	"context"
	"sync"
)

// handoffWorld is how a server of thousands of goroutines stands still. A goroutine is in the world while it does anything that a
// client could notice: from a line read to the next read, in a timer, in a rehash. Outside it reads, sleeps in fakelag, or waits to come in.
// It must not enter twice: with a stop between the two it would wait for itself.
type handoffWorld struct {
	mu      sync.Mutex
	changed sync.Cond
	inside  int
	stopped bool
}

var theWorld = newHandoffWorld()

func newHandoffWorld() *handoffWorld {
	w := &handoffWorld{}
	w.changed.L = &w.mu
	return w
}

// enter waits while the world stands still.
func (w *handoffWorld) enter() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.stopped {
		w.changed.Wait()
	}
	w.inside++
}

func (w *handoffWorld) leave() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.inside--; w.inside == 0 && w.stopped {
		w.changed.Broadcast()
	}
}

// stop returns true when nobody is inside and nobody comes in until start. False: not before ctx was over, and the world goes on.
func (w *handoffWorld) stop(ctx context.Context) bool {
	defer context.AfterFunc(ctx, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.changed.Broadcast()
	})()
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.stopped && ctx.Err() == nil { // another one has it
		w.changed.Wait()
	}
	if w.stopped {
		return false
	}
	w.stopped = true
	for w.inside > 0 && ctx.Err() == nil {
		w.changed.Wait()
	}
	if w.inside == 0 {
		return true
	}
	w.stopped = false
	w.changed.Broadcast()
	return false
}

func (w *handoffWorld) start() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = false
	w.changed.Broadcast()
}

// stop stops the world. A goroutine that writes to a client who does not read would be in it forever: from now on such writes end at
// once, and what the sockets have not taken waits in the streams.
func (h *handoffEnd) stop(ctx context.Context) bool {
	streams := h.allStreams()
	for _, c := range streams {
		c.hold()
	}
	if theWorld.stop(ctx) {
		return true
	}
	letGo(streams)
	return false
}

// start lets the world go on.
func (h *handoffEnd) start() {
	letGo(h.allStreams())
	theWorld.start()
}

func letGo(streams []*handoffConn) {
	for _, c := range streams {
		c.letGo()
	}
}

func (h *handoffEnd) allStreams() []*handoffConn {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]*handoffConn, 0, len(h.streams))
	for _, c := range h.streams {
		all = append(all, c)
	}
	return all
}
