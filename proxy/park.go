package proxy

import (
	"context"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/proxy/wire"
)

const (
	// parkAwake is how long after the freeze a parked client is read again. Before, an answer to its PING could overtake lines that
	// it fences with it; after, a client that measures lag would leave.
	parkAwake = 10 * time.Second

	// What was held in a park goes out slowly, so that the ircd's limits do not see a flood that the client never made:
	// InspIRCd kills at a RecvQ of 4 to 8 KiB by default, and ircds work off one or two lines a second of one client.
	paceFirst = 2 << 10
	paceNext  = 1 << 10
	paceEvery = 100 * time.Millisecond
)

// Park closes the old streams of frozen sessions.
func (p *Proxy) Park(us []string, serverName string) {
	p.step(context.Background(), us, backend.CauseGone, func(w *worker, b *batch, us []string) {
		for _, u := range us {
			if s := w.find(u); s != nil && s.state == StateFrozen {
				w.park(s, serverName)
			}
			b.add(backend.Moved{U: u})
		}
	}, nil)
}

func (w *worker) park(s *session, serverName string) {
	w.dropBackend(s)
	s.mv.server = serverName
	w.enter(s, StateParked)
	if until := s.mv.frozenAt + parkAwake; until > w.loop.Now() {
		w.until(s, until)
	} else {
		w.wakeParked(s)
	}
}

// wakeParked begins to read a parked client.
func (w *worker) wakeParked(s *session) {
	s.mv.awake, s.mv.wasAwake = true, true
	if !s.has(clientGone) {
		s.set(clientMore)
		w.again(s)
	}
}

func (w *worker) mayReadParked(s *session) bool {
	// Who is not registered waits with what it says: it will be opened anew.
	return s.mv.awake && s.registered() && w.parkedRoom(s) > 0 && !s.slot.Flags.Has(wire.ClientFINSeen)
}

// parkedRoom is how much more of a parked client is held: highWater in all.
func (w *worker) parkedRoom(s *session) int {
	return max(0, highWater-s.slot.ToBackend.Len()-len(s.mv.half))
}

// parkedBytes takes client bytes of a parked session.
func (w *worker) parkedBytes(s *session, p []byte) {
	q, mv := &s.slot.ToBackend, s.mv
	if wire.TooLong(int(q.Half)+len(mv.half), p) {
		w.lineTooLong(s)
		return
	}
	if q.Half > 0 { // the rest of a line that began before the freeze
		if p = w.finishHalf(s, p); s.state == stateFree {
			return
		}
	}
	if q.Half > 0 {
		cut := firstLine(p)
		if err := w.shard.AppendLines(q, p[:cut]); err != nil {
			w.outOfMemory(s)
			return
		}
		p = p[cut:]
	}
	p = w.linesWithoutSTARTTLS(s, append(mv.half, p...))
	if s.state == stateFree {
		return
	}
	cut := wire.Cut(p)
	mv.half = append([]byte(nil), p[cut:]...)
	kept, answers := p[:cut], []byte(nil)
	// In the middle of a line of the old ircd nothing can be said: the rest of it comes at the splice.
	if !s.has(midLine) {
		kept, answers = parkedLines(kept, mv.server, nil)
	}
	if err := w.shard.AppendLines(q, kept); err != nil {
		w.outOfMemory(s)
		return
	}
	w.toClient(s, answers)
}

// firstLine is the length of p up to its first LF, or all of it.
func firstLine(p []byte) int {
	for i, c := range p {
		if c == '\n' {
			return i + 1
		}
	}
	return len(p)
}

// paceOut writes whole lines, as many as fit into budget, but one at least.
func (w *worker) paceOut(s *session, budget int) {
	q, mv := &s.slot.ToBackend, s.mv
	n := w.wholeWithin(s, budget)
	before := q.Len()
	if n > 0 && !s.has(backendFull) {
		if !w.writeBackend(s, n) {
			s.unset(pacing)
			return
		}
	}
	mv.pace -= before - q.Len()
	w.within(s, paceEvery)
}

// wholeWithin is the length of the queue's first whole lines within budget, or of the first line alone.
func (w *worker) wholeWithin(s *session, budget int) int {
	q := &s.slot.ToBackend
	var text []byte
	for _, p := range w.shard.Pieces(q, min(q.Whole(), max(budget, wire.MaxLine)), nil) {
		text = append(text, p...)
	}
	if cut := wire.Cut(text[:min(len(text), budget)]); cut > 0 {
		return cut
	}
	return firstLine(text)
}

// paceOn is a tick of the pace: the next bytes, or its end.
func (w *worker) paceOn(s *session) {
	if s.mv.pace > 0 && s.slot.ToBackend.Whole() > 0 {
		w.paceOut(s, paceNext)
		if s.has(clientMore) && s.has(pacing) {
			w.readClient(s)
		}
		return
	}
	s.unset(pacing)
	w.endMove(s)
	w.flushBackend(s)
	if s.state != StateRelay {
		return
	}
	w.boundEnd(s)
	if s.has(clientMore) {
		w.readClient(s)
	}
}

// flushPaced: while a pace is on, its ticks write.
func (w *worker) flushPaced(*session) {}
