package proxy

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/proxy/leg"
	"github.com/ircferry/ircferry/proxy/loop"
	"github.com/ircferry/ircferry/proxy/wire"
)

// The data path: events of the loop, reads of either side, and what is sent on. It asks the session's phase what to do, and its legs to do it.

// highWater is how much may wait for one side before neither is read: 64 KiB is one staging buffer, so a queue never has more than twice that.
const highWater = 64 << 10

func (s *session) clientEvent(ev loop.Events) {
	if !s.client.IsOpen() {
		return
	}
	if s.client.Event(ev) {
		s.flushClient()
		if s.backend.More() {
			s.pullBackend()
		}
	}
	s.pullClient()
}

func (s *session) backendEvent(ev loop.Events) {
	if !s.backend.IsOpen() {
		return
	}
	if s.backend.Connecting() {
		if s.phase().connected(s, s.backend.Decided(ev)); !s.backend.IsOpen() {
			return
		}
	}
	if s.backend.Event(ev) {
		s.flushBackend()
		s.pullClient()
	}
	s.pullBackend()
}

// goOn is a session's go without an event: what was left to read, if it may be read now.
func (s *session) goOn() {
	s.pullClient()
	s.pullBackend()
}

// pullClient reads the client once, or to its end if that is near. What may not be read now stays noted in the leg.
func (s *session) pullClient() {
	if s.client.More() && s.client.Ending() {
		s.phase().clientLeaving(s)
	}
	for s.client.More() {
		if s.has(dismissed) {
			s.discardClient()
			return
		}
		room := s.phase().clientRoom(s)
		if room == 0 {
			return
		}
		s.w.shard.Begin(s.slotID, wire.ToBackend)
		got := s.client.Read(s.w.legs, room)
		s.clientSaid(got)
		s.w.shard.Worked()
		if got.End != leg.NotYet {
			return
		}
		if got.Full {
			s.again()
			return
		}
	}
}

// clientSaid takes what a read of the client has brought.
func (s *session) clientSaid(got leg.Got) {
	s.w.counts.bytesIn.Add(uint64(got.Read))
	if len(got.Data) > 0 {
		s.phase().fromClient(s, got.Data)
	}
	if got.End != leg.NotYet {
		s.clientEnd(got)
	}
}

// pullBackend reads the backend once, or to its end if that is near.
func (s *session) pullBackend() {
	for s.backend.More() {
		room := s.phase().backendRoom(s)
		if room == 0 {
			return
		}
		s.w.shard.Begin(s.slotID, wire.ToClient)
		got := s.backend.Read(s.w.legs, room)
		left := s.backendSaid(got)
		s.w.shard.Worked()
		if left || got.End != leg.NotYet {
			return
		}
		if got.Full {
			s.again()
			return
		}
	}
}

// backendSaid takes what a read of the backend has brought. It answers whether the stream was left because of what it said.
func (s *session) backendSaid(got leg.Got) (left bool) {
	fd := s.backend.FD()
	if len(got.Data) > 0 {
		s.phase().fromBackend(s, got.Data)
	}
	if s.backend.FD() != fd {
		return true
	}
	if got.End != leg.NotYet {
		s.backendEnd(got)
	}
	return false
}

// clientMayBeRead is the one answer to whether a client may be read, in all states that take its lines: as long as neither side has much to take.
func (s *session) clientMayBeRead() bool {
	return s.slot().ToBackend.Len() < highWater && s.unread() < highWater
}

// unread is how much the client has not taken of what is said to it.
func (s *session) unread() int {
	return s.slot().ToClient.Len() + int(s.slot().Owed)*len(startTLSRefused)
}

// tookFromClient counts bytes of the client.
func (s *session) tookFromClient(p []byte) {
	s.slot().ClientIn += uint64(len(p))
	if s.mv != nil && s.mv.counting {
		s.mv.held(p)
	}
}

// toBackend sends the whole lines of p, behind what is queued, and keeps the rest. It is for a session that relays.
func (s *session) toBackend(p []byte) {
	if len(p) == 0 || s.over() || s.backend.SentEnd() {
		return
	}
	q := &s.slot().ToBackend
	waits := q.Len() > 0 || s.backend.Full() || s.has(pacing) || !s.relays() || s.waitsForUser() || !s.backend.Direct(s.w.legs)
	if !waits {
		if cut := wire.Cut(p); cut > 0 {
			n, err := s.backend.Offer(s.w.legs, p[:cut])
			if !s.toldBackend(err) {
				return
			}
			if p = p[n:]; len(p) == 0 {
				return
			}
		}
	}
	if err := s.w.shard.AppendLines(q, p); err != nil {
		s.outOfMemory(err)
		return
	}
	if waits {
		s.flushBackend()
	}
}

// flushBackend writes whole lines as far as the kernel takes them, and the client's end behind the last.
func (s *session) flushBackend() {
	if !s.relays() || !s.backend.IsOpen() || s.backend.SentEnd() {
		return
	}
	if empty, err := s.backend.Flush(s.w.legs); !s.toldBackend(err) || !empty {
		return
	}
	if s.has(pacing) || s.waitsForUser() {
		return // its ticks write, or USER
	}
	q := &s.slot().ToBackend
	for q.Whole() > 0 && !s.backend.Full() {
		if !s.toldBackend(s.backend.OfferQueue(s.w.legs, q, q.Whole())) {
			return
		}
	}
	if s.client.Ended() && q.Whole() == 0 {
		s.backend.End(s.w.legs)
	}
}

// toldBackend takes what became of bytes for the backend; false: it takes none any more.
func (s *session) toldBackend(err error) bool {
	switch {
	case err == nil:
		return !s.over()
	case errors.Is(err, leg.ErrBroken): // it may have said why, so that is read first
		s.backend.NothingMore()
		s.w.shard.Clear(&s.slot().ToBackend)
		s.again()
	default:
		s.outOfMemory(err)
	}
	return false
}

// toClient sends p behind what is queued and keeps what the kernel does not take.
func (s *session) toClient(p []byte) {
	if len(p) == 0 || s.has(dismissed) || s.over() || !s.client.IsOpen() || s.client.Deaf() {
		return
	}
	if p[len(p)-1] == '\n' {
		s.unset(midLine)
	} else {
		s.set(midLine)
	}
	s.toldClient(s.client.Send(s.w.legs, p))
}

// flushClient writes what is queued as far as the kernel takes it, and ends what ends behind the last byte.
func (s *session) flushClient() {
	if s.mv != nil && s.mv.again != nil {
		return // the client may have of it what is not reckoned yet
	}
	empty, err := s.client.Flush(s.w.legs)
	if s.toldClient(err) && empty {
		s.passBackendEnd()
	}
}

// toldClient takes what became of bytes for the client; false: it takes none any more.
func (s *session) toldClient(err error) bool {
	switch {
	case err == nil:
		return !s.over()
	case errors.Is(err, leg.ErrBroken): // it may have said something before it went, so that is read first
		s.noteEnd(resetOrTimeout(errnoOf(err)))
		s.again()
	default:
		s.outOfMemory(err)
	}
	return false
}

// errnoOf is the kernel's part in an error of a leg.
func errnoOf(err error) unix.Errno {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return unix.ECONNRESET
}
