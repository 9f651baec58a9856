package proxy

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/proxy/leg"
)

// How a session ends. Whoever ends one only marks it: it is over for everybody from then on, and what it has is given back by the worker at the end of
// the turn (bury), so that no callee takes a session away from its caller.

const (
	// lingerTime is how long a client may take to read its last words and close. Closing at once could reset the connection
	// under them, if it has sent something that we have not read.
	lingerTime = 2 * time.Second

	// leaveTime is how long an ircd may take to end the stream of a client that was reset: it has got a FIN by then, and its QUIT
	// should be known before users are moved.
	leaveTime = 5 * time.Second

	// halfClosedTime bounds a session of which only one side has ended.
	halfClosedTime = 30 * time.Second
)

// noteEnd notes why the session ends, if nothing was noted before: the first cause is the one that counts.
func (s *session) noteEnd(r CloseReason) {
	if s.reason() == reasonNone {
		s.endsFor(r)
	}
}

// fail ends a session for what its client does, or for want of memory: dismissed with an ERROR line. One that a move has stays, so that the move can
// go on with it as with any client that has left.
func (s *session) fail(r CloseReason, text string) {
	if !s.held() {
		s.end(r, text)
		return
	}
	s.noteEnd(r)
	s.lastWords(text)
	s.set(dismissed)
	s.client.NoMore()
	s.linger()
}

// end dismisses the client with an ERROR line and ends the session, also one that a move has: the move is told. What the client has said before
// still reaches the backend, followed by a FIN.
func (s *session) end(r CloseReason, text string) {
	if s.over() || s.has(dismissed) && (s.relays() || s.state == StateClosing) {
		return
	}
	s.leaveMove(backend.CauseGone)
	s.dropAttached()
	if !s.has(dismissed) {
		s.noteEnd(r)
		s.dropRegistration()
		s.lastWords(text)
		s.set(dismissed)
	}
	s.phase().dismiss(s)
	s.linger()
}

// linger gives a dismissed client its time to read and close.
func (s *session) linger() {
	if s.over() {
		return
	}
	s.within(lingerTime)
	if !s.client.IsOpen() || s.client.Deaf() {
		s.closeClient()
		s.checkDone()
		return
	}
	s.flushClient()
	s.client.LookAgain() // input is read and forgotten from here on
	s.again()
}

// refuse is end for clients that were never let in: they are not waited for.
func (s *session) refuse(r CloseReason, text string) {
	s.noteEnd(r)
	s.lastWords(text)
	s.flushClient()
	s.client.ReadAway(s.w.legs)
	s.finish()
}

func (s *session) lineTooLong() { s.fail(ReasonLineTooLong, "Line too long") }

// outOfMemory ends a session that there is no room for: its queue is at its bound, or the arena is full and nobody holds more. There are no last words:
// it does not read them, or they have no room.
func (s *session) outOfMemory(error) { s.cutOff(ReasonMemory) }

// cutOff ends a session at once. One that a move has loses its client only.
func (s *session) cutOff(r CloseReason) {
	s.noteEnd(r)
	if !s.held() {
		s.finish()
		return
	}
	s.set(dismissed)
	s.closeClient()
	s.client.NoMore()
}

// halfClosed bounds the rest of a relaying session of which one side has ended. What goes out slowly first goes out.
func (s *session) halfClosed(d time.Duration) {
	if !s.has(pacing) {
		s.within(d)
	}
}

// checkDone finishes a session that has nothing left to do on either side.
func (s *session) checkDone() {
	switch s.state {
	case StateClosing:
		if s.client.Gone() {
			s.finish()
		}
	case StateRelay:
		if !s.backend.Ended() {
			return
		}
		if s.client.Gone() || s.client.Ended() && !s.has(dismissed) && s.slot().ToClient.Len() == 0 {
			s.finish()
		} else if s.has(dismissed) {
			s.dropBackend()
			s.enter(StateClosing)
			if s.deadline == 0 { // it was frozen meanwhile
				s.within(lingerTime)
			}
		}
	}
}

// finish marks the session as over. It may be called by anybody, at any depth: bury gives back what the session has when the turn is over.
func (s *session) finish() {
	if s.over() {
		return
	}
	null := s.saidNothing()
	s.leaveMove(backend.CauseGone)
	s.dropAttached()
	s.dropRegistration()
	s.noteEnd(ReasonClientClosed)
	if r := s.reason(); null && (r == ReasonClientClosed || r == ReasonClientReset) {
		s.endsFor(ReasonNull)
	}
	s.enter(stateOver)
	s.w.dead = append(s.w.dead, s)
}

// clientEnd takes how the client's direction has ended.
func (s *session) clientEnd(got leg.Got) {
	switch {
	case got.End == leg.Lost:
		s.clientBroken(got.Errno)
	case got.End == leg.Refused:
		s.clientTLSBroken(got.Err)
	case s.has(dismissed):
		s.closeClient()
		s.checkDone()
	case s.client.Deaf():
		s.clientBroken(unix.ECONNRESET)
	default:
		if got.Err != nil {
			s.refusedRecord(got.Err) // in the middle of a record
		}
		s.phase().clientEnded(s)
	}
}

// discardClient reads a dismissed client, whose words do not count any more, for its end.
func (s *session) discardClient() {
	got := s.client.Discard(s.w.legs)
	s.w.counts.bytesIn.Add(uint64(got.Read))
	switch {
	case got.End != leg.NotYet:
		s.closeClient()
		s.checkDone()
	case got.Full:
		s.again()
	}
}

// clientBroken: the client's connection is dead and everything that it said was read.
func (s *session) clientBroken(errno unix.Errno) {
	s.noteEnd(resetOrTimeout(errno))
	s.closeClient()
	s.phase().clientLeft(s)
}

// clientTLSBroken ends a session whose client has sent what is no good record, or an alert. What it said before has gone to the ircd.
func (s *session) clientTLSBroken(err error) {
	s.noteEnd(ReasonTLS)
	s.refusedRecord(err)
	s.client.ReadAway(s.w.legs)
	s.closeClient()
	s.phase().clientLeft(s)
}

func resetOrTimeout(errno unix.Errno) CloseReason {
	switch errno {
	case unix.ETIMEDOUT, unix.EHOSTUNREACH, unix.ENETUNREACH:
		return ReasonClientTimeout
	case unix.ENOMEM:
		return ReasonMemory
	}
	return ReasonClientReset
}

// closeClient closes the client's descriptor.
func (s *session) closeClient() {
	if s.client.IsOpen() {
		s.client.Close(s.w.legs)
	}
}

// backendEnd takes how the backend's direction has ended.
func (s *session) backendEnd(got leg.Got) {
	if got.End == leg.Refused {
		s.endsOfTLS(whyTLS(reasonOfTLS(got.Err)))
	}
	s.phase().backendEnded(s)
}

// passBackendEnd sends the end of our side on to the client, behind the last byte.
func (s *session) passBackendEnd() {
	if s.checkDone(); s.over() {
		return // the close says it
	}
	if s.has(dismissed) || s.relays() && s.backend.Ended() {
		if !s.client.Deaf() {
			s.client.End(s.w.legs)
		}
	}
}

// dropBackend ends the session's stream at its backend.
func (s *session) dropBackend() {
	s.endBackendsHandshake()
	s.backend.Close(s.w.legs)
	s.setPeer(nil)
}
