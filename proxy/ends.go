package proxy

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/proxy/loop"
	"github.com/ircferry/ircferry/proxy/wire"
)

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
func (w *worker) noteEnd(s *session, r CloseReason) {
	if s.reason == reasonNone {
		s.reason = r
	}
}

// end dismisses the client with an ERROR line and ends the session. What the client has said before still reaches the backend,
// followed by a FIN.
func (w *worker) end(s *session, r CloseReason, text string) {
	if s.state == stateFree {
		return
	}
	if s.has(dismissed) {
		w.endAgain(s)
		return
	}
	w.noteEnd(s, r)
	w.leaveMove(s, backend.CauseGone)
	w.dropAttached(s)
	w.dropRegistration(s)
	if w.lastWords(s, text); s.state == stateFree {
		return // there was no room for them
	}
	s.set(dismissed)
	switch {
	case s.state != StateRelay || s.slot.Flags.Has(wire.BackendFINSeen):
		w.dropBackend(s)
		w.enter(s, StateClosing)
	default:
		w.clientWillSayNoMore(s)
	}
	if s.state == stateFree {
		return
	}
	w.within(s, lingerTime)
	if s.has(clientGone | clientDeaf) {
		w.closeClient(s)
		w.checkDone(s)
		return
	}
	if w.flushClient(s) {
		s.set(clientMore) // input is read and forgotten from here on
		w.again(s)
	}
}

// endAgain is end for a session whose client has had its last words before: in a move nobody would go on with it.
func (w *worker) endAgain(s *session) {
	if s.state == StateRelay || s.state == StateClosing {
		return
	}
	w.leaveMove(s, backend.CauseGone)
	w.dropAttached(s)
	w.dropBackend(s)
	w.enter(s, StateClosing)
	w.within(s, lingerTime)
	w.checkDone(s)
}

// refuse is end for clients that were never let in: they are not waited for.
func (w *worker) refuse(s *session, r CloseReason, text string) {
	w.noteEnd(s, r)
	w.lastWords(s, text)
	if s.state == stateFree || !w.flushClient(s) {
		return
	}
	loop.Read(int(s.clientFD), w.shard.Staging()) // unread bytes would turn the close into a reset
	w.finish(s)
}

// lastWords queues an ERROR line, on a line of its own.
func (w *worker) lastWords(s *session, text string) {
	if s.has(clientGone | clientDeaf | securing) {
		return
	}
	line := "ERROR :Closing link: (ircferry) " + text + "\r\n"
	if s.has(midLine) {
		line = "\r\n" + line
	}
	w.toClient(s, []byte(line))
}

func (w *worker) lineTooLong(s *session) { w.end(s, ReasonLineTooLong, "Line too long") }

// outOfMemory drops a session that the arena has no room for; there is none for last words either.
func (w *worker) outOfMemory(s *session) {
	w.noteEnd(s, ReasonMemory)
	w.finish(s)
}

// halfClosed bounds the rest of a relaying session of which one side has ended. What goes out slowly first goes out.
func (w *worker) halfClosed(s *session, d time.Duration) {
	if s.state == StateRelay && !s.has(pacing) {
		w.within(s, d)
	}
}

// checkDone finishes a session that has nothing left to do on either side.
func (w *worker) checkDone(s *session) {
	switch s.state {
	case StateClosing:
		if s.has(clientGone) {
			w.finish(s)
		}
	case StateRelay:
		if !s.slot.Flags.Has(wire.BackendFINSeen) {
			return
		}
		if s.has(clientGone) || s.slot.Flags.Has(wire.ClientFINSeen) && !s.has(dismissed) && s.slot.ToClient.Len() == 0 {
			w.finish(s)
		} else if s.has(dismissed) {
			w.dropBackend(s)
			w.enter(s, StateClosing)
		}
	}
}

// finish closes what is open and gives everything back. The session is gone after it.
func (w *worker) finish(s *session) {
	if s.state == stateFree {
		return
	}
	w.leaveMove(s, backend.CauseGone)
	w.dropAttached(s)
	w.dropBackend(s)
	w.closeClient(s)
	w.dropRegistration(s)
	w.release(s)
	w.noteEnd(s, ReasonClientClosed)
	s.tally.ended[s.reason].Add(1)
	w.p.ends.add(w, s)
	w.forget(s)
}

// timeOver is called when the time that the state allows is over.
func (w *worker) timeOver(s *session) {
	switch s.state {
	case StateHeader:
		w.refuse(s, ReasonHeaderTimeout, "PROXY header timeout")
	case StateHandshake:
		w.refuse(s, ReasonHandshakeTimeout, "")
	case StateWaiting:
		w.choose(s)
	case StateDialing:
		w.dialFailed(s, unix.ETIMEDOUT)
	case StateBackendHandshake:
		w.backendHandshakeTimeOver(s)
	case StateOpening:
		w.openingLost(s)
	case StateRelay:
		w.relayTimeOver(s)
	case StateFrozen, StateParked:
		w.frozenTimeOver(s)
	case StateReopening:
		w.reopenTimeOver(s)
	case StateClosing:
		w.closeClient(s)
		w.finish(s)
	}
}

func (w *worker) relayTimeOver(s *session) {
	switch {
	case s.has(pacing):
		w.paceOn(s)
	case s.has(dismissed) && !s.has(clientGone):
		w.closeClient(s)
		w.within(s, leaveTime)
		w.checkDone(s)
	case s.slot.Flags&(wire.ClientFINSeen|wire.BackendFINSeen) != 0:
		if !s.has(clientGone) {
			s.reason = ReasonHalfClosed
		}
		w.finish(s)
	case s.reg != nil:
		w.registrationTimeOver(s)
	}
}
