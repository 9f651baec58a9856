package admin

import (
	"fmt"
	"net"
)

// What another process takes over of the operator's doors.

// Inherit is Listen for the socket of a process before this one, which is bound at path.
func Inherit(l *net.UnixListener, path string) (net.Listener, error) {
	if at := l.Addr().String(); at != path {
		l.Close()
		return nil, fmt.Errorf("admin socket %s: the one that came along is %s", path, at)
	}
	return ownSocket(l, path)
}

// Leave has a listener of Listen or Inherit leave its socket file alone when it is closed: another process listens there.
func Leave(l net.Listener) {
	if own, ok := l.(*listener); ok {
		own.left.Store(true)
	}
}

// Kept is the newest events and the number of the next one, for a successor.
type Kept struct {
	Events []Event `json:"events"`
	Next   uint64  `json:"next"`
}

// Keep answers them.
func (e *Events) Keep() Kept {
	events, _, _ := e.since(0, len(e.ring))
	e.mu.Lock()
	defer e.mu.Unlock()
	return Kept{Events: events, Next: e.next}
}

// Resume puts events of a process before this one in the place of all that there are. Nobody reads yet.
func (e *Events) Resume(k Kept) {
	e.mu.Lock()
	defer e.mu.Unlock()
	clear(e.ring)
	for _, ev := range k.Events {
		e.ring[ev.Seq%uint64(len(e.ring))] = ev
	}
	e.next = max(k.Next, 1)
}
