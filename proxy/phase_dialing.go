package proxy

import (
	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/proxy/loop"
	"github.com/ircferry/ircferry/proxy/wire"
)

// dialing connects to the backend that was chosen.
type dialing struct{ early }

func (dialing) connected(s *session, errno unix.Errno) { s.dialed(errno) }

func (dialing) timeOver(s *session) { s.dialFailed(unix.ETIMEDOUT) }

// dial begins to connect to the stream address of reg.
func (s *session) dial() {
	fd, errno := s.socket(s.reg.stream)
	if errno == 0 && fd >= s.w.p.top { // the rest of the reserve is not for streams
		loop.Close(fd)
		s.w.sockets.Pause()
		errno = unix.EMFILE
	}
	if errno == 0 {
		errno = s.backend.Connect(s.w.legs, fd, s.reg.stream.Addr, s.key(portBackend))
	}
	switch errno {
	case unix.EINPROGRESS:
		s.within(dialTime)
	case unix.EBUSY:
		s.awaitKeeper()
	default: // on one host the answer is there at once
		s.dialed(errno)
	}
}

// awaitKeeper tries again when the keeper may have room for the stream: no first byte flows on one that it has not.
func (s *session) awaitKeeper() {
	if s.state == StateReopening {
		s.reopenRetry()
		return
	}
	s.dropBackend()
	s.enter(StateWaiting)
	s.within(keepRetry)
}

// dialed goes on with a stream whose connect is decided.
func (s *session) dialed(errno unix.Errno) {
	switch {
	case errno != 0:
		s.dialFailed(errno)
	case s.reg.stream.TLS != nil:
		s.secureBackend()
	default:
		s.introduce()
	}
}

// dialFailed: what is our own lack is not held against the backend, which knows the errors of that kind.
func (s *session) dialFailed(err error) {
	s.peer.b.DialFailedTo(s.reg.stream.Addr, err)
	s.reg.refused = false
	s.tryAnother()
}

// tryAnother goes on when a stream came to nothing: with the next backend or, where a move has chosen it, with the same one in a moment.
func (s *session) tryAnother() {
	if s.state == StateReopening {
		s.reopenRetry()
		return
	}
	s.retry()
}

// introduce tells the backend who the client is.
func (s *session) introduce() {
	o := &s.reg.stream
	if len(o.Preface) > 0 && !s.backend.Tell(s.w.legs, o.Preface) {
		s.dialFailed(unix.ECONNRESET)
		return
	}
	switch {
	case s.state == StateReopening:
		s.reopenConnected()
	case o.Native:
		s.enter(StateOpening)
		s.within(openTime)
	default:
		s.peer.b.DialOK()
		s.opened(0)
	}
}

// streamBuffer fixes the socket buffers of streams that can be moved, so that what a client has not read when it is moved stays
// small (handoff/protocol/HANDOFF.md, "A move, in order").
const streamBuffer = 64 << 10

func (w *worker) socketTo(o backend.Opening) (int, unix.Errno) {
	fd, errno := loop.Socket(o.Addr.Addr())
	if errno != 0 {
		if outOfDescriptors(errno) {
			w.sockets.Pause()
		}
		return -1, errno
	}
	if o.Native {
		loop.SetOption(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, streamBuffer)
		loop.SetOption(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, streamBuffer)
	}
	loop.SetOption(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if !o.Addr.Addr().IsLoopback() { // our own host does not vanish in silence
		for _, w := range loop.Watchful {
			loop.SetOption(fd, w.Level, w.Name, w.Value)
		}
	}
	return fd, 0
}

func outOfDescriptors(errno unix.Errno) bool { return errno == unix.EMFILE || errno == unix.ENFILE }

// freshSlot forgets what the slot says of a stream that came to nothing.
func (s *session) freshSlot() {
	s.slot().Flags &^= wire.BackendFINSeen | wire.BackendFINSent | wire.BackendStripped
}
