package proxy

import (
	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/proxy/loop"
	"github.com/ircferry/ircferry/proxy/wire"
)

// readClient reads the client once, or to its end if that is near. What may not be read now stays noted in clientMore.
func (w *worker) readClient(s *session) {
	for s.has(clientMore) && w.mayReadClient(s) {
		secure := s.slot.ClientTLS != 0 && !s.has(dismissed) && !s.slot.Flags.Has(wire.ClientFINSeen)
		buf := w.clientRoom(s, secure)
		n, errno := loop.Read(int(s.clientFD), buf)
		switch {
		case errno == unix.EAGAIN:
			s.unset(clientMore)
			return
		case errno != 0:
			w.clientBroken(s, errno)
			return
		case n == 0:
			s.unset(clientMore)
			if secure && w.shard.InRecord(s.slot.ClientTLS) {
				s.refusedRecord(wire.ErrTruncated)
			}
			w.clientEnded(s)
			return
		}
		if n < len(buf) && !s.has(clientEnding) {
			s.unset(clientMore)
		}
		w.counts.bytesIn.Add(uint64(n))
		switch {
		case secure:
			w.fromClientTLS(s, n)
		case s.slot.ClientTLS == 0:
			w.fromClient(s, buf[:n])
		} // else it has said goodbye
		if n == len(buf) && s.state != stateFree {
			w.again(s)
			return
		}
	}
}

// clientRoom is where the next read of the client goes.
func (w *worker) clientRoom(s *session, secure bool) []byte {
	buf := w.shard.Staging()
	if secure {
		buf = w.shard.ReadRoom(s.slot.ClientTLS)
	}
	switch s.state {
	case StateParked:
		buf = buf[:min(len(buf), w.parkedRoom(s))]
	case StateHandshake:
		buf = buf[:handshakeRoom-s.reg.fed()]
	}
	return buf
}

// mayReadClient says whether the client's bytes have somewhere to go in this state.
func (w *worker) mayReadClient(s *session) bool {
	switch s.state {
	case StateHeader, StateClosing:
		return true
	case StateHandshake:
		return s.reg.fed() < handshakeRoom
	case StateRelay:
		return s.has(dismissed) || s.slot.ToBackend.Len() < highWater
	case StateParked:
		return w.mayReadParked(s)
	case StateWaiting:
		if s.has(clientEnding) {
			w.leftEarly(s)
		}
	}
	return false
}

// fromClient takes bytes that were read.
func (w *worker) fromClient(s *session, p []byte) {
	if s.state == StateHandshake {
		w.handshakeBytes(s, p)
		return
	}
	s.slot.ClientIn += uint64(len(p))
	if s.mv != nil && s.mv.counting {
		s.mv.held(p)
	}
	switch {
	case s.has(dismissed): // forgotten
	case s.state == StateHeader:
		w.headerBytes(s, p)
	case s.state == StateParked:
		w.parkedBytes(s, p)
	case s.reg != nil:
		w.registering(s, p)
	case wire.TooLong(int(s.slot.ToBackend.Half), p):
		w.lineTooLong(s)
	default:
		if p = w.withoutSTARTTLS(s, p); len(p) > 0 && s.state != stateFree {
			w.toBackend(s, p)
		}
	}
}

// toBackend sends the whole lines of p, behind what is queued, and keeps the rest.
func (w *worker) toBackend(s *session, p []byte) {
	q := &s.slot.ToBackend
	if q.Len() == 0 && s.state == StateRelay && !s.has(backendFull|pacing) {
		if cut := wire.Cut(p); cut > 0 && s.slot.BackendTLS != 0 {
			n := w.sealBackend(s, p[:cut])
			if p = p[n:]; s.state == stateFree || s.slot.Flags.Has(wire.BackendFINSent) {
				return
			}
		} else if cut > 0 {
			n, errno := loop.Write(int(s.backendFD), p[:cut])
			s.slot.BackendIn += uint64(n)
			if broken(errno) {
				w.backendDeaf(s)
				return
			}
			if n < cut {
				w.backendShort(s)
			}
			p = p[n:]
		}
		if len(p) == 0 {
			return
		}
		if err := w.shard.AppendLines(q, p); err != nil {
			w.outOfMemory(s)
		}
		return
	}
	if err := w.shard.AppendLines(q, p); err != nil {
		w.outOfMemory(s)
		return
	}
	w.flushBackend(s)
}

// flushBackend writes whole lines as far as the kernel takes them, and the client's FIN behind the last.
func (w *worker) flushBackend(s *session) {
	if s.state != StateRelay || s.backendFD < 0 || s.slot.Flags.Has(wire.BackendFINSent) {
		return
	}
	q := &s.slot.ToBackend
	if !w.flushUnsent(s) {
		return
	}
	if s.has(pacing) {
		w.flushPaced(s)
		return
	}
	for q.Whole() > 0 && !s.has(backendFull) {
		if !w.writeBackend(s, q.Whole()) {
			return
		}
	}
	w.passClientEnd(s)
}

// writeBackend offers the kernel the first most bytes of the queue; false: the backend takes nothing any more.
func (w *worker) writeBackend(s *session, most int) bool {
	q := &s.slot.ToBackend
	ps := w.shard.Pieces(q, most, w.pieces[:0])
	if s.slot.BackendTLS != 0 {
		n := w.sealBackend(s, ps[0])
		if s.state == stateFree || s.slot.Flags.Has(wire.BackendFINSent) {
			return false
		}
		w.shard.Consume(q, n)
		return true
	}
	offered := sizeOf(ps)
	n, errno := loop.Writev(int(s.backendFD), ps, &w.room)
	w.shard.Consume(q, n)
	s.slot.BackendIn += uint64(n)
	if broken(errno) {
		w.backendDeaf(s)
		return false
	}
	if n < offered {
		w.backendShort(s)
	}
	return true
}
