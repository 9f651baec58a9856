package proxy

import (
	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/proxy/loop"
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
