package proxy

import (
	"io"
	"os"
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

// clientEnded: the client will send no more. Its whole lines go out, then the FIN.
func (w *worker) clientEnded(s *session) {
	switch {
	case s.has(dismissed):
		w.closeClient(s)
		w.checkDone(s)
		return
	case s.has(clientDeaf):
		w.clientBroken(s, unix.ECONNRESET)
		return
	case s.state == StateHandshake:
		w.handshakeClientEnded(s)
		return
	case s.slot.ClientTLS != 0 && s.slot.Flags.Has(wire.ClientFINSeen):
		return // its FIN behind its close_notify
	}
	w.noteEnd(s, ReasonClientClosed)
	if s.state == StateHeader {
		w.finish(s)
		return
	}
	w.clientWillSayNoMore(s)
	w.halfClosed(s, halfClosedTime)
}

// halfClosed bounds the rest of a relaying session of which one side has ended. What goes out slowly first goes out.
func (w *worker) halfClosed(s *session, d time.Duration) {
	if s.state == StateRelay && !s.has(pacing) {
		w.within(s, d)
	}
}

// clientWillSayNoMore notes the end of the client's direction; a half line can never become whole now.
func (w *worker) clientWillSayNoMore(s *session) {
	s.slot.Flags |= wire.ClientFINSeen
	w.flushBackend(s)
	if s.state != stateFree {
		w.checkDone(s)
	}
}

// passClientEnd sends the client's FIN on, behind its last whole line.
func (w *worker) passClientEnd(s *session) {
	if s.slot.Flags.Has(wire.ClientFINSeen) && !s.slot.Flags.Has(wire.BackendFINSent) && s.slot.ToBackend.Whole() == 0 {
		if s.slot.BackendTLS != 0 {
			if record, err := w.shard.SealAlert(s.slot.BackendTLS, alertCloseNotify); err == nil {
				w.sendBackend(s, record)
			}
			if s.state == stateFree || !w.flushUnsent(s) {
				return
			}
		}
		s.slot.Flags |= wire.BackendFINSent
		loop.EndWrites(int(s.backendFD))
	}
}

// clientUnwritable: a write to the client failed. It may have said something before it went, so that is read first.
func (w *worker) clientUnwritable(s *session, errno unix.Errno) {
	w.noteEnd(s, resetOrTimeout(errno))
	s.set(clientDeaf | clientMore | clientEnding)
	w.shard.Clear(&s.slot.ToClient)
	w.again(s)
}

// clientBroken: the client's connection is dead and everything that it said was read.
func (w *worker) clientBroken(s *session, errno unix.Errno) {
	w.noteEnd(s, resetOrTimeout(errno))
	w.closeClient(s)
	w.clientLeft(s)
}

func resetOrTimeout(errno unix.Errno) CloseReason {
	if errno == unix.ETIMEDOUT || errno == unix.EHOSTUNREACH || errno == unix.ENETUNREACH {
		return ReasonClientTimeout
	}
	return ReasonClientReset
}

// clientLeft goes on with a session whose client's descriptor is closed: the backend gets what is left and a FIN, and has some
// seconds to end.
func (w *worker) clientLeft(s *session) {
	switch s.state {
	case StateHeader, StateHandshake, StateWaiting, StateDialing, StateBackendHandshake, StateOpening, StateClosing:
		w.finish(s)
	default:
		w.clientWillSayNoMore(s)
		w.halfClosed(s, leaveTime)
	}
}

// leftEarly ends a session whose client has gone before a backend knew of it.
func (w *worker) leftEarly(s *session) {
	w.noteEnd(s, ReasonClientClosed)
	w.finish(s)
}

// backendDeaf: a write to the backend failed. It may have said why, so that is read first.
func (w *worker) backendDeaf(s *session) {
	s.slot.Flags |= wire.BackendFINSent
	w.shard.Clear(&s.slot.ToBackend)
	s.set(backendMore | backendEnding)
	w.again(s)
}

// backendEnded: the backend will send no more.
func (w *worker) backendEnded(s *session) {
	s.slot.Flags |= wire.BackendFINSeen
	switch s.state {
	case StateBackendHandshake:
		s.slot.Flags &^= wire.BackendFINSeen
		if s.reg.shake != nil {
			s.reg.shake.End(io.EOF)
		}
	case StateOpening, StateReopening:
		w.openingLost(s)
	case StateSplicing:
		w.notLive(s)
	case StateFrozen:
		w.frozenLost(s)
	case StateRelay:
		w.relayLost(s)
	}
}

func (w *worker) relayLost(s *session) {
	switch {
	case s.saidError(), s.slot.Flags.Has(wire.ClientFINSeen), s.has(dismissed):
		w.noteEnd(s, ReasonBackendClosed)
		if s.has(backendReset) || s.slot.Flags.Has(wire.BackendFINSent) {
			w.shard.Clear(&s.slot.ToBackend)
		}
		if !w.flushClient(s) {
			return
		}
		w.checkDone(s)
		if s.state == StateRelay && !s.has(dismissed|clientGone) {
			w.halfClosed(s, halfClosedTime)
		}
	default:
		w.end(s, ReasonBackendLost, "The server has gone away, please reconnect")
	}
}

// passBackendEnd sends the end of our side on to the client, behind the last byte.
func (w *worker) passBackendEnd(s *session) {
	if w.checkDone(s); s.state == stateFree {
		return // the close says it
	}
	over := s.has(dismissed) || s.state == StateRelay && s.slot.Flags.Has(wire.BackendFINSeen)
	if over && !s.has(clientGone|clientDeaf) && !s.slot.Flags.Has(wire.ClientFINSent) && w.closeNotify(s) {
		s.slot.Flags |= wire.ClientFINSent
		loop.EndWrites(int(s.clientFD))
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

// closeClient closes the client's descriptor.
func (w *worker) closeClient(s *session) {
	if s.clientFD < 0 {
		return
	}
	if s.slot.ClientTLS != 0 {
		w.byeClient(s)
		w.shard.FreeTLS(s.slot.ClientTLS)
		s.slot.ClientTLS = 0
	}
	w.loop.Unwatch(int(s.clientFD))
	loop.Close(int(s.clientFD))
	s.clientFD = -1
	s.set(clientGone)
	s.unset(clientMore | clientFull)
	w.shard.Clear(&s.slot.ToClient)
}

// dropBackend ends the session's stream at its backend. The FIN goes first, so that an end in order is seen there even if
// something is unread here.
func (w *worker) dropBackend(s *session) {
	if s.state == StateBackendHandshake && s.reg != nil && s.reg.shake != nil {
		s.reg.shake.End(errOver)
		s.reg.shake = nil
	}
	if s.backendFD >= 0 {
		w.loop.Unwatch(int(s.backendFD))
		w.byeBackend(s)
		if !s.slot.Flags.Has(wire.BackendFINSeen) {
			loop.EndWrites(int(s.backendFD))
		}
		loop.Close(int(s.backendFD))
		s.backendFD = -1
	}
	if s.slot.BackendTLS != 0 {
		w.shard.FreeTLS(s.slot.BackendTLS)
		s.slot.BackendTLS = 0
	}
	s.unset(backendMore | backendFull | backendEnding | backendReset | backendWatched)
	w.setPeer(s, nil)
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
		w.backendHandshakeFailed(s, os.ErrDeadlineExceeded)
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
