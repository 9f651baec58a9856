package proxy

import (
	"crypto/tls"
	"errors"
	"net"

	"github.com/ircferry/ircferry/internal/config"
	"github.com/ircferry/ircferry/proxy/admit"
	"github.com/ircferry/ircferry/proxy/loop"
)

// How clients come in is package admit's; here a client becomes a session.

// SetListeners makes cs the listeners, at start and at each reload: all of them or, with an error, no change; see admit.Set.Apply. Sessions
// stay in any case. After CloseAll or Close it answers ErrClosed.
func (p *Proxy) SetListeners(cs []config.Listener, secure map[string]*tls.Config) error {
	err := p.listeners.Apply(cs, secure)
	if errors.Is(err, admit.ErrClosed) {
		return ErrClosed
	}
	return err
}

// Addrs tells where each listener, by name, is bound.
func (p *Proxy) Addrs() map[string][]net.Addr { return p.listeners.Addrs() }

func (p *Proxy) sockets() (all []*admit.Sockets) {
	for _, w := range p.workers {
		all = append(all, w.sockets)
	}
	return all
}

// arrived begins the session of an accepted client.
func (w *worker) arrived(c admit.Client) {
	tally := c.Token.Place().Owner().(*tally)
	tally.accepted.Add(1)
	s, err := w.newSession()
	if err != nil {
		c.Token.Release(c.Addr.Addr())
		tally.ended[ReasonMemory].Add(1)
		loop.Close(c.FD)
		return
	}
	s.hold(c.Token)
	slot := s.slot()
	slot.Started, slot.Remote, slot.Local = int64(w.loop.Now()), toEndpoint(c.Addr), toEndpoint(c.Local)
	if s.lst().TLS() != nil {
		s.set(securing)
	}
	if err := s.client.Take(w.legs, c.FD, s.key(portClient)); err != nil {
		loop.Close(c.FD)
		s.letIn(admit.Admitted) // release takes it back
		s.cutOff(ReasonMemory)
		return
	}
	if !s.letIn(c.Refusal) {
		return
	}
	w.keepClient(s, func() {
		if c.Header {
			s.within(headerTime)
		} else {
			s.secure()
		}
	})
}

// letIn counts a session that was admitted and ends one that was refused: false. Of what is about no client, or not yet, nothing is counted.
func (s *session) letIn(r admit.Refusal) bool {
	switch r {
	case admit.Admitted:
		if t := s.token(); t.Admitted() {
			s.tally().live.Add(1)
		}
		return true
	case admit.RefusedConnections:
		s.refuse(ReasonLimitConnections, "Too many connections")
	case admit.RefusedPerIP:
		s.refuse(ReasonLimitPerIP, "Too many connections from your address")
	case admit.RefusedRate:
		s.refuse(ReasonLimitRate, "You are connecting too fast, please wait")
	}
	return false
}

// release gives back what the client held of the listener's limits.
func (s *session) release() {
	t := s.token()
	if t.Admitted() {
		s.tally().live.Add(-1)
	}
	t.Release(s.remote().Addr())
	s.hold(t)
}
