package proxy

import (
	"time"

	"github.com/ircferry/ircferry/proxy/wire"
)

// parked is a long freeze without a stream. After a while the client is read again: its PINGs are answered here and its lines are held.
type parked struct{ late }

// parkAwake is how long after the freeze a parked client is read again. Before, an answer to its PING could overtake lines that
// it fences with it; after, a client that measures lag would leave.
const parkAwake = 10 * time.Second

func (s *session) park(serverName string) {
	s.dropBackend()
	s.keepPlace()
	s.mv.server = serverName
	s.enter(StateParked)
	if s.has(dismissed) {
		return // its deadline is another
	}
	s.wakeLater()
}

// wake begins to read a parked client.
func (s *session) wake() {
	s.mv.awake, s.mv.wasAwake = true, true
	s.mark(markAwake, true)
	s.client.LookAgain()
	s.again()
}

func (parked) timeOver(s *session) {
	switch {
	case s.has(dismissed):
		s.closeClient()
	case !s.mv.awake:
		s.wake()
	}
}

// clientRoom is how much more of the client is held: highWater in all.
func (parked) clientRoom(s *session) int {
	// Who is not registered waits with what it says: it will be opened anew.
	if !s.mv.awake || !s.registered() || s.client.Ended() || !s.clientMayBeRead() {
		return 0
	}
	return highWater - s.slot().ToBackend.Len()
}

func (parked) fromClient(s *session, p []byte) {
	s.tookFromClient(p)
	s.spoke(p)
	q := &s.slot().ToBackend
	p, err := s.w.framer.Filter(q, p, false, s.whileParked)
	if aerr := s.w.shard.AppendLines(q, p); aerr != nil {
		s.outOfMemory(aerr)
		return
	}
	s.framed(err)
}

// whileParked is asked about each line of a parked client.
func (s *session) whileParked(line []byte) bool {
	if !s.notSTARTTLS(line) {
		return false
	}
	if s.has(midLine) {
		return true // in the middle of a line of the old ircd nothing can be said: the rest of it comes at the splice
	}
	answer, kept := parkedLine(line, s.mv.server, s.mv.awaits)
	s.say(answer)
	return kept
}

// What was held in a park goes out slowly, so that the ircd's limits do not see a flood that the client never made:
// InspIRCd kills at a RecvQ of 4 to 8 KiB by default, and ircds work off one or two lines a second of one client.
const (
	paceFirst = 2 << 10
	paceNext  = 1 << 10
	paceEvery = 100 * time.Millisecond
)

// pacedCarryOn is carryOn for a session that was parked. first is how much goes out at once in any case.
func (s *session) pacedCarryOn(first int) {
	if n := s.slot().ToBackend.Whole(); n > first+paceFirst {
		s.set(pacing)
		s.mv.pace = n
	}
	s.carryOn()
	if s.relays() && s.has(pacing) {
		s.paceOut(first + paceFirst)
	}
}

// paceOut writes whole lines, as many as fit into budget, but one at least.
func (s *session) paceOut(budget int) {
	q, mv := &s.slot().ToBackend, s.mv
	n := s.wholeWithin(budget)
	before := q.Len()
	if n > 0 && !s.backend.Full() {
		if !s.toldBackend(s.backend.OfferQueue(s.w.legs, q, n)) {
			s.unset(pacing)
			return
		}
	}
	mv.pace -= before - q.Len()
	s.within(paceEvery)
}

// wholeWithin is the length of the queue's first whole lines within budget, or of the first line alone.
func (s *session) wholeWithin(budget int) int {
	q := &s.slot().ToBackend
	var text []byte
	for _, p := range s.w.shard.Pieces(q, min(q.Whole(), max(budget, wire.MaxLine)), nil) {
		text = append(text, p...)
	}
	if cut := wire.Cut(text[:min(len(text), budget)]); cut > 0 {
		return cut
	}
	for line := range wire.Lines(text) {
		return len(line)
	}
	return len(text)
}

// paceOn is a tick of the pace: the next bytes, or its end.
func (s *session) paceOn() {
	if s.mv.pace > 0 && s.slot().ToBackend.Whole() > 0 {
		s.paceOut(paceNext)
		if s.has(pacing) {
			s.pullClient()
		}
		return
	}
	s.unset(pacing)
	s.endMove()
	s.flushBackend()
	s.boundEnd()
	s.pullClient()
}
