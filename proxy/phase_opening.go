package proxy

import (
	"bytes"

	"github.com/ircferry/ircferry/proxy/wire"
)

// awaitingOpened waits for the answer to OPEN, which is for us; what is behind it is the client's.
type awaitingOpened struct{ early }

func (awaitingOpened) backendRoom(*session) int { return anyRoom }

func (awaitingOpened) fromBackend(s *session, p []byte) {
	r := s.reg
	line, rest := r.first.Next(p, maxFirstLine)
	if line == nil {
		if r.first.Len() >= maxFirstLine {
			s.openingLost()
		}
		return
	}
	if code := answerCode(line, "OPENED", s.id(), r.stream.Proof); code != "" {
		s.peer.b.OpenRefused(code)
		r.refused = true
		s.retry()
		return
	}
	rest = bytes.Clone(rest) // the staging buffer will be used before it is passed on
	s.slot().Flags |= wire.BackendStripped
	s.peer.b.DialOK()
	s.opened(len(rest))
	if len(rest) > 0 {
		s.phase().fromBackend(s, rest)
	}
}

func (awaitingOpened) backendEnded(s *session) { s.openingLost() }
func (awaitingOpened) timeOver(s *session)     { s.openingLost() }

// openingLost: the stream ended, or the time, before OPEN was answered.
func (s *session) openingLost() {
	s.peer.b.OpenRefused("")
	s.reg.refused = false
	s.tryAnother()
}

// opened begins to relay. The counts begin here; ahead bytes of the backend were read and are still to be passed on.
func (s *session) opened(ahead int) {
	if s.reg.stream.HoldForUser {
		s.set(holding)
	}
	s.slot().BackendIn, s.slot().BackendOut = 0, 0
	s.baseline(ahead)
	s.reg.spoke = s.w.loop.Now()
	s.enter(StateRelay)
	s.registrationTime()
	if early := s.reg.early; len(early) > 0 {
		s.reg.early = nil
		s.registering(early)
		clear(early)
		if s.reg != nil && len(s.reg.head) == 0 {
			s.unset(keepsBytes)
		}
	}
	// What came with the end of its handshake, what waits in the kernel: behind what the backend has said just now.
	if s.w.shard.Working(s.slot()) {
		s.client.LookAgain()
		s.again()
	} else {
		s.pullClient()
	}
}

// maxFirstLine bounds the line that answers OPEN, ATTACH or COMMIT.
const maxFirstLine = 1024

// isAnswer reports whether a line is "VERB u=<u>", whatever other keys it has.
func isAnswer(line []byte, verb, u string) bool {
	fields := bytes.Fields(line)
	if len(fields) < 2 || string(fields[0]) != verb {
		return false
	}
	for _, f := range fields[1:] {
		if string(f) == "u="+u {
			return true
		}
	}
	return false
}

// errorCode is the code of an "ERROR code=" line, or a word for anything else.
func errorCode(line []byte) string {
	fields := bytes.Fields(line)
	if len(fields) > 0 && string(fields[0]) == "ERROR" {
		for _, f := range fields[1:] {
			if code, ok := bytes.CutPrefix(f, []byte("code=")); ok {
				return string(code)
			}
		}
	}
	return "unexpected-answer"
}
