package proxy

import (
	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/proxy/loop"
	"github.com/ircferry/ircferry/proxy/wire"
)

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
