package proxy

import (
	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/proxy/loop"
	"github.com/ircferry/ircferry/proxy/wire"
)

// highWater is how much may wait for one side before the other is read no more. 64 KiB is one staging buffer, so a queue never
// has more than twice that.
const highWater = 64 << 10

func (w *worker) clientEvent(s *session, ev loop.Events) {
	if s.has(clientGone) {
		return
	}
	if ev&(loop.PeerEnded|loop.Broken|loop.HangUp) != 0 {
		s.set(clientEnding)
	}
	if ev&^loop.Writable != 0 {
		s.set(clientMore)
	}
	if ev&loop.Writable != 0 && s.has(clientFull) {
		s.unset(clientFull)
		if !w.flushClient(s) {
			return
		}
		if s.has(backendMore) {
			w.readBackend(s)
		}
	}
	if s.state != stateFree && s.has(clientMore) {
		w.readClient(s)
	}
}

func (w *worker) backendEvent(s *session, ev loop.Events) {
	if s.backendFD < 0 {
		return
	}
	if s.state == StateDialing || s.state == StateReopening && s.reg.dialing {
		w.dialed(s, ev)
		if s.state == stateFree || s.backendFD < 0 {
			return
		}
		// The backend may have spoken, or ended, before we saw the connect: that edge is this one.
	}
	if ev&(loop.PeerEnded|loop.Broken|loop.HangUp) != 0 {
		s.set(backendEnding)
	}
	if ev&^loop.Writable != 0 {
		s.set(backendMore)
	}
	if ev&loop.Writable != 0 && s.has(backendFull) {
		s.unset(backendFull)
		w.flushBackend(s)
		if s.state != stateFree && s.has(clientMore) {
			w.readClient(s)
		}
	}
	if s.state != stateFree && s.has(backendMore) {
		w.readBackend(s)
	}
}

// goOn is a session's go without an event: what was left to read, if it may be read now.
func (w *worker) goOn(s *session) {
	if s.has(clientMore) && !s.has(clientGone) {
		w.readClient(s)
	}
	if s.state != stateFree && s.has(backendMore) && s.backendFD >= 0 {
		w.readBackend(s)
	}
}

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

func sizeOf(ps [][]byte) int {
	n := 0
	for _, p := range ps {
		n += len(p)
	}
	return n
}

// broken reports whether a write has failed, and not only found no room.
func broken(errno unix.Errno) bool { return errno != 0 && errno != unix.EAGAIN }

// backendShort and clientShort: the kernel took less than offered; the rest goes when it says so.

func (w *worker) backendShort(s *session) {
	s.set(backendFull)
	if !s.has(backendWatched) {
		s.set(backendWatched)
		w.loop.Rewatch(int(s.backendFD), s.key(portBackend), true)
	}
}

func (w *worker) clientShort(s *session) {
	s.set(clientFull)
	if !s.has(clientWatched) {
		s.set(clientWatched)
		w.loop.Rewatch(int(s.clientFD), s.key(portClient), true)
	}
}

// readBackend reads the backend once, or to its end if that is near. What may not be read now stays noted in backendMore.
func (w *worker) readBackend(s *session) {
	for s.has(backendMore) && s.backendFD >= 0 {
		buf := w.shard.Staging()
		if s.slot.BackendTLS != 0 {
			buf = w.shard.ReadRoom(s.slot.BackendTLS)
		}
		room := w.backendRoom(s, len(buf))
		if room == 0 {
			return
		}
		buf = buf[:room]
		n, errno := loop.Read(int(s.backendFD), buf)
		switch {
		case errno == unix.EAGAIN:
			s.unset(backendMore)
			return
		case errno != 0:
			s.unset(backendMore)
			s.set(backendReset)
			w.backendEnded(s)
			return
		case n == 0:
			s.unset(backendMore)
			w.backendEnded(s)
			return
		}
		if n < len(buf) && !s.has(backendEnding) {
			s.unset(backendMore)
		}
		if s.slot.BackendTLS != 0 {
			w.fromBackendTLS(s, n)
		} else {
			w.fromBackend(s, buf[:n])
		}
		if n == len(buf) && s.state != stateFree {
			w.again(s)
			return
		}
	}
}

