package proxy

import (
	"context"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/proxy/loop"
	"github.com/ircferry/ircferry/proxy/wire"
)

// reopenTime bounds what reopening takes when the caller has more patience: connects and all answers.
const reopenTime = 15 * time.Second

// reopenPhase is where a session in StateReopening is.
type reopenPhase uint8

const (
	reopenDialling reopenPhase = iota
	reopenAsked                // OPEN was written
	reopenMatching             // the client's lines were written, their answers come
	reopenResting              // until the next try
)

// Reopen gives sessions that are not registered an entirely new stream.
func (p *Proxy) Reopen(ctx context.Context, us []string, to string) []backend.Moved {
	dest, ok := p.backends.Backend(to)
	return p.step(ctx, us, backend.CauseRegistration, func(w *worker, b *batch, us []string) {
		for _, u := range us {
			s := w.find(u)
			switch {
			case s == nil || s.state != StateFrozen && s.state != StateParked:
				b.add(backend.Moved{U: u, Cause: backend.CauseGone})
			case !ok || s.reg == nil || s.registered() || s.has(midLine) || !s.reg.talk.reopenable():
				b.add(backend.Moved{U: u, Cause: s.whyNotReopened()})
				w.cannotReopen(s)
			default:
				b.wait(s)
				w.reopen(s, w.peerOf(dest))
			}
		}
	}, func(w *worker, s *session) { w.cannotReopen(s) })
}

// whyNotReopened: a session that its client or its ircd was ending anyway is not one that the move has closed.
func (s *session) whyNotReopened() backend.Cause {
	if s.saidError() || s.has(clientGone|clientEnding) || s.slot.Flags.Has(wire.ClientFINSeen) {
		return backend.CauseGone
	}
	return backend.CauseRegistration
}

func (w *worker) cannotReopen(s *session) {
	w.end(s, ReasonMoveRegistration, "The server is being replaced, please reconnect")
}

// reopenFailed ends a session that cannot be opened anew.
func (w *worker) reopenFailed(s *session) {
	w.took(s, backend.Moved{Cause: s.whyNotReopened()})
	w.cannotReopen(s)
}

// reopen takes the old stream away. What the client has said is in the transcript, also what waits in the queue.
func (w *worker) reopen(s *session, to *peer) {
	w.dropAttached(s)
	w.dropBackend(s)
	s.slot.Flags &^= wire.BackendFINSeen | wire.BackendFINSent | wire.BackendStripped
	w.shard.Clear(&s.slot.ToBackend)
	w.setPeer(s, to)
	w.enter(s, StateReopening)
	s.reg.since = w.loop.Now()
	w.reopenDial(s)
}

func (w *worker) reopenDial(s *session) {
	o, err := s.peer.b.Open(w.client(s))
	if err != nil {
		w.reopenRetry(s)
		return
	}
	s.reg.stream = o
	s.reg.dialing, s.reg.phase = true, reopenDialling
	w.dial(s)
}

// reopenRetry tries again in a moment, within reopenTime.
func (w *worker) reopenRetry(s *session) {
	r, to := s.reg, s.peer
	if w.loop.Now()-r.since >= reopenTime {
		w.reopenFailed(s)
		return
	}
	w.dropBackend(s)
	w.setPeer(s, to)
	s.slot.Flags &^= wire.BackendFINSeen | wire.BackendFINSent
	r.dialing, r.first, r.phase = false, nil, reopenResting
	w.within(s, attachRetry)
}

// reopenTimeOver is called for a session in StateReopening.
func (w *worker) reopenTimeOver(s *session) {
	switch s.reg.phase {
	case reopenResting:
		w.reopenDial(s)
	case reopenMatching:
		w.reopenFailed(s)
	default:
		w.reopenRetry(s)
	}
}

func (w *worker) reopenConnected(s *session) {
	s.reg.dialing = false
	if !s.reg.stream.Native {
		w.reopenSay(s, nil)
		return
	}
	s.reg.phase = reopenAsked
	w.within(s, openTime)
}

// reopenBytes takes what the new ircd says: OPENED, and then the answers that the client has from the old one.
func (w *worker) reopenBytes(s *session, p []byte) {
	r := s.reg
	if r.phase == reopenMatching {
		s.slot.BackendOut += uint64(len(p))
		w.reopenAnswers(s, p)
		return
	}
	line, rest, ok := r.firstLine(p)
	switch {
	case !ok && len(r.first) > maxFirstLine:
		w.reopenFailed(s)
	case !ok:
	case !isAnswer(line, "OPENED", w.id(s)):
		s.peer.b.OpenRefused(errorCode(line))
		w.reopenRetry(s)
	default:
		s.slot.Flags |= wire.BackendStripped
		w.reopenSay(s, rest)
	}
}

// reopenSay writes the client's lines. They are 8 KiB at most, the socket's buffer is larger.
func (w *worker) reopenSay(s *session, rest []byte) {
	r := s.reg
	s.peer.b.DialOK()
	n, _ := loop.Write(int(s.backendFD), r.talk.lines)
	if n < len(r.talk.lines) {
		w.reopenRetry(s)
		return
	}
	s.slot.BackendIn, s.slot.BackendOut = uint64(n), uint64(len(rest))
	s.errorAt = 0
	r.phase, r.match = reopenMatching, r.talk.matcher()
	w.until(s, r.since+reopenTime)
	w.reopenAnswers(s, rest)
}

// reopenAnswers compares; behind the last answer the session goes on as if nothing had been.
func (w *worker) reopenAnswers(s *session, p []byte) {
	r := s.reg
	rest, same := r.match.feed(p)
	switch {
	case !same:
		w.reopenFailed(s)
		return
	case !r.match.done():
		return
	}
	if rest = append([]byte(nil), rest...); len(rest) > 0 {
		s.slot.BackendOut -= uint64(len(rest)) // counted again where it is passed on
	}
	w.registrationTime(s)
	w.carryOn(s)
	if len(rest) > 0 && s.state == StateRelay {
		w.fromBackend(s, rest)
	}
}
