package proxy

import (
	"io"

	"github.com/ircferry/ircferry/proxy/loop"
	"github.com/ircferry/ircferry/proxy/wire"
)

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

// dropBackend ends the session's stream at its backend. The FIN goes first, so that an end in order is seen there even if
// something is unread here.
func (w *worker) dropBackend(s *session) {
	if s.state == StateBackendHandshake && s.reg != nil && s.reg.shake != nil {
		s.reg.shake.End(errOver)
		s.reg.shake = nil
	}
	w.backendShakingOver(s)
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
