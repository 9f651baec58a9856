package handoff

import (
	"context"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff/protocol"
)

// A destination keeps the nicks of a transaction, and refuses another one, until COMMIT, ABORT or the end of the lease, whatever becomes of
// the connection. So an ABORT that got no answer is asked again: else users who are parked would wait for the lease of the try before.

// transaction is one import at one destination.
type transaction struct {
	To    string    `json:"to"` // backend name in the pool
	Tx    string    `json:"tx"`
	Until time.Time `json:"until,omitzero"` // the end of its lease; zero: not known
}

// abort ends a transaction that will not be committed. What stays unanswered is owed: to the next try at that destination, and after the end of
// the move to forgetLater.
func (x *run) abort(dst Party, to *backend.Backend, tx string) {
	if !x.c.abandon(dst, to, tx) {
		x.log.Info("abort not answered yet", "to", to.FullName())
		x.owe(to, tx)
	}
}

// tellWhoWaits owes the old ircd, and its next process, the word that the users whom it has released do not come back: it may keep others out until
// then, so that no server meets empty channels.
func (x *run) tellWhoWaits() {
	if !x.state.revertible() && x.placed != x.from && x.source.Can(protocol.FeatLinks) {
		x.owe(x.from, x.tx)
	}
}

// owe notes an ABORT that is to be asked again. No lease of the move is longer than its park time or deadline, which is of from now on.
func (x *run) owe(to *backend.Backend, tx string) {
	x.owed = append(x.owed, transaction{to.Name(), tx, time.Now().Add(lease(max(x.limits.Park, x.r.Timeout)))})
}

// payAborts asks dst for the aborts that are owed to it.
func (x *run) payAborts(ctx context.Context, dst Party, to *backend.Backend) error {
	var left []transaction
	var failed error
	for _, t := range x.owed {
		if t.To != to.Name() {
			left = append(left, t)
		} else if err := dst.Abort(ctx, t.Tx); !answered(err) {
			left, failed = append(left, t), err
		}
	}
	x.owed = left
	return failed
}

// abandon is an ABORT on the conversation that there is, or if that is broken on one of its own. False: no answer within answerTime.
func (c *Coordinator) abandon(dst Party, to *backend.Backend, tx string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), answerTime)
	defer cancel()
	if answered(dst.Abort(ctx, tx)) {
		return true
	}
	dst.Close()
	return c.askAbort(ctx, to, tx)
}

// forget asks an ircd to abort a transaction until it has answered: one that cannot be reached may live. False: ctx was over first.
func (c *Coordinator) forget(ctx context.Context, to *backend.Backend, tx string) bool {
	for rest := askEvery; ; rest = min(2*rest, askSeldom) {
		if c.askAbort(ctx, to, tx) {
			return true
		}
		if !wait(ctx, rest) {
			return false
		}
	}
}

// askSeldom is how often an ircd is asked at last that does not answer for long.
const askSeldom = 5 * time.Second

func (c *Coordinator) askAbort(ctx context.Context, to *backend.Backend, tx string) bool {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	party, err := c.opt.Driver.Connect(ctx, to)
	if err != nil {
		return false
	}
	defer party.Close()
	return answered(party.Abort(ctx, tx))
}

// answered: the ircd has heard the question, whatever it said.
func answered(err error) bool {
	_, ok := said(err)
	return err == nil || ok
}

// forgetLater is forget beside all else, until the lease is certainly over or the daemon ends. The returned channel is closed at its end.
func (c *Coordinator) forgetLater(pool string, t transaction) <-chan struct{} {
	done := make(chan struct{})
	o := &owing{Pool: pool, Transaction: t}
	c.mu.Lock()
	c.owed[o] = true
	c.mu.Unlock()
	asked := c.beside(func() {
		defer close(done)
		defer c.paid(o)
		until := t.Until
		if until.IsZero() {
			until = time.Now().Add(protocol.MaxLease)
		}
		ctx, cancel := context.WithDeadline(c.alive, until)
		defer cancel()
		if to, err := c.find(pool, t.To); err == nil {
			c.forget(ctx, to, t.Tx)
		}
	})
	if !asked {
		close(done)
	}
	return done
}

// owing is an ABORT that is asked for behind the end of its move.
type owing struct {
	Pool        string      `json:"pool"`
	Transaction transaction `json:"transaction"`
}

// paid: it was answered, or is not worth to be asked any more. What the end of the daemon has cut short is still owed.
func (c *Coordinator) paid(o *owing) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.alive.Err() == nil {
		delete(c.owed, o)
	}
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
