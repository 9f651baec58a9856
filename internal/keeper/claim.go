package keeper

import (
	"crypto/rand"
	"encoding/binary"
	"time"
)

// The claim: see the package's comment.

const (
	claimGranted = 0
	claimHeld    = 1
)

// queueBound is more than a socket's queue has messages: what a dead daemon had sent is read to its end, and one that lives and never stops cannot keep a claim
// waiting.
const queueBound = 1 << 14

// claim grants it, or says who has it.
func (s *Server) claim(p *peer, body []byte) (answer []byte) {
	s.closeAll() // it comes with none; what is read below uses the same room
	var with ticket
	copy(with[:], body)
	if w := s.writer; w != nil && w != p && s.read(w, queueBound) && (w.ticket == ticket{} || w.ticket != with) {
		return s.claimAnswer(claimHeld, w.pid)
	}
	if s.writer != nil && s.writer != p {
		s.writer.ticket = ticket{}
		s.log.Info("a daemon has passed what it has to another", "from", s.writer.pid, "to", p.pid, "descriptors", s.held.n)
	} else if s.writer == nil {
		s.log.Info("a daemon is here", "pid", p.pid, "descriptors", s.held.n, "memory", len(s.names))
	}
	s.stopGrace()
	s.writer, s.serving = p, false
	s.epoch++
	return s.claimAnswer(claimGranted, p.pid)
}

func (s *Server) claimAnswer(result byte, pid int) []byte {
	b := binary.LittleEndian.AppendUint32([]byte{result}, uint32(pid))
	return binary.LittleEndian.AppendUint64(b, s.epoch)
}

// pass draws a ticket; one drawn before is void.
func (s *Server) pass(p *peer) []byte {
	rand.Read(p.ticket[:])
	return p.ticket[:]
}

// vacate is the end of who had the claim.
func (s *Server) vacate() {
	pid := s.writer.pid
	if s.writer.ending {
		s.clear()
	}
	if s.serving {
		s.grace = s.o.Grace
	}
	s.writer, s.serving = nil, false
	if s.empty() {
		s.log.Info("the daemon has ended, nothing of it is left here", "pid", pid)
		return
	}
	s.since = time.Now()
	s.log.Warn("the daemon has ended: its connections are held until one comes back", "pid", pid, "descriptors", s.held.n, "memory", len(s.names), "for", s.grace)
}

// stopGrace lets the grace time rest where it is.
func (s *Server) stopGrace() {
	if s.since.IsZero() {
		return
	}
	s.grace = max(0, s.grace-time.Since(s.since))
	s.since = time.Time{}
}
