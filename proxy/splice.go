package proxy

import (
	"bytes"
	"context"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/proxy/loop"
	"github.com/ircferry/ircferry/proxy/wire"
)

// Splice puts attached streams in the place of the old ones.
func (p *Proxy) Splice(ctx context.Context, to string, sessions []backend.Splice) []backend.Moved {
	us := make([]string, len(sessions))
	queues := make(map[string]backend.Splice, len(sessions))
	for i, s := range sessions {
		us[i], queues[s.U] = s.U, s
	}
	dest, ok := p.backends.Backend(to)
	return p.step(ctx, us, backend.CauseNoLive, func(w *worker, b *batch, us []string) {
		for _, u := range us {
			s := w.find(u)
			switch {
			case s == nil || s.state != StateFrozen && s.state != StateParked:
				b.add(backend.Moved{U: u, Cause: backend.CauseGone})
			case !ok || s.mv.attached.state != attachAttached:
				b.add(backend.Moved{U: u, Cause: backend.CauseDetached})
				w.end(s, ReasonMoveDetached, "Your connection to the new server was lost, please reconnect")
			case s.slot.ToClient.Len()+len(queues[u].SQ) > carryRoom || s.overflowed():
				b.add(backend.Moved{U: u, Cause: backend.CauseOverflow})
				w.end(s, ReasonMoveSendQ, "SendQ exceeded")
			default:
				b.wait(s)
				w.splice(s, w.peerOf(dest), queues[u])
			}
		}
	}, func(w *worker, s *session) {
		w.end(s, ReasonMoveNoLive, "The new server did not take your connection, please reconnect")
	})
}

// overflowed reports whether the old stream could not be read up to its cut.
func (s *session) overflowed() bool { return s.mv.cutting && s.slot.BackendOut < s.mv.cut }

// splice takes the old stream away and waits for LIVE on the new one, which has its place from here on.
func (w *worker) splice(s *session, to *peer, queues backend.Splice) {
	a := &s.mv.attached
	w.leaveBackend(s)
	s.backendFD, a.fd, a.state, a.deadline = a.fd, -1, attachNone, 0
	s.slot.Flags &^= wire.BackendFINSeen | wire.BackendFINSent | wire.BackendStripped
	w.setPeer(s, to)
	w.noDeadline(s)
	w.enter(s, StateSplicing)
	s.mv.rq, s.mv.cutting, s.mv.awake = queues.RQ, false, false
	w.toClient(s, queues.SQ)
	if s.state != StateSplicing {
		return
	}
	if err := w.loop.Rewatch(int(s.backendFD), s.key(portBackend), false); err != nil {
		w.took(s, backend.Moved{Cause: backend.CauseNoLive})
		w.end(s, ReasonMoveNoLive, "The new server did not take your connection, please reconnect")
	}
}

// leaveBackend is dropBackend for a stream that the old ircd has given up already: its descriptor is closed later, because closing
// thousands takes longer than all else that a client has to wait for here.
func (w *worker) leaveBackend(s *session) {
	if s.backendFD >= 0 {
		w.loop.Unwatch(int(s.backendFD))
		w.old = append(w.old, s.backendFD)
		if len(w.old) == 1 {
			w.loop.After(oldRest, oldKey)
		}
		s.backendFD = -1
	}
	w.dropBackend(s)
}

const (
	// oldRest is how long old streams stay before they are closed, oldBatch how many are closed each loop.Tick then.
	oldRest  = 100 * time.Millisecond
	oldBatch = 256
)

// oldKey is the timer for old streams.
var oldKey = loop.MakeKey(0, 0, portOld)

func (w *worker) closeOld() {
	n := min(len(w.old), oldBatch)
	for _, fd := range w.old[:n] {
		loop.Close(int(fd))
	}
	if w.old = w.old[n:]; len(w.old) > 0 {
		w.loop.After(loop.Tick, oldKey)
	} else {
		w.old = nil
	}
}

// splicingBytes takes the LIVE line; what is behind it is the client's.
func (w *worker) splicingBytes(s *session, p []byte) {
	mv := s.mv
	i := bytes.IndexByte(p, '\n') + 1
	if i == 0 {
		mv.attached.first = append(mv.attached.first, p...)
		if len(mv.attached.first) > maxFirstLine {
			w.notLive(s)
		}
		return
	}
	line := append(mv.attached.first, p[:i]...)
	mv.attached.first = nil
	rest := bytes.Clone(p[i:])
	if !isAnswer(line, "LIVE", w.id(s)) {
		w.notLive(s)
		return
	}
	w.live(s)
	if len(rest) > 0 && s.state == StateRelay {
		w.fromBackend(s, rest)
	}
}

// notLive: the new stream ended or said something else than LIVE.
func (w *worker) notLive(s *session) {
	w.took(s, backend.Moved{Cause: backend.CauseNoLive})
	w.end(s, ReasonMoveNoLive, "The new server did not take your connection, please reconnect")
}

// live goes on with the new ircd: what the old one had read and not run, what was held, what waits in the kernel.
func (w *worker) live(s *session) {
	mv, q := s.mv, &s.slot.ToBackend
	s.slot.BackendIn, s.slot.BackendOut = 0, 0
	s.slot.Flags |= wire.BackendStripped
	s.errorAt = 0
	for _, p := range w.shard.Pieces(q, q.Whole(), nil) {
		mv.held(p)
	}
	err := w.shard.AppendLines(q, mv.half)
	if err == nil {
		err = w.shard.Prepend(q, mv.rq)
	}
	if err != nil {
		w.outOfMemory(s)
		return
	}
	rq := len(mv.rq)
	mv.rq, mv.half = nil, nil
	if mv.wasAwake {
		mv.wasAwake = false
		w.pacedCarryOn(s, rq)
		return
	}
	w.carryOn(s)
}

// pacedCarryOn is carryOn for a session that was parked.
func (w *worker) pacedCarryOn(s *session, first int) {
	if s.slot.ToBackend.Whole() > first+paceFirst {
		s.set(pacing)
		s.mv.pace = s.slot.ToBackend.Whole()
	}
	w.carryOn(s)
	if s.state == StateRelay && s.has(pacing) {
		w.paceOut(s, first+paceFirst)
	}
}
