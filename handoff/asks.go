package handoff

import (
	"context"
	"time"

	"github.com/ircferry/ircferry/backend"
)

// asks is the proxy as a move uses it: each call has a time of its own and ends with ctx, also if the proxy hangs, and answers exactly one
// outcome for each session that was given, none for another.
//
// What a loop that hung comes to later it does in the order in which it was asked, and Freeze, Attach and Splice do not take a step whose time is
// over (see Sessions): so nothing has to be undone here that might hit the next try, or the next move.
type asks struct{ s Sessions }

// proxyTime is for calls that take a loop's turn or two. A loop that needs longer is stuck: the move goes on without its sessions.
const proxyTime = 5 * time.Second

// outcomes makes the answers those of us: one each, and cause for whom none came.
func outcomes(us []string, answers []backend.Moved, cause backend.Cause) []backend.Moved {
	by := make(map[string]backend.Moved, len(answers))
	for _, m := range answers {
		if _, twice := by[m.U]; !twice {
			by[m.U] = m
		}
	}
	all := make([]backend.Moved, len(us))
	for i, u := range us {
		m, came := by[u]
		if !came {
			m = backend.Moved{U: u, Cause: cause}
		}
		all[i] = m
	}
	return all
}

// batch is a call that answers for sessions.
func (a asks) batch(ctx context.Context, us []string, f func() []backend.Moved) []backend.Moved {
	answers, _ := within(ctx, f)
	return outcomes(us, answers, backend.CauseTimeout)
}

func (a asks) on(ctx context.Context, name string) ([]backend.SessionRef, error) {
	type answer struct {
		refs []backend.SessionRef
		err  error
	}
	got, err := within(ctx, func() answer {
		refs, err := a.s.On(ctx, name)
		return answer{refs, err}
	})
	if err != nil {
		return nil, err
	}
	return got.refs, got.err
}

func (a asks) awaitRegistered(ctx context.Context, name string) {
	within(ctx, func() int { return a.s.AwaitRegistered(ctx, name) })
}

func (a asks) attach(ctx context.Context, us []string, to backend.AttachTo) []backend.Moved {
	return a.batch(ctx, us, func() []backend.Moved { return a.s.Attach(ctx, us, to) })
}

// freeze answers also whom it has frozen if it fails.
func (a asks) freeze(ctx context.Context, name string) ([]backend.Frozen, error) {
	type answer struct {
		frozen []backend.Frozen
		err    error
	}
	got, err := within(ctx, func() answer {
		f, err := a.s.Freeze(ctx, name)
		return answer{f, err}
	})
	if err != nil {
		return nil, err
	}
	return got.frozen, got.err
}

func (a asks) readUp(ctx context.Context, cuts []backend.Cut) []backend.Moved {
	us := make([]string, len(cuts))
	for i, c := range cuts {
		us[i] = c.U
	}
	return a.batch(ctx, us, func() []backend.Moved { return a.s.ReadUp(ctx, cuts) })
}

func (a asks) splice(to string, splices []backend.Splice) []backend.Moved {
	ctx, cancel := context.WithTimeout(context.Background(), spliceTime)
	defer cancel()
	us := make([]string, len(splices))
	for i, s := range splices {
		us[i] = s.U
	}
	return a.batch(ctx, us, func() []backend.Moved { return a.s.Splice(ctx, to, splices) })
}

func (a asks) reopen(us []string, to string) []backend.Moved {
	ctx, cancel := context.WithTimeout(context.Background(), spliceTime)
	defer cancel()
	return a.batch(ctx, us, func() []backend.Moved { return a.s.Reopen(ctx, us, to) })
}

func (a asks) thaw(us []string) []backend.Moved {
	ctx, cancel := context.WithTimeout(context.Background(), proxyTime)
	defer cancel()
	return a.batch(ctx, us, func() []backend.Moved { return a.s.Thaw(us) })
}

func (a asks) detach(us []string) { briefly(proxyTime, func() { a.s.Detach(us) }) }
func (a asks) park(us []string, name string) {
	briefly(proxyTime, func() { a.s.Park(us, name) })
}
func (a asks) await(us []string, name string) {
	briefly(proxyTime, func() { a.s.Await(us, name) })
}
func (a asks) end(us []string, cause backend.Cause, text string) {
	if len(us) > 0 {
		briefly(proxyTime, func() { a.s.End(us, cause, text) })
	}
}
func (a asks) gate(pool string)   { briefly(proxyTime, func() { a.s.Gate(pool) }) }
func (a asks) ungate(pool string) { briefly(proxyTime, func() { a.s.Ungate(pool) }) }

// streams is Sessions.Streams; an answer that does not come is none.
func (a asks) streams(ctx context.Context, us []string, next bool) (s backend.Streams) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	s, _ = within(ctx, func() backend.Streams { return a.s.Streams(ctx, us, next) })
	return s
}
