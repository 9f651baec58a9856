package backend

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/ircferry/ircferry/internal/config"
)

// minGap is the least time between two checks of a backend, however often somebody asks for one.
const minGap = 100 * time.Millisecond

// start begins the checks of a backend that has a plan; b.stop ends them.
func (b *Backend) start() {
	ctx, cancel := context.WithCancel(b.set.ctx)
	done := make(chan struct{})
	b.stop = func() {
		cancel()
		<-done
	}
	go func() {
		defer close(done)
		b.watch(ctx)
	}()
}

// watch checks the backend: at once, then every inter, when somebody asks, and when a kept control connection breaks.
func (b *Backend) watch(ctx context.Context) {
	k := &keeper{b: b}
	defer k.drop()
	for ctx.Err() == nil {
		pl, version, maint := b.due()
		if maint {
			k.drop()
			select {
			case <-b.wake:
			case <-ctx.Done():
			}
			continue
		}
		began := time.Now()
		out := b.check(ctx, pl, k)
		if ctx.Err() != nil {
			return
		}
		b.note(version, out)
		b.rest(ctx, b.pace(pl.check.Inter.D()), began, k)
	}
}

// rest waits for the next check.
func (b *Backend) rest(ctx context.Context, inter time.Duration, began time.Time, k *keeper) {
	select {
	case <-time.After(inter):
		return
	case <-b.wake:
	case <-k.dead():
	case <-ctx.Done():
		return
	}
	select {
	case <-time.After(time.Until(began.Add(minGap))):
	case <-ctx.Done():
	}
}

// due is what the next check goes by.
func (b *Backend) due() (pl plan, version int, maint bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.plan, b.version, b.admin == Maint
}

// outcome is what one check found.
type outcome struct {
	err   error // nil: good
	at    time.Time
	took  time.Duration
	found found
	addr  netip.AddrPort // where streams go; not valid: not found out
	hello *Hello         // of a native backend

	opinion opinion // of a backend that was asked by irc
	asked   bool    // it was asked to register the check
}

func (b *Backend) check(ctx context.Context, pl plan, k *keeper) outcome {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, pl.check.Timeout.D())
	defer cancel()
	var out outcome
	if pl.conf.Native() {
		out = k.check(ctx, pl)
	} else {
		out = b.checkRelay(ctx, pl)
	}
	out.at = time.Now()
	out.took = out.at.Sub(began)
	return out
}

// checkRelay asks at the addresses of the plan until one answers as an ircd does.
func (b *Backend) checkRelay(ctx context.Context, pl plan) outcome {
	who := b.nextCaller()
	op, f, err := find(ctx, b.set.opt.reach(), pl, b.addresses(), func(ctx context.Context, conn net.Conn) (opinion, error) {
		return pl.look(ctx, conn, who)
	}, func(opinion) {})
	return outcome{err: err, found: f, addr: f.at, opinion: op, asked: who.register && pl.check.Type == config.CheckIRC}
}

// look asks at a connection that has just been made, and closes it.
func (pl plan) look(ctx context.Context, conn net.Conn, who caller) (opinion, error) {
	conn, err := pl.secure(ctx, conn)
	if err != nil {
		return opinion{}, err
	}
	defer conn.Close()
	if pl.check.Type != config.CheckIRC {
		return opinion{}, greet(ctx, conn, pl.conf)
	}
	return askIRC(ctx, conn, pl, who)
}

// addresses is what is known of where the plan leads.
func (b *Backend) addresses() []netip.AddrPort {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.known
}

// note takes the outcome of a check in, unless the plan that it was made by is out of date.
func (b *Backend) note(version int, out outcome) {
	reason := Reason("")
	if out.err != nil {
		reason = ReasonOf(out.err)
	}
	b.set.metrics.checked(b, out.took, reason)
	b.mu.Lock()
	if b.version != version || b.admin == Maint {
		b.mu.Unlock()
		return
	}
	b.lastCheck, b.took, b.lastErr, b.lastReason = out.at, out.took, "", reason
	b.picked.Store(b.picked.Load() / 2) // those of them that never became sessions must not count for ever
	newEpoch, was := b.learnLocked(out)
	told := b.weighLocked(out)
	now := b.addr
	changed := false
	switch {
	case out.err == nil:
		changed = b.health.pass(b.plan.check.Rise, out.at)
	case reason == ReasonLocal, reason == ReasonTimeout && b.lenient > 0:
		b.lastErr = out.err.Error()
	default:
		b.lastErr = out.err.Error()
		changed = b.health.fail(b.plan.check.Fall, b.lastErr, out.at)
	}
	up := b.health.oper == Up
	if up && changed {
		b.backoff, b.turned = backoff{}, turned{} // of clients before it went down
	}
	b.mu.Unlock()
	if told != "" {
		b.set.event(b, EventIdentity, told)
	}
	if was.IsValid() {
		b.set.moved(b, was, now)
	}
	if newEpoch {
		b.set.event(b, EventHello, introduction(*out.hello))
	}
	if changed && up {
		b.set.event(b, EventUp, "")
	} else if changed {
		b.set.event(b, EventDown, out.err.Error())
	}
}

// learnLocked keeps what a check told and reports whether a native backend is another process than before, and which address was
// in use before, if it is another one now.
func (b *Backend) learnLocked(out outcome) (newEpoch bool, was netip.AddrPort) {
	if out.found.known != nil {
		b.known = firstOf(out.found.known, out.found.at)
	}
	switch {
	case b.plan.conf.Native():
		if out.addr.IsValid() {
			b.addr = out.addr
		}
	case out.addr.IsValid():
		b.failed = nil
		was = b.useLocked(out.addr)
	case len(b.known) > 0 && !slices.Contains(b.known, b.addr):
		was = b.useLocked(b.known[0]) // nobody answers anywhere, and the name leads there no more
	}
	if out.hello == nil {
		return false, was
	}
	newEpoch = b.helloAt.IsZero() || b.hello.Epoch != out.hello.Epoch
	b.hello, b.helloAt, b.fresh = *out.hello, out.at, false
	return newEpoch, was
}

// useLocked makes an address the one in use, and answers the one before if it was another one.
func (b *Backend) useLocked(addr netip.AddrPort) (was netip.AddrPort) {
	if b.addr != addr {
		was, b.addr = b.addr, addr
	}
	return was
}
