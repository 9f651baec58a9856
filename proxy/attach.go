package proxy

import (
	"context"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/proxy/leg"
	"github.com/ircferry/ircferry/proxy/lines"
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
	leg.Leg
	state    attachState
	to       *attachTo
	deadline time.Duration
	first    lines.Gather // the answer to ATTACH, and then LIVE
	proof    string       // that the answer must have, if not ""
}

// attachTo is a backend.AttachTo for all sessions of a batch, with the batch for its count of streams under way.
type attachTo struct {
	backend.AttachTo
	batch *batch
}

// Attach dials a new stream for each session, beside its old one.
func (p *Proxy) Attach(ctx context.Context, us []string, to backend.AttachTo) []backend.Moved {
	return p.step(ctx, us, step{
		begin:  func(b *batch, s *session) { b.queue = append(b.queue, s.id()) },
		behind: func(w *worker, b *batch) { w.attachMore(b, &attachTo{to, b}) },
		late:   backend.CauseTimeout,
		giveUp: (*session).dropAttached,
	})
}

// Detach closes the attached streams of these sessions.
func (p *Proxy) Detach(us []string) {
	p.step(context.Background(), us, step{late: backend.CauseGone, begin: func(b *batch, s *session) {
		s.dropAttached()
		if s.relays() {
			s.endMove()
		}
		b.answer(backend.Moved{U: s.id()})
	}})
}

// attachMore begins as many attaches as may be under way.
func (w *worker) attachMore(b *batch, to *attachTo) {
	most := max(1, attachTogether/len(w.p.workers))
	for b.flying < most && len(b.queue) > 0 {
		u := b.queue[0]
		b.queue = b.queue[1:]
		s := w.find(u)
		if s == nil || !s.relays() && !s.held() {
			b.answer(backend.Moved{U: u, Cause: backend.CauseGone})
			continue
		}
		a := &s.move().attached
		if a.state == attachAttached && a.to.Tx == to.Tx {
			b.answer(backend.Moved{U: u})
			continue
		}
		s.dropAttached()
		a.to = to
		b.wait(s)
		b.flying++
		s.attachDial()
	}
}

// attachDone ends a session's attach and lets the next one begin.
func (s *session) attachDone(cause backend.Cause) {
	a := &s.mv.attached
	to := a.to
	a.deadline = 0
	if s.mv.batch == nil || s.mv.batch != to.batch {
		return
	}
	s.w.attachFreed(to)
	s.took(backend.Moved{Cause: cause})
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

func (s *session) attachDial() {
	a := &s.mv.attached
	fd, errno := s.socket(backend.Opening{Addr: a.to.Stream, Native: true})
	if errno == 0 {
		errno = a.Connect(s.w.legs, fd, a.to.Stream, s.key(portAttached))
	}
	switch errno {
	case 0:
		s.attachConnected()
	case unix.EINPROGRESS:
		a.state = attachDialling
		s.attachWithin(attachTry)
	default:
		s.attachRest()
	}
}

func (s *session) attachWithin(d time.Duration) {
	s.mv.attached.deadline = s.w.loop.Now() + d
	s.w.loop.After(d, s.key(portAttached))
}

// attachRest waits a moment before the next try; the batch's time ends the tries.
func (s *session) attachRest() {
	s.closeAttached()
	s.mv.attached.state = attachResting
	s.attachWithin(attachRetry)
}

// attachedTimer is called for timers under portAttached.
func (s *session) attachedTimer() {
	if s.mv == nil {
		return
	}
	a := &s.mv.attached
	if a.deadline == 0 || a.deadline > s.w.loop.Now() {
		return
	}
	a.deadline = 0
	switch a.state {
	case attachResting:
		s.attachDial()
	case attachDialling, attachAsked:
		s.attachRest()
	}
}

func (s *session) attachedEvent(ev loop.Events) {
	if s.mv == nil || !s.mv.attached.IsOpen() {
		return
	}
	a := &s.mv.attached
	if a.Connecting() {
		if a.Decided(ev) != 0 {
			s.attachRest()
			return
		}
		s.attachConnected()
	}
	a.Event(ev)
	switch {
	case a.state == attachAsked:
		s.attachAnswered()
	case a.state == attachAttached && a.Ending():
		s.closeAttached()
		a.state = attachLost
	}
}

func (s *session) attachConnected() {
	a := &s.mv.attached
	line, proof := a.to.Line(s.id())
	a.proof = proof
	if !a.Tell(s.w.legs, line) {
		s.attachRest()
		return
	}
	a.state = attachAsked
	s.attachWithin(attachTry)
}

// attachAnswered reads the answer, a byte past its LF at most never: what follows waits in the kernel for the splice.
func (s *session) attachAnswered() {
	a := &s.mv.attached
	want := len("ATTACHED u=") + len(s.id()) + 1
	if a.proof != "" {
		want += len(" proof=") + len(a.proof)
	}
	for a.More() {
		room := max(want-a.first.Len(), 1)
		if a.first.IsOther('A') {
			room = 1 // a refusal, of any length
		}
		got := a.Read(s.w.legs, room)
		if got.End != leg.NotYet || a.first.Len() >= maxFirstLine {
			s.attachRest()
			return
		}
		line, _ := a.first.Next(got.Data, maxFirstLine)
		switch {
		case line == nil:
		case answerCode(line, "ATTACHED", s.id(), a.proof) == "":
			a.state = attachAttached
			if s.w.shard.Journals() {
				s.slot().AttachedOut = loop.Counts(a.FD()).Out
			}
			s.mark(markAttached, true)
			s.attachDone("")
			return
		default:
			s.closeAttached()
			a.state = attachNone
			s.attachDone(backend.CauseAttach)
			return
		}
	}
}

func (s *session) closeAttached() {
	a := &s.mv.attached
	s.mark(markAttached, false)
	a.Close(s.w.legs)
	a.first.Reset()
	if s.parks() {
		s.keepPlace()
	}
}

// dropAttached closes the stream of a move, if there is one.
func (s *session) dropAttached() {
	if s.mv == nil {
		return
	}
	a := &s.mv.attached
	flying := a.state == attachDialling || a.state == attachAsked || a.state == attachResting
	s.closeAttached()
	a.state = attachNone
	if flying {
		s.w.attachFreed(a.to)
	}
}
