package handoff

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff/protocol"
)

// After a lost answer nobody guesses: the ircd is asked with STATUS until it says what it did, or until there is evidence that no user of the
// move can be live in it. A stalled ircd is neither, so its users wait for it.

// errAbsent says that no process of the epoch in question answers at the address. It may live all the same: its listener was replaced, a
// firewall refuses, a proxy before it has no endpoint.
var errAbsent = errors.New("the ircd's process does not answer there")

// askEvery is how often a silent ircd is asked again.
const askEvery = 100 * time.Millisecond

// ask connects anew to the process of that epoch. errAbsent: nobody listens, or a process with another epoch does.
func (x *run) ask(ctx context.Context, b *backend.Backend, epoch string) (Party, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	party, err := x.c.opt.Driver.Connect(ctx, b)
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT) {
		return nil, fmt.Errorf("%w: %w", errAbsent, err)
	}
	if err != nil {
		return nil, err
	}
	if party.Info().Epoch != epoch {
		party.Close()
		return nil, errAbsent
	}
	return party, nil
}

// sourceEnded reports whether there is evidence that no user of the move is live in the old ircd any more: its process has ended, as
// the kernel says, or it has closed all their streams, which it does when it ends and when it releases them.
func (x *run) sourceEnded(ctx context.Context) bool {
	us := x.state.who((*member).exportedOnce)
	if len(us) == 0 || x.process.Ended() {
		return true
	}
	s := x.proxy.streams(ctx, us, false)
	return s.Open == 0 && s.Ended > 0
}

// lookEvery is how often a destination is looked at while streams are attached to it. Most attach all within that.
const lookEvery = 250 * time.Millisecond

// whileThere is ctx, ended with the cause errAbsent also when the process of that epoch does not answer any more. The caller calls stop.
func (x *run) whileThere(ctx context.Context, b *backend.Backend, epoch string) (there context.Context, stop func()) {
	there, cancel := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for wait(there, lookEvery) {
			party, err := x.ask(there, b, epoch)
			if errors.Is(err, errAbsent) {
				cancel(err)
				return
			}
			if err == nil {
				party.Close()
			}
		}
	}()
	return there, func() { cancel(nil); <-ended }
}

// releaseFate finds out what became of a RELEASE whose answer was lost. nil: released, or the old ircd has ended, whose users then
// are in the journal only. An error: the old ircd goes on with them.
func (x *run) releaseFate(quit string, unanswered error) error {
	x.log.Warn("release not answered; asking the source", "err", unanswered)
	ctx, cancel := context.WithTimeout(context.Background(), x.limits.Park)
	defer cancel()
	if x.src != nil { // nil: the process that has asked was killed
		x.src.Close()
	}
	x.calm()
	for {
		if x.sourceEnded(ctx) {
			return nil
		}
		party, err := x.ask(ctx, x.from, x.source.Epoch)
		if err == nil {
			known, err := x.sourceSays(ctx, party, quit)
			if known {
				x.src = party
				return err
			}
			party.Close()
		}
		x.m.say(fmt.Sprintf("RELEASE was sent to %s and not answered; it is asked whether it has let its users go", x.from.FullName()))
		if !wait(ctx, askEvery) {
			return fmt.Errorf("release: %s gives no answer within moves.park: %w", x.from.FullName(), unanswered)
		}
	}
}

// sourceSays asks once; known false: it did not say.
func (x *run) sourceSays(ctx context.Context, src Party, quit string) (known bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	status, err := src.Status(ctx, x.tx)
	if err != nil {
		return false, nil
	}
	switch status.Source {
	case protocol.SourceReleased:
		return true, nil
	case protocol.SourceResumed:
		return true, errors.New("release: the source has resumed")
	case protocol.SourceFrozen:
		err := src.Release(ctx, x.tx, quit)
		if _, ok := said(err); ok {
			return true, fmt.Errorf("release: %w", err)
		}
		return err == nil, nil
	default:
		return false, nil
	}
}

// wait lets d pass; false: ctx was over first.
func wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
