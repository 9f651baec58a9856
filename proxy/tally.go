package proxy

import "sync/atomic"

// tally is the counts of a listener's name. It outlives the listener, so that a counter does not go back when an address changes.
// Any goroutine may use it.
type tally struct {
	listener string
	live     atomic.Int64
	accepted atomic.Uint64
	ended    [reasonCount]atomic.Uint64

	handshakes words // TLS: full, resumed, or why there was none
	records    words // TLS: why a client's records were refused
}

// tallyOf answers the tally of a name.
func (p *Proxy) tallyOf(name string) *tally {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.tally[name]
	if t == nil {
		t = &tally{listener: name}
		p.tally[name] = t
	}
	return t
}

func (p *Proxy) tallies() []*tally {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]*tally, 0, len(p.tally))
	for _, t := range p.tally {
		all = append(all, t)
	}
	return all
}

// refusal reports whether clients with this reason were never let in.
func (r CloseReason) refusal() bool {
	switch r {
	case ReasonHeaderTimeout, ReasonHeaderRefused, ReasonHeaderBad, ReasonHandshakeTimeout, ReasonHandshakeFailed, ReasonPlaintextOnTLS, ReasonTLSOnPlaintext, ReasonLimitConnections, ReasonLimitPerIP, ReasonLimitRate:
		return true
	}
	return false
}

// Taken is what a listener has let in and turned away since its name came into the configuration.
type Taken struct {
	Accepted uint64            // also those that were refused then
	Rejected map[string]uint64 // by close reason
}

// Taken answers the totals of each listener by its name. Any goroutine may call it.
func (p *Proxy) Taken() map[string]Taken {
	all := map[string]Taken{}
	for _, t := range p.tallies() {
		taken := Taken{Accepted: t.accepted.Load(), Rejected: map[string]uint64{}}
		for r := ReasonClientClosed; r < reasonCount; r++ {
			if n := t.ended[r].Load(); r.refusal() && n > 0 {
				taken.Rejected[r.String()] = n
			}
		}
		all[t.listener] = taken
	}
	return all
}
