package proxy

import (
	"context"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/proxy/loop"
)

const (
	// attachTogether is how many streams are dialled at once, over all loops.
	attachTogether = 64
	// attachTry is how long one try may take, attachRetry the rest between two.
	attachTry   = 5 * time.Second
	attachRetry = 50 * time.Millisecond
)

// attachState is where the stream of a move is, beside the one in use.
//
//	none -> dialling -> asked -> attached -> (splice) none
//	  ^        |          |         |
//	  |     resting <-----+       lost -> (attach) dialling
//	  +------- (detach, thaw, end) -+
type attachState uint8

const (
	attachNone     attachState = iota
	attachDialling             // connect under way
	attachAsked                // ATTACH was written
	attachResting              // until the next try
	attachAttached             // ATTACHED was read; nothing more is read before the splice
	attachLost                 // it ended before the splice
)

// attached is the stream of a move. Its timers and events come under portAttached.
type attached struct {
	fd       int32
	state    attachState
	to       *attachTo
	deadline time.Duration
	first    []byte // beginning of the answer
}

// attachTo is a backend.AttachTo for all sessions of a batch, with the batch for its count of streams under way.
type attachTo struct {
	backend.AttachTo
	batch *batch
}

// Attach dials a new stream for each session, beside its old one.
func (p *Proxy) Attach(ctx context.Context, us []string, to backend.AttachTo) []backend.Moved {
	return p.step(ctx, us, backend.CauseTimeout, func(w *worker, b *batch, us []string) {
		b.queue = us
		w.attachMore(b, &attachTo{to, b})
	}, func(w *worker, s *session) { w.dropAttached(s) })
}

// Detach closes the attached streams of these sessions.
func (p *Proxy) Detach(us []string) {
	p.step(context.Background(), us, backend.CauseGone, func(w *worker, b *batch, us []string) {
		for _, u := range us {
			if s := w.find(u); s != nil {
				w.dropAttached(s)
				if s.state == StateRelay {
					w.endMove(s)
				}
			}
			b.add(backend.Moved{U: u})
		}
	}, nil)
}

// attachMore begins as many attaches as may be under way.
func (w *worker) attachMore(b *batch, to *attachTo) {
	most := max(1, attachTogether/len(w.p.workers))
	for b.flying < most && len(b.queue) > 0 {
		u := b.queue[0]
		b.queue = b.queue[1:]
		s := w.find(u)
		if s == nil || s.state != StateRelay && s.state != StateFrozen && s.state != StateParked {
			b.add(backend.Moved{U: u, Cause: backend.CauseGone})
			continue
		}
		a := &s.move().attached
		if a.state == attachAttached && a.to.Tx == to.Tx {
			b.add(backend.Moved{U: u})
			continue
		}
		w.dropAttached(s)
		a.to = to
		b.wait(s)
		b.flying++
		w.attachDial(s)
	}
}

// attachDone ends a session's attach and lets the next one begin.
func (w *worker) attachDone(s *session, cause backend.Cause) {
	a := &s.mv.attached
	to := a.to
	a.deadline = 0
	if s.mv.batch == nil || s.mv.batch != to.batch {
		return
	}
	w.attachFreed(to)
	w.took(s, backend.Moved{Cause: cause})
}

func (w *worker) attachFreed(to *attachTo) {
	if b := to.batch; b.flying > 0 {
		b.flying--
		// In a later turn: this may be called in the middle of what attachMore does.
		w.loop.Post(func() {
			if b.done != nil {
				w.attachMore(b, to)
				b.check()
			}
		})
	}
}

func (w *worker) attachDial(s *session) {
	a := &s.mv.attached
	fd, errno := w.socketTo(backend.Opening{Addr: a.to.Stream, Native: true})
	if errno != 0 {
		w.attachRest(s)
		return
	}
	a.fd = int32(fd)
	errno = loop.Connect(fd, a.to.Stream)
	if errno != 0 && errno != unix.EINPROGRESS {
		loop.Close(fd)
		a.fd = -1
		w.attachRest(s)
		return
	}
	a.state = attachDialling
	if err := w.loop.Watch(fd, s.key(portAttached), true); err != nil {
		w.attachRest(s)
		return
	}
	w.attachWithin(s, attachTry)
}