// backendRoom is how much may be read of the backend in this state, at most n.
func (w *worker) backendRoom(s *session, n int) int {
	switch s.state {
	case StateOpening, StateReopening, StateSplicing:
		return n
	case StateBackendHandshake:
		return min(n, handshakeRoom-s.reg.fed())
	case StateRelay:
		if s.slot.ToClient.Len() < highWater {
			return n
		}
	case StateFrozen:
		return w.frozenRoom(s, n)
	}
	return 0
}

// fromBackend takes bytes that were read.
func (w *worker) fromBackend(s *session, p []byte) {
	switch s.state {
	case StateBackendHandshake:
		w.backendHandshakeBytes(s, p)
		return
	case StateOpening:
		w.openingBytes(s, p)
		return
	case StateReopening:
		w.reopenBytes(s, p)
		return
	case StateSplicing:
		w.splicingBytes(s, p)
		return
	}
	s.slot.BackendOut += uint64(len(p))
	w.counts.bytesOut.Add(uint64(len(p)))
	s.spotError(p)
	r := s.reg
	if r != nil {
		w.answered(s, p)
	}
	w.toClient(s, p)
	if r != nil && len(r.say) > 0 && s.state != stateFree && !s.has(midLine) {
		w.toClient(s, r.say)
		r.say = nil
	}
	if s.has(owesRefusal) {
		w.payRefusal(s)
	}
	if s.state == StateFrozen {
		w.reachedCut(s)
	}
}

// toClient sends p behind what is queued and keeps what the kernel does not take.
func (w *worker) toClient(s *session, p []byte) {
	if len(p) == 0 || s.has(clientGone|clientDeaf|dismissed) {
		return
	}
	if p[len(p)-1] == '\n' {
		s.unset(midLine)
	} else {
		s.set(midLine)
	}
	if s.slot.ClientTLS != 0 {
		w.sealClient(s, p)
		return
	}
	s.slot.ClientOut += uint64(len(p))
	w.sendClient(s, p)
}

// sendClient sends bytes as they are on the wire.
func (w *worker) sendClient(s *session, p []byte) {
	q := &s.slot.ToClient
	if q.Len() == 0 && !s.has(clientFull) {
		n, errno := loop.Write(int(s.clientFD), p)
		if broken(errno) {
			w.clientUnwritable(s, errno)
			return
		}
		if n == len(p) {
			return
		}
		w.clientShort(s)
		p = p[n:]
	}
	if err := w.shard.Append(q, p); err != nil {
		w.outOfMemory(s)
		return
	}
	if !s.has(clientFull) {
		w.flushClient(s)
	}
}

// flushClient writes what is queued as far as the kernel takes it, and ends what ends behind the last byte. False: the session
// is over.
func (w *worker) flushClient(s *session) bool {
	q := &s.slot.ToClient
	for q.Len() > 0 && !s.has(clientFull|clientGone|clientDeaf) {
		ps := w.shard.Iovecs(q, w.pieces[:0])
		offered := sizeOf(ps)
		n, errno := loop.Writev(int(s.clientFD), ps, &w.room)
		w.shard.Consume(q, n)
		if broken(errno) {
			w.clientUnwritable(s, errno)
			return s.state != stateFree
		}
		if n < offered {
			w.clientShort(s)
		}
	}
	if q.Len() == 0 {
		w.passBackendEnd(s)
	}
	return s.state != stateFree
}

// spotError keeps track of whether the backend's present line begins with "ERROR ", whatever the pieces it comes in. Only the
// last line of a piece matters, so this costs one look for its beginning.
func (s *session) spotError(p []byte) {
	const word = "ERROR "
	const other = len(word) + 1 // not an ERROR line
	const fresh = 1 << 7        // the line is complete: the next byte begins another
	if s.errorAt&fresh != 0 {
		s.errorAt = 0
	}
	if i := wire.Cut(p[:len(p)-1]); i > 0 {
		p, s.errorAt = p[i:], 0
	}
	at := int(s.errorAt)
	for _, c := range p {
		if at >= len(word) {
			break
		}
		if c != word[at] {
			at = other
			break
		}
		at++
	}
	s.errorAt = uint8(at)
	if p[len(p)-1] == '\n' {
		s.errorAt |= fresh
	}
}

// saidError reports whether the last line of the backend was an ERROR line.
func (s *session) saidError() bool { return s.errorAt&^(1<<7) == 6 }
