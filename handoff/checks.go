package handoff

import (
	"context"
	"time"

	"github.com/ircferry/ircferry/backend"
)

// pauseChecks: an ircd whose world we stop is not down because it does not answer a check.
func (x *run) pauseChecks() (resume func()) {
	from, to := x.from.PauseChecks(), func() {}
	if x.to != nil {
		to = x.to.PauseChecks()
	}
	return func() { from(); to() }
}

// checkedTime is how long new clients wait at most for the checks to find the ircd that has the users now. They would try by
// themselves, but with a growing backoff, and a restart in place is known here before the next check.
const checkedTime = time.Second

// awaitChecked lets the checks see the process that has taken the users before new clients are let to it.
func (x *run) awaitChecked() {
	if x.placed == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), checkedTime)
	defer cancel()
	seen := make(chan struct{}, 1)
	unsubscribe := x.c.opt.Backends.Subscribe(func(backend.Event) {
		select {
		case seen <- struct{}{}:
		default:
		}
	})
	defer unsubscribe()
	for {
		if hello, _, ok := x.placed.Hello(); ok && hello.Epoch == x.epoch && x.placed.Oper() == backend.Up {
			return
		}
		x.placed.Recheck()
		select {
		case <-seen:
		case <-time.After(askEvery):
		case <-ctx.Done():
			return
		}
	}
}
