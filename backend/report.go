package backend

import (
	"errors"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/ircferry/ircferry/handoff/protocol"
)

// SessionDelta counts sessions that got (+) or lost (-) their stream at this backend. A removed backend goes with its last session.
func (b *Backend) SessionDelta(n int) {
	left := b.sessions.Add(int64(n))
	if n > 0 {
		b.unpick(int64(n))
		if b.removed.Load() {
			b.set.linger(b) // chosen just before the reload
		}
	}
	if n < 0 && left <= 0 {
		b.set.emptied(b)
	}
}

// unpick takes back what Choose counted in advance.
func (b *Backend) unpick(n int64) {
	for {
		old := b.picked.Load()
		if old == 0 || b.picked.CompareAndSwap(old, max(old-n, 0)) {
			return
		}
	}
}

// DialFailed reports a connect of a client's stream that failed. Failures feed fall like failed checks do, one for each wait of the
// backoff; a local failure (out of descriptors or ports) is counted as reason local and else means nothing.
func (b *Backend) DialFailed(err error) { b.DialFailedTo(netip.AddrPort{}, err) }

// DialFailedTo is DialFailed for who knows at which address (Opening.Addr) it was. If the name of the backend has others that no client
// has failed at since the last good check, the next client goes to one of those at once, and the failure counts for nothing else.
func (b *Backend) DialFailedTo(addr netip.AddrPort, err error) {
	reason := ReasonOf(err)
	b.unpick(1)
	b.set.metrics.dialFailed(b, reason)
	if reason == ReasonLocal && !errors.Is(err, syscall.EADDRNOTAVAIL) || b.detour(addr) || reason == ReasonLocal {
		return
	}
	b.stumble("connect: " + err.Error())
}

// detour sends the next client to another address than the one that failed, and asks for a check. It reports whether there is one.
func (b *Backend) detour(addr netip.AddrPort) bool {
	b.mu.Lock()
	if !slices.Contains(b.known, addr) { // the stream port of a native backend is none of its control's
		b.mu.Unlock()
		return false
	}
	if b.failed == nil {
		b.failed = map[netip.AddrPort]bool{}
	}
	b.failed[addr] = true
	i := slices.IndexFunc(b.known, func(a netip.AddrPort) bool { return !b.failed[a] })
	if i < 0 {
		b.failed = nil // every one had its turn: the failure counts, and they begin anew
		b.mu.Unlock()
		return false
	}
	was := netip.AddrPort{}
	if addr == b.addr {
		was = b.useLocked(b.known[i])
	}
	now := b.addr
	b.troubled.Store(true)
	b.mu.Unlock()
	if was.IsValid() {
		b.set.moved(b, was, now)
	}
	b.Recheck()
	return true
}

// OpenRefused reports that a stream's OPEN was answered with "ERROR code=<code>", or not at all (""). Unless the code is about that one
// stream, or says that the ircd is full, a new process with another stream secret may be there: HELLO is asked at once, on a new
// connection, and it counts like a failed connect.
func (b *Backend) OpenRefused(code string) {
	b.unpick(1)
	b.set.metrics.dialFailed(b, ReasonAnswer)
	switch protocol.Code(code) {
	case protocol.CodeUInUse, protocol.CodeBadValue:
		return
	case protocol.CodeRefused:
		b.mu.Lock()
		b.troubled.Store(true)
		b.backoff.failed(time.Now())
		b.mu.Unlock()
		return
	}
	b.mu.Lock()
	b.fresh = true
	b.mu.Unlock()
	if code == "" {
		code = "no answer"
	}
	b.stumble("OPEN: " + code)
}

// stumble counts a failed connect, lets the next client wait, and asks for a check.
func (b *Backend) stumble(cause string) {
	now := time.Now()
	b.mu.Lock()
	if b.backoff.waits(now) {
		b.mu.Unlock()
		return // of the same moment as one that was counted
	}
	b.troubled.Store(true)
	b.backoff.failed(now)
	changed := b.health.dialFailed(b.plan.check.Fall, cause, now)
	b.mu.Unlock()
	if changed {
		b.set.event(b, EventDown, cause)
	}
	b.Recheck()
}

// DialOK reports that a client's stream was connected and, at a native backend, that OPEN was answered.
func (b *Backend) DialOK() {
	if !b.troubled.Load() {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.troubled.Store(false)
	b.backoff, b.failed = backoff{}, nil
	b.health.dialBad = 0
}
