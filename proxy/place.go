package proxy

import (
	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/proxy/loop"
)

// A session that is parked has no stream, and will need one. New clients, who come in all the while, must not take its descriptor: so it
// is held by one of nothing until then. Between the two another loop may take the number, and this one gets the next: so there are never more
// clients than may be, but for one of each loop.

// keepPlace holds a descriptor for the session's next stream, in a park.
func (s *session) keepPlace() {
	if s.mv == nil || s.mv.place > 0 {
		return
	}
	if fd := loop.Placeholder(); fd > 0 {
		s.mv.place = fd
	}
}

// leavePlace gives it back.
func (s *session) leavePlace() {
	if s.mv != nil && s.mv.place > 0 {
		loop.Close(s.mv.place)
		s.mv.place = 0
	}
}

// socket is a socket for a stream of the session, in its place if one was kept.
func (s *session) socket(o backend.Opening) (int, unix.Errno) {
	s.leavePlace()
	return s.w.socketTo(o)
}
