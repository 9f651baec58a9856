package proxy

import (
	"errors"
	"time"

	"github.com/ircferry/ircferry/proxy/lines"
	"github.com/ircferry/ircferry/proxy/wire"
)

// relaying carries bytes both ways. Until 001 each line is looked at (registering.go); after it only what may be STARTTLS.
type relaying struct{ late }

func (relaying) clientRoom(s *session) int {
	if !s.clientMayBeRead() {
		return 0
	}
	return anyRoom
}

func (relaying) fromClient(s *session, p []byte) {
	s.tookFromClient(p)
	if s.listens() {
		s.spoke(p)
	}
	if s.has(opensHere) {
		s.registering(p)
		return
	}
	q := &s.slot().ToBackend
	if q.Half == 0 && len(p) <= wire.MaxLine && !lines.Suspect(p) { // nearly always
		s.toBackend(p)
		return
	}
	p, err := s.w.framer.Filter(q, p, true, s.notSTARTTLS)
	s.toBackend(p)
	s.framed(err)
}

// notSTARTTLS answers STARTTLS here; it never reaches an ircd.
func (s *session) notSTARTTLS(line []byte) bool {
	if lines.IsSTARTTLS(line) {
		s.refuseSTARTTLS()
		return false
	}
	return true
}

// framed takes what the framer says behind the lines that it has let pass.
func (s *session) framed(err error) {
	switch {
	case err == nil:
	case errors.Is(err, lines.ErrTooLong):
		s.lineTooLong()
	default:
		s.outOfMemory(err)
	}
}

func (relaying) clientEnded(s *session) {
	null := s.saidNothing()
	late{}.clientEnded(s)
	if null && !s.slot().Flags.Has(wire.BackendStripped) {
		s.within(nullTime)
		return
	}
	s.clientSaysNoMore(halfClosedTime)
}

// nullTime is how long a client that has ended without a byte may still read what a stock ircd says. Then the stream is reset: InspIRCd keeps one
// that ends right behind its PROXY header as an unknown connection until its registration timeout.
const nullTime = time.Second

func (relaying) clientLeft(s *session) {
	if s.saidNothing() && !s.slot().Flags.Has(wire.BackendStripped) {
		s.finish()
		return
	}
	late{}.clientLeft(s)
	s.clientSaysNoMore(leaveTime)
}

// clientSaysNoMore sends the client's end on, behind its last whole line; a half line can never become whole now.
func (s *session) clientSaysNoMore(d time.Duration) {
	s.flushBackend()
	s.checkDone()
	if s.relays() {
		s.halfClosed(d)
	}
}

func (relaying) backendRoom(s *session) int {
	if s.slot().ToClient.Len() >= highWater {
		return 0
	}
	return anyRoom
}

func (relaying) fromBackend(s *session, p []byte) { s.relay(p) }

// relay passes bytes of the ircd on to the client.
func (s *session) relay(p []byte) {
	s.slot().BackendOut += uint64(len(p))
	s.w.counts.bytesOut.Add(uint64(len(p)))
	at := errorSpot(s.slot().ErrorAt)
	at.see(p)
	s.slot().ErrorAt = uint8(at)
	if s.has(opensHere) {
		s.answered(p)
	}
	if s.listens() {
		p = s.heard(p)
	}
	s.toClient(p)
	if s.slot().Owed > 0 {
		s.payRefusals()
	}
}

func (relaying) backendEnded(s *session) {
	s.backend.NoMore()
	s.turnedAway()
	s.relayLost()
}

// relayLost: the ircd will say no more. If it, or the client, has said why, what it said goes out; else the client is told.
func (s *session) relayLost() {
	if !s.saidError() && !s.client.Ended() && !s.has(dismissed) {
		s.end(ReasonBackendLost, "The server has gone away, please reconnect")
		return
	}
	s.noteEnd(ReasonBackendClosed)
	if s.backend.WasReset() || s.backend.SentEnd() {
		s.w.shard.Clear(&s.slot().ToBackend)
	}
	s.flushClient()
	s.checkDone()
	if s.relays() && !s.has(dismissed) && !s.client.Gone() {
		s.halfClosed(halfClosedTime)
	}
}

// dismiss leaves the ircd time to end the stream by itself, with the client's last lines and its end.
func (relaying) dismiss(s *session) {
	if s.backend.Ended() {
		early{}.dismiss(s)
		return
	}
	s.client.NoMore()
	s.flushBackend()
	s.checkDone()
}

func (relaying) timeOver(s *session) {
	switch {
	case s.has(pacing):
		s.paceOn()
	case s.has(dismissed) && !s.client.Gone():
		s.closeClient()
		s.within(leaveTime)
		s.checkDone()
	case s.client.Ended() || s.backend.Ended():
		if !s.client.Gone() && !s.saidNothing() {
			s.endsFor(ReasonHalfClosed)
		}
		s.finish()
	case s.reg != nil:
		s.registrationTimeOver()
	}
}

// boundEnd sets the deadline of a session that relays again, by what it was in.
func (s *session) boundEnd() {
	switch {
	case !s.relays():
	case s.has(pacing):
		s.within(paceEvery)
	case s.client.Gone():
		s.within(leaveTime)
	case s.has(dismissed):
		s.within(lingerTime)
	case s.client.Ended() || s.backend.Ended():
		s.within(halfClosedTime)
	}
}
