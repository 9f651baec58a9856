package ircd

import (
	"fmt"
	"time"
)

// tick is the goroutine of all that depends on time.
func (s *Server) tick() {
	defer s.running.Done()
	t := time.NewTicker(s.tickEvery())
	defer t.Stop()
	for {
		select {
		case <-s.stop:
			return
		case now := <-t.C:
			s.do(func() { s.turnClock(now) })
		}
	}
}

// tickEvery is short enough for the shortest time that was configured, and a second at most.
func (s *Server) tickEvery() time.Duration {
	every := min(time.Second, s.cfg.Limits.PingTimeout/4, s.cfg.Limits.Registration/4)
	if s.cfg.Flood.Lines > 0 {
		every = min(every, 100*time.Millisecond)
	}
	return max(every, 10*time.Millisecond)
}

func (s *Server) turnClock(now time.Time) {
	for _, a := range s.acceptors {
		a.pause(false)
	}
	for c := range s.throttled {
		delete(s.throttled, c)
		c.run()
	}
	for c, until := range s.lingering {
		if now.After(until) {
			c.closeNow()
		}
	}
	for c := range s.clients {
		c.checkTime(now)
	}
}

// checkTime sends PING to the silent, and ends who does not answer or does not register.
func (c *Client) checkTime(now time.Time) {
	limits := &c.srv.cfg.Limits
	switch {
	case c.conn == nil:
	case !c.registered:
		if now.Sub(c.born) > limits.Registration {
			c.quit("Registration timed out")
		}
	case !c.pinged.IsZero():
		if now.Sub(c.pinged) > limits.PingTimeout {
			c.quit(fmt.Sprintf("Ping timeout: %d seconds", int(now.Sub(c.heard).Seconds())))
		}
	case now.Sub(c.heard) > limits.PingTimeout:
		c.pinged = now
		c.conn.queue([]byte("PING :"+c.srv.cfg.Name+"\r\n"), limits.SendQ)
	}
}
