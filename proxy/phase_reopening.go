package proxy

import (
	"bytes"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/proxy/wire"
)

// reopening gives a session that is not registered an entirely new stream: what the client has said is said again, and answers that it has already are
// swallowed (answerMatcher).
type reopening struct{ late }

// reopenTime bounds what reopening takes when the caller has more patience: connects and all answers.
const reopenTime = 15 * time.Second

// reopenQuiet is how long an ircd that owes only answers which it need not give again may say nothing: then it will not give them.
const reopenQuiet = time.Second

// reopenStep is where a session in StateReopening is.
type reopenStep uint8

const (
	reopenDialling reopenStep = iota // also the TLS handshake
	reopenAsked                      // OPEN was written
	reopenMatching                   // the client's lines were written, their answers come
	reopenResting                    // until the next try
)

// whyNotReopened: a session that its client or its ircd was ending anyway is not one that the move has closed.
func (s *session) whyNotReopened() backend.Cause {
	if s.saidError() || s.client.Gone() || s.client.Ending() || s.client.Ended() {
		return backend.CauseGone
	}
	return backend.CauseRegistration
}

func (s *session) cannotReopen() {
	s.end(ReasonMoveRegistration, "The server is being replaced, please reconnect")
}

// reopenFailed ends a session that cannot be opened anew.
func (s *session) reopenFailed() {
	s.took(backend.Moved{Cause: s.whyNotReopened()})
	s.cannotReopen()
}

// reopen takes the old stream away. The whole lines that wait are in the transcript, too; the half line stays.
func (s *session) reopen(to *peer) {
	s.dropAttached()
	s.dropBackend()
	s.freshSlot()
	q := &s.slot().ToBackend
	s.w.shard.Consume(q, q.Whole())
	s.setPeer(to)
	s.enter(StateReopening)
	s.reg.since = s.w.loop.Now()
	s.reopenDial()
}

func (s *session) reopenDial() {
	o, err := s.peer.b.Open(s.facts())
	if err != nil {
		s.reopenRetry()
		return
	}
	s.reg.stream, s.reg.step = o, reopenDialling
	s.dial()
}

// reopenRetry tries again in a moment, within reopenTime.
func (s *session) reopenRetry() {
	r, to := s.reg, s.peer
	if s.w.loop.Now()-r.since >= reopenTime {
		s.reopenFailed()
		return
	}
	s.dropBackend()
	s.keepPlace()
	s.setPeer(to)
	s.freshSlot()
	r.first.Reset()
	r.step = reopenResting
	s.within(attachRetry)
}

func (reopening) connected(s *session, errno unix.Errno) { s.dialed(errno) }

func (reopening) timeOver(s *session) {
	switch s.reg.step {
	case reopenResting:
		s.reopenDial()
	case reopenMatching:
		if s.reg.match.bound() {
			s.reopenFailed()
			return
		}
		s.reopenDone()
	default:
		s.reopenRetry()
	}
}

func (s *session) reopenConnected() {
	if !s.reg.stream.Native {
		s.reopenSay(nil)
		return
	}
	s.reg.step = reopenAsked
	s.within(openTime)
}

func (reopening) backendRoom(*session) int { return anyRoom }

// fromBackend takes what the new ircd says: OPENED, and then the answers that the client has from the old one.
func (reopening) fromBackend(s *session, p []byte) {
	r := s.reg
	if r.step == reopenMatching {
		s.slot().BackendOut += uint64(len(p))
		s.reopenAnswers(p)
		return
	}
	line, rest := r.first.Next(p, maxFirstLine)
	if line == nil {
		if r.first.Len() >= maxFirstLine {
			s.reopenFailed()
		}
		return
	}
	switch code := answerCode(line, "OPENED", s.id(), r.stream.Proof); code {
	default:
		s.peer.b.OpenRefused(code)
		s.reopenRetry()
	case "":
		s.slot().Flags |= wire.BackendStripped
		s.reopenSay(bytes.Clone(rest))
	}
}

func (reopening) backendEnded(s *session) {
	s.openingLost()
}

// reopenSay writes the client's lines. They are 8 KiB at most, the socket's buffer is larger.
func (s *session) reopenSay(rest []byte) {
	r := s.reg
	s.peer.b.DialOK()
	s.slot().BackendIn, s.slot().BackendOut = 0, uint64(len(rest))
	if !s.backend.Tell(s.w.legs, r.talk.lines) {
		s.reopenRetry()
		return
	}
	s.slot().BackendIn = uint64(len(r.talk.lines))
	s.slot().ErrorAt = 0
	r.match.wipe()
	r.step, r.match = reopenMatching, r.talk.matcher()
	s.reopenAnswers(rest)
}

// reopenAnswers compares; behind the last answer the session goes on as if nothing had been.
func (s *session) reopenAnswers(p []byte) {
	r := s.reg
	end := r.since + reopenTime
	switch same := r.match.feed(p); {
	case !same:
		s.reopenFailed()
	case r.match.done():
		s.reopenDone()
	case r.match.bound():
		s.until(end)
	default:
		s.until(min(end, s.w.loop.Now()+reopenQuiet))
	}
}

func (s *session) reopenDone() {
	r := s.reg
	rest := r.match.end()
	s.slot().BackendOut -= uint64(len(rest)) // counted again where it is passed on
	s.baseline(len(rest))
	r.talk.answers = append(r.talk.answers[:0], r.match.got...)
	r.match.shown = nil // the registration may be over with it
	defer clear(rest)
	s.registrationTime()
	s.carryOn()
	if len(rest) > 0 {
		s.phase().fromBackend(s, rest)
	}
}
