package proxy

import (
	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/proxy/loop"
	"github.com/ircferry/ircferry/proxy/wire"
)

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
