package keeper

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// peer is a connection.
type peer struct {
	fd      int
	pid     int
	greeted bool
	ticket  ticket // that it has drawn for its successor; zero: none
	ending  bool   // nothing is to outlive it
	owes    bool   // it was to be told that descriptors are lost, and its socket was full
}

// serve reads what a connection has to say, and ends it when it has ended.
func (s *Server) serve(fd int) {
	for _, p := range s.peers {
		if p.fd == fd {
			s.read(p, turn)
			return
		}
	}
}

// read takes at most n messages, and reports whether the other end is still there.
func (s *Server) read(p *peer, n int) (alive bool) {
	for range n {
		k, more := s.receive(p)
		if k == 0 {
			s.drop(p)
			return false
		}
		if !more {
			break
		}
	}
	if p.owes {
		p.owes = !s.say(p, sayLost, 0, []byte{whyEMFILE}, nil)
	}
	return true
}

// receive takes a message. k is 0 behind the end of all; more is false if there is no message now.
//
// ECONNRESET is not the end: it says that the other end has died with answers of ours unread, once, and comes before what that had sent.
func (s *Server) receive(p *peer) (k int, more bool) {
	n, oobn, flags, _, err := unix.Recvmsg(p.fd, s.buf, s.oob, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	switch {
	case err == unix.EAGAIN:
		return -1, false
	case err == unix.ECONNRESET || err == unix.EINTR:
		return -1, true
	case err != nil || n == 0:
		s.rights(oobn)
		s.closeAll()
		return 0, false
	}
	s.rights(oobn)
	s.take(p, s.buf[:n], flags)
	s.closeAll()
	return n, true
}

// rights puts the descriptors that came into s.fds.
func (s *Server) rights(oobn int) {
	s.fds = s.fds[:0]
	for b := s.oob[:oobn]; len(b) >= unix.SizeofCmsghdr; {
		h, data, rest, err := unix.ParseOneSocketControlMessage(b)
		if err != nil {
			return
		}
		if h.Level == unix.SOL_SOCKET && h.Type == unix.SCM_RIGHTS {
			for ; len(data) >= 4; data = data[4:] {
				s.fds = append(s.fds, int(int32(binary.NativeEndian.Uint32(data))))
			}
		}
		b = rest
	}
}

// closeAll closes the descriptors that came and were not kept.
func (s *Server) closeAll() {
	for _, fd := range s.fds {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	s.fds = s.fds[:0]
}

// drop ends a connection. With who has the claim, the grace time begins, or goes on where it was.
func (s *Server) drop(p *peer) {
	unix.Close(p.fd)
	for i := range s.peers {
		if s.peers[i] == p {
			s.peers = append(s.peers[:i], s.peers[i+1:]...)
			break
		}
	}
	if s.writer == p {
		s.vacate()
	}
}

// say sends an answer without waiting, and reports whether it went.
func (s *Server) say(p *peer, verb byte, seq uint32, body []byte, fds []int) bool {
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	err := unix.Sendmsg(p.fd, append(header(nil, verb, seq), body...), oob, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	return err == nil
}
