package backend

import (
	"context"
	"fmt"
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
		b.rest(ctx, pl.check.Inter.D(), began, k)
	}
}

// rest waits for the next check.
func (b *Backend) rest(ctx context.Context, inter time.Duration, began time.Time, k *keeper) {
	next := time.NewTimer(inter)
	defer next.Stop()
	select {
	case <-next.C:
		return
	case <-b.wake:
	case <-k.dead():
	case <-ctx.Done():
		return
	}
	gap := time.NewTimer(time.Until(began.Add(minGap)))
	defer gap.Stop()
	select {
	case <-gap.C:
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
	addr  netip.AddrPort // where streams go; not valid: not found out
	hello *Hello         // of a native backend
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

func (b *Backend) checkRelay(ctx context.Context, pl plan) outcome {
	addr, err := b.resolve(ctx, pl)
	if err != nil {
		return outcome{err: err}
	}
	out := outcome{addr: addr}
	conn, err := b.set.opt.Dial(ctx, "tcp", addr.String())
	if err != nil {
		out.err = fmt.Errorf("connect: %w", err)
		return out
	}
	if conn, err = pl.secure(ctx, conn); err != nil {
		out.err = err
		return out
	}
	defer conn.Close()
	if pl.check.Type == config.CheckIRC {
		_, out.err = askIRC(ctx, conn, pl.conf)
	} else {
		out.err = greet(ctx, conn, pl.conf)
	}
	return out
}

// resolve finds the address of a relay backend. The one in use stays as long as it is among the answers, and while names cannot be
// looked up.
func (b *Backend) resolve(ctx context.Context, pl plan) (netip.AddrPort, error) {
	if pl.literal.IsValid() {
		return pl.literal, nil
	}
	b.mu.Lock()
	now := b.addr
	b.mu.Unlock()
	port, err := net.DefaultResolver.LookupPort(ctx, "tcp", pl.port)
	if err != nil {
		return now, fmt.Errorf("resolve port of %s: %w", pl.conf.Address, err)
	}
	hosts, err := b.set.opt.Resolve(ctx, pl.host)
	switch {
	case (err != nil || len(hosts) == 0) && now.IsValid():
		return now, nil
	case err != nil:
		return now, fmt.Errorf("resolve %s: %w", pl.host, err)
	case len(hosts) == 0:
		return now, fmt.Errorf("resolve %s: %w", pl.host, &net.DNSError{Err: "no address", Name: pl.host, IsNotFound: true})
	}
	for i := range hosts {
		hosts[i] = hosts[i].Unmap()
	}
	if slices.Contains(hosts, now.Addr()) {
		return netip.AddrPortFrom(now.Addr(), uint16(port)), nil
	}
	return netip.AddrPortFrom(hosts[0], uint16(port)), nil
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
	b.lastCheck, b.took, b.lastErr = out.at, out.took, ""
	b.picked.Store(b.picked.Load() / 2) // those of them that never became sessions must not count for ever
	newEpoch := b.learnLocked(out)
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
		b.backoff = backoff{}
	}
	b.mu.Unlock()
	if newEpoch {
		b.set.event(b, EventHello, introduction(*out.hello))
	}
	if changed && up {
		b.set.event(b, EventUp, "")
	} else if changed {
		b.set.event(b, EventDown, out.err.Error())
	}
}

// learnLocked keeps what a good check told and reports whether a native backend is another process than before.
func (b *Backend) learnLocked(out outcome) (newEpoch bool) {
	if out.addr.IsValid() {
		b.addr = out.addr
	}
	if out.hello == nil {
		return false
	}
	newEpoch = b.helloAt.IsZero() || b.hello.Epoch != out.hello.Epoch
	b.hello, b.helloAt, b.fresh = *out.hello, out.at, false
	return newEpoch
}
