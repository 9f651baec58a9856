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

// After a lost answer nobody guesses: the ircd is asked with STATUS until it says what it did, or until it is certain that its
// process is gone. A stalled ircd is neither, so its users wait for it.

// errGone says that the ircd's process of the epoch in question does not exist any more.
var errGone = errors.New("the ircd's process is gone")

// askEvery is how often a silent ircd is asked again.
const askEvery = 100 * time.Millisecond

// ask connects anew to the process of that epoch. errGone: there is none (nobody listens, or a process with another epoch does). Any
// other error leaves the question open.
func (x *run) ask(ctx context.Context, b *backend.Backend, epoch string) (Party, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	party, err := x.c.opt.Driver.Connect(ctx, b)
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT) {
		return nil, fmt.Errorf("%w: %w", errGone, err)
	}
	if err != nil {
		return nil, err
	}
	if party.Info().Epoch != epoch {
		party.Close()
		return nil, errGone
	}
	return party, nil
}

// sourceGone reports whether the old ircd's process has certainly ended.
func (x *run) sourceGone(ctx context.Context) bool {
	party, err := x.ask(ctx, x.from, x.source.Epoch)
	if err == nil {
		party.Close()
	}
	return errors.Is(err, errGone)
}

// lookEvery is how often a destination is looked at while streams are attached to it. Most attach all within that.
const lookEvery = 250 * time.Millisecond

// whileThere is ctx, ended with the cause errGone also by the end of the process of that epoch. The caller calls stop.
func (x *run) whileThere(ctx context.Context, b *backend.Backend, epoch string) (there context.Context, stop func()) {
	there, cancel := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for wait(there, lookEvery) {
			party, err := x.ask(there, b, epoch)
			if errors.Is(err, errGone) {
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

// releaseFate finds out what became of a RELEASE whose answer was lost. nil: released, or the process is gone, whose users then
// are in the journal only. An error: the old ircd goes on with them.
func (x *run) releaseFate(quit string, lost error) error {
	x.log.Warn("release not answered; asking the source", "err", lost)
	x.src.Close()
	ctx, cancel := context.WithTimeout(context.Background(), x.limits.Park)
	defer cancel()
	for {
		party, err := x.ask(ctx, x.from, x.source.Epoch)
		if errors.Is(err, errGone) {
			return nil
		}
		if err == nil {
			x.src = party
			if known, err := x.sourceSays(ctx, quit); known {
				return err
			}
			party.Close()
		}
		if !wait(ctx, askEvery) {
			return fmt.Errorf("release: %s gives no answer within moves.park: %w", x.from.FullName(), lost)
		}
	}
}

// sourceSays asks once; known false: it did not say.
func (x *run) sourceSays(ctx context.Context, quit string) (known bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	status, err := x.src.Status(ctx, x.tx)
	if err != nil {
		return false, nil
	}
	switch status.Source {
	case protocol.SourceReleased:
		return true, nil
	case protocol.SourceResumed:
		return true, errors.New("release: the source has resumed")
	case protocol.SourceFrozen:
		err := x.src.Release(ctx, x.tx, quit)
		var said *protocol.Error
		if errors.As(err, &said) {
			return true, fmt.Errorf("release: %w", err)
		}
		return err == nil, nil
	default:
		return false, nil
	}
}

// commitFate finds out what became of a COMMIT whose answer was lost: committed true, or errGone, or that it was not committed (nil).
// It asks until ctx is over.
func (x *run) commitFate(ctx context.Context, to *backend.Backend, epoch, tx string) (committed bool, err error) {
	for {
		party, err := x.ask(ctx, to, epoch)
		if errors.Is(err, errGone) {
			return false, err
		}
		if err == nil {
			status, err := party.Status(ctx, tx)
			if err == nil && status.Dest == protocol.DestPrepared {
				_, err = party.Commit(ctx, tx)
				status.Dest = protocol.DestCommitted
			} else if err == nil && status.Dest == protocol.DestStaging {
				err = party.Abort(ctx, tx) // so that its nicks are free for the next try
			}
			party.Close()
			if err == nil {
				return status.Dest == protocol.DestCommitted, nil
			}
		}
		if !wait(ctx, askEvery) {
			return false, fmt.Errorf("%s does not say whether it has committed: %w", to.FullName(), context.Cause(ctx))
		}
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