func (w *worker) attachWithin(s *session, d time.Duration) {
	s.mv.attached.deadline = w.loop.Now() + d
	w.loop.After(d, s.key(portAttached))
}

// attachRest waits a moment before the next try; the batch's time ends the tries.
func (w *worker) attachRest(s *session) {
	a := &s.mv.attached
	w.closeAttached(s)
	a.state = attachResting
	w.attachWithin(s, attachRetry)
}

// attachedTimer is called for timers under portAttached.
func (w *worker) attachedTimer(s *session) {
	if s.mv == nil {
		return
	}
	a := &s.mv.attached
	if a.deadline == 0 || a.deadline > w.loop.Now() {
		return
	}
	a.deadline = 0
	switch a.state {
	case attachResting:
		w.attachDial(s)
	case attachDialling, attachAsked:
		w.attachRest(s)
	}
}

func (w *worker) attachedEvent(s *session, ev loop.Events) {
	if s.mv == nil || s.mv.attached.fd < 0 {
		return
	}
	a := &s.mv.attached
	switch a.state {
	case attachDialling:
		w.attachConnected(s)
	case attachAsked:
		w.attachAnswered(s)
	case attachAttached:
		if ev&(loop.PeerEnded|loop.Broken|loop.HangUp) != 0 {
			w.closeAttached(s)
			a.state = attachLost
		}
	}
}

func (w *worker) attachConnected(s *session) {
	a := &s.mv.attached
	if errno := loop.SocketError(int(a.fd)); errno != 0 {
		w.attachRest(s)
		return
	}
	line := []byte("ATTACH k=" + a.to.SKey + " tx=" + a.to.Tx + " u=" + w.id(s) + " tok=" + a.to.Tok + "\n")
	n, errno := loop.Write(int(a.fd), line)
	if errno == unix.EAGAIN || errno == unix.ENOTCONN {
		return // not connected yet
	}
	if n < len(line) {
		w.attachRest(s)
		return
	}
	a.state = attachAsked
	w.attachAnswered(s)
}

// attachAnswered reads the answer, a byte past its LF at most never: what follows waits in the kernel for the splice.
func (w *worker) attachAnswered(s *session) {
	a := &s.mv.attached
	want := "ATTACHED u=" + w.id(s)
	for {
		room := len(want) + 1 - len(a.first)
		if len(a.first) > 0 && a.first[0] == 'E' || room <= 0 {
			room = 1
		}
		buf := w.shard.Staging()[:room]
		n, errno := loop.Read(int(a.fd), buf)
		switch {
		case errno == unix.EAGAIN:
			return
		case errno != 0 || n == 0 || len(a.first) > maxFirstLine:
			w.attachRest(s)
			return
		}
		a.first = append(a.first, buf[:n]...)
		if a.first[len(a.first)-1] != '\n' {
			continue
		}
		ok := isAnswer(a.first, "ATTACHED", w.id(s))
		a.first = nil
		if !ok {
			w.closeAttached(s)
			a.state = attachNone
			w.attachDone(s, backend.CauseAttach)
			return
		}
		a.state = attachAttached
		w.attachDone(s, "")
		return
	}
}

func (w *worker) closeAttached(s *session) {
	a := &s.mv.attached
	if a.fd >= 0 {
		w.loop.Unwatch(int(a.fd))
		loop.Close(int(a.fd))
		a.fd = -1
	}
	a.first, a.deadline = nil, 0
}

// dropAttached closes the stream of a move, if there is one.
func (w *worker) dropAttached(s *session) {
	if s.mv == nil {
		return
	}
	a := &s.mv.attached
	flying := a.state == attachDialling || a.state == attachAsked || a.state == attachResting
	w.closeAttached(s)
	a.state = attachNone
	if flying {
		w.attachFreed(a.to)
	}
}
