package proxy

import (
	"context"

	"github.com/ircferry/ircferry/backend"
)

// Await lets frozen sessions wait as parked ones do, on the streams that they have.
func (p *Proxy) Await(us []string, serverName string) {
	p.step(context.Background(), us, step{late: backend.CauseGone, begin: func(b *batch, s *session) {
		if s.state == StateFrozen && serverName != "" && !s.has(dismissed) {
			s.mv.server, s.mv.awaits = serverName, true
			s.wakeLater()
		}
		b.answer(backend.Moved{U: s.id()})
	}})
}

// wakeLater has a client that waits read again when it has been frozen for parkAwake.
func (s *session) wakeLater() {
	if until := s.mv.frozenAt + parkAwake; until > s.w.loop.Now() {
		s.until(until)
	} else {
		s.wake()
	}
}
