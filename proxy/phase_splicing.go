package proxy

import (
	"bytes"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/proxy/loop"
	"github.com/ircferry/ircferry/proxy/wire"
)

// splicing waits for LIVE on the new stream, which has the old one's place already; what is behind LIVE is the client's.
type splicing struct{ late }

// splice takes the old stream away and puts the attached one into its place.
func (s *session) splice(to *peer, queues backend.Splice) {
	s.leaveBackend()
	s.mv.rq, s.mv.cutting, s.mv.awake = len(queues.RQ), false, false
	s.mv.attached.state, s.mv.attached.deadline = attachNone, 0
	s.mark(markAttached|markOverflow, false)
	err := s.backend.Become(s.w.legs, &s.mv.attached.Leg, s.key(portBackend))
	s.slot().Flags &^= wire.BackendStripped
	s.setPeer(to)
	s.noDeadline()
	s.enter(StateSplicing)
	s.countHeld()
	if err != nil {
		s.notLive()
		return
	}
	s.slot().BackendIn, s.slot().BackendOut = 0, 0
	s.baseline(0)
	if err := s.w.shard.Prepend(&s.slot().ToBackend, queues.RQ); err != nil {
		s.outOfMemory(err)
		return
	}
	s.toClient(queues.SQ)
	s.toClient(s.takeRest())
	if queues.Live && s.state == StateSplicing {
		s.live(0) // COMMITTED has said it for all
	}
}

func (splicing) backendRoom(*session) int { return anyRoom }

func (splicing) fromBackend(s *session, p []byte) {
	first := &s.mv.attached.first
	line, rest := first.Next(p, maxFirstLine)
	switch {
	case line == nil && first.Len() >= maxFirstLine:
		s.notLive()
	case line == nil:
	case !isAnswer(line, "LIVE", s.id()):
		s.notLive()
	default:
		rest = bytes.Clone(rest) // the staging buffer will be used before it is passed on
		s.live(len(rest))
		if len(rest) > 0 {
			s.phase().fromBackend(s, rest)
		}
	}
}

func (splicing) backendEnded(s *session) { s.notLive() }

// notLive: the new stream ended or said something else than LIVE.
func (s *session) notLive() {
	s.took(backend.Moved{Cause: backend.CauseNoLive})
	s.end(ReasonMoveNoLive, "The new server did not take your connection, please reconnect")
}

// spliceOn goes on with a session of which all but LIVE had come about when the process before was killed.
func (s *session) spliceOn(live bool) {
	if live {
		s.live(0)
		return
	}
	s.backend.LookAgain()
	s.pullBackend()
}

// live goes on with the new ircd: what the old one had read and not run, what was held, what waits in the kernel. The counts begin here; ahead bytes
// of the new stream were read and are still to be passed on.
func (s *session) live(ahead int) {
	mv := s.mv
	s.slot().BackendIn, s.slot().BackendOut = 0, 0
	s.baseline(ahead)
	s.slot().Flags |= wire.BackendStripped
	s.slot().ErrorAt = 0
	if mv.wasAwake {
		mv.wasAwake = false
		s.pacedCarryOn(mv.rq)
		return
	}
	s.carryOn()
}

// leaveBackend is dropBackend for a stream that the old ircd has given up already: its descriptor is closed later, because closing
// thousands takes longer than all else that a client has to wait for here.
func (s *session) leaveBackend() {
	if fd := s.backend.GiveUp(s.w.legs); fd >= 0 {
		s.w.closeLater(fd)
	}
	s.setPeer(nil)
}

const (
	// oldRest is how long old streams stay before they are closed, oldBatch how many are closed each loop.Tick then.
	oldRest  = 100 * time.Millisecond
	oldBatch = 256
)

// oldKey is the timer for old streams.
var oldKey = loop.MakeKey(0, 0, portOld)

func (w *worker) closeLater(fd int) {
	w.old = append(w.old, int32(fd))
	if len(w.old) == 1 {
		w.loop.After(oldRest, oldKey)
	}
}

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
