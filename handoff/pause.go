package handoff

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ircferry/ircferry/backend"
)

// A pause holds the clients of a backend and pulls nobody: the ircd keeps its users, and may stand still, for a snapshot of its machine or work
// on its database. It is a move that never comes to the point where somebody else could own a user.

// DefaultPause is how long a pause lasts if nobody ends it.
const DefaultPause = 30 * time.Second

// Pause stops the clients of a backend for r.Timeout (0: DefaultPause), or until Resume, Cancel or the end of the daemon. It returns when it has begun;
// Parked tells when all are held. Any backend can be paused; PINGs of clients are answered if its ircd has told its name in HELLO.
func (c *Coordinator) Pause(r Request) (*Move, error) {
	c.awaitEnding(r.Pool)
	c.pools.RLock()
	defer c.pools.RUnlock()
	r.Kind, r.To = KindPause, ""
	from, err := c.find(r.Pool, r.From)
	if err != nil {
		return nil, err
	}
	most := c.opt.Limits().Park
	switch {
	case r.Timeout == 0:
		r.Timeout = min(DefaultPause, most)
	case r.Timeout < 0 || r.Timeout > most:
		return nil, &Refused{Reason: fmt.Sprintf("clients are not held for %v: moves.park is %v", r.Timeout, most), Hint: "name a shorter time"}
	}
	m, ctx, err := c.claim(r)
	if err != nil {
		return nil, err
	}
	c.keep(m)
	go c.newRun(m, from, nil).pause(ctx)
	return m, nil
}

// Resume ends the pause of pool/name.
func (c *Coordinator) Resume(pool, name string) (*Move, error) {
	if c.stands() {
		return nil, errUpgrade
	}
	m := c.of(pool)
	if m == nil || m.request.From != name || m.request.Kind != KindPause {
		return nil, &Refused{Reason: fmt.Sprintf("%s/%s is not paused", pool, name), Hint: "ferryctl show moves tells what is"}
	}
	if err := m.state.on(event{what: cancelled, why: errResumed}); err != nil {
		return nil, err
	}
	m.cancel(errResumed)
	return m, nil
}

// errResumed is the end of a pause as it was meant.
var errResumed = errors.New("resumed by the operator")

// pause is the whole of it, in its own goroutine. ctx ends with the time of the pause.
func (x *run) pause(ctx context.Context) {
	defer x.c.wg.Done()
	resumeChecks := x.pauseChecks()
	err := x.holdStill(ctx)
	if err == nil {
		err = x.waitOut(ctx)
	}
	x.endPause(err, resumeChecks)
}

// endPause lets everybody go on, unless another process goes on with the pause.
func (x *run) endPause(err error, resumeChecks func()) {
	if x.left {
		x.leave()
		return
	}
	resumeChecks()
	x.m.enter(StepThaw, "")
	x.goBack()
	x.openGate()
	if x.journal != nil {
		x.endHold()
	}
	x.cleanUp()
	x.state.rest(backend.CauseGone)
	x.note(event{what: gaveBack})
	x.m.update(x.state.write)
	x.c.free(x.m)
	// The end of the time is what was asked for, and so is a resume. Only what kept the clients from being held is a failure.
	if err != nil {
		x.m.end(StateReverted, err)
		return
	}
	x.m.end(StateDone, nil)
}

// holdStill is nil if the clients are held.
func (x *run) holdStill(ctx context.Context) error {
	x.closeGate()
	if !x.gated {
		if err := x.openJournal(ctx); err != nil { // it knows the admin state of before
			return x.at(ctx, StepPrepare, err)
		}
		if err := x.setAdmin(ctx, backend.Drain); err != nil {
			return x.at(ctx, StepPrepare, fmt.Errorf("drain %s: %w", x.from.FullName(), err))
		}
	}
	x.pauseLinks(ctx)
	first, cancel := context.WithTimeoutCause(ctx, x.limits.MaxPause, fmt.Errorf("%w (%v)", ErrPause, x.limits.MaxPause))
	defer cancel()
	if err := x.freeze(first); err != nil {
		return x.at(first, StepFreeze, err)
	}
	hello, _, _ := x.from.Hello()
	x.proxy.await(x.frozenNow(), hello.Name)
	x.until = deadline(ctx)
	x.m.park(fmt.Sprintf("%d clients of %s wait until %s, or until ferryctl resume %s; its ircd keeps its users", len(x.frozen), x.from.FullName(),
		time.Now().Add(time.Until(x.until)).Format(time.TimeOnly), x.from.FullName()))
	return nil
}

// waitOut waits for the end of the pause, which is ctx's. It is nil if the clients were held until then.
func (x *run) waitOut(ctx context.Context) error {
	for ctx.Err() == nil {
		select {
		case <-x.c.standstill():
			if x.left = !x.stand(); x.left {
				return nil
			}
		case <-ctx.Done():
		}
	}
	if cause := context.Cause(ctx); errors.Is(cause, errDaemonEnds) {
		return cause
	}
	return nil
}

func deadline(ctx context.Context) time.Time {
	t, _ := ctx.Deadline()
	return t
}
