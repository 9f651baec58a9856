package handoff

import (
	"context"
	"errors"
	"syscall"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff/protocol"
)

// A destination keeps the nicks of a transaction, and refuses another one, until COMMIT, ABORT or the end of the lease, whatever becomes of
// the connection. So an ABORT that got no answer is asked again: else users who are parked would wait for the lease of the try before.

// transaction is one import at one destination.
type transaction struct {
	to string // backend name in the pool
	tx string
}

// abort ends a transaction that will not be committed. What stays unanswered is owed: to the next try at that destination, and after the end of
// the move to forgetLater.
func (x *run) abort(dst Party, to *backend.Backend, tx string) {
	if !x.c.abandon(dst, to, tx) {
		x.log.Info("abort not answered yet", "to", to.FullName())
		x.owed = append(x.owed, transaction{to.Name(), tx})
	}
}

// payAborts asks dst for the aborts that are owed to it.
func (x *run) payAborts(ctx context.Context, dst Party, to *backend.Backend) error {
	var left []transaction
	var failed error
	for _, t := range x.owed {
		if t.to != to.Name() {
			left = append(left, t)
		} else if err := dst.Abort(ctx, t.tx); !answered(err) {
			left, failed = append(left, t), err
		}
	}
	x.owed = left
	return failed
}

// abandon is an ABORT on the conversation that there is, or if that is broken on one of its own. False: no answer within twice answerTime.
func (c *Coordinator) abandon(dst Party, to *backend.Backend, tx string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), answerTime)
	defer cancel()
	if answered(dst.Abort(ctx, tx)) {
		return true
	}
	dst.Close()
	again, stop := context.WithTimeout(context.Background(), answerTime)
	defer stop()
	return c.forget(again, to, tx)
}

// forget asks an ircd to abort a transaction until it has answered or is certainly not there. False: ctx was over first.
func (c *Coordinator) forget(ctx context.Context, to *backend.Backend, tx string) bool {
	for {
		if c.askAbort(ctx, to, tx) {
			return true
		}
		if !wait(ctx, askEvery) {
			return false
		}
	}
}

func (c *Coordinator) askAbort(ctx context.Context, to *backend.Backend, tx string) bool {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	party, err := c.opt.Driver.Connect(ctx, to)
	if err != nil {
		return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT)
	}
	defer party.Close()
	return answered(party.Abort(ctx, tx))
}

// answered: the ircd has heard the question, whatever it said.
func answered(err error) bool {
	var said *protocol.Error
	return err == nil || errors.As(err, &said)
}

// forgetLater is forget beside all else, until the lease is certainly over or the daemon ends. The returned channel is closed at its end.
func (c *Coordinator) forgetLater(pool string, t transaction) <-chan struct{} {
	done := make(chan struct{})
	c.wg.Go(func() {
		defer close(done)
		ctx, cancel := context.WithTimeout(c.alive, protocol.MaxLease)
		defer cancel()
		if to, err := c.find(pool, t.to); err == nil {
			c.forget(ctx, to, t.tx)
		}
	})
	return done
}

// Forget has the ircds abort what interrupted moves had begun there: until then they keep the nicks of clients who come back now, and
// take no other import. It returns when all have answered or d is over; it goes on asking.
func (c *Coordinator) Forget(interrupted []Interrupted, d time.Duration) {
	over := time.After(d)
	var asked []<-chan struct{}
	for _, in := range interrupted {
		for _, t := range in.Open {
			asked = append(asked, c.forgetLater(in.Pool, t))
		}
	}
	for _, done := range asked {
		select {
		case <-done:
		case <-over:
			return
		}
	}
}

// lease is how long a destination keeps what is not committed.
func lease(d time.Duration) time.Duration { return min(d+leaseMargin, protocol.MaxLease) }
