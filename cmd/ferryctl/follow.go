package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/ircferry/ircferry/admin"
	"github.com/ircferry/ircferry/handoff"
)

// cancelAndWait cancels a move and waits for its end. The error is errInterrupted if the operator did not want to wait.
func (c *ctl) cancelAndWait(ctx context.Context, id string) (admin.Move, error) {
	_, err := c.patiently(ctx, func(ctx context.Context) (admin.Done, error) { return c.client.Cancel(ctx, id) })
	var said *admin.Error
	if errors.As(err, &said) && said.Code == admin.CodeRefused { // past the point of no return, or ended: it can only be waited for
		fmt.Fprintf(c.err, "ferryctl: %v\n", said)
	} else if err != nil {
		return admin.Move{}, fmt.Errorf("cancel move %s: %w", id, err)
	}
	m, err := c.watch(ctx, id, func(m admin.Move) bool { return m.State.Ended() })
	if errors.Is(err, errInterrupted) {
		fmt.Fprintf(c.err, "ferryctl: not waiting any more; ferryctl show move %s tells how it ends\n", id)
	}
	return m, err
}

func endedOrParked(m admin.Move) bool { return m.State.Ended() || m.State == handoff.StateParked }

// watch polls a move until enough is true of it. A daemon that cannot be reached any more ends it; the move may go on.
func (c *ctl) watch(ctx context.Context, id string, enough func(admin.Move) bool) (admin.Move, error) {
	ctx, stop := c.interruptible(ctx)
	defer stop()
	bar := c.newBar()
	defer bar.clear()
	rev := ""
	for {
		m, err := c.client.AwaitMove(ctx, id, rev, bar.patience())
		if err != nil && context.Cause(ctx) == errInterrupted {
			return m, errInterrupted
		}
		if errors.Is(err, admin.ErrUnreachable) {
			return m, fmt.Errorf("move %s may go on without ferryctl: %w", id, err)
		}
		if err != nil {
			return m, err
		}
		bar.draw(m)
		if enough(m) {
			return m, nil
		}
		rev = m.Rev
	}
}

// waitFor follows a begun move until it has ended or is parked, and prints its result. Ctrl-C cancels the move and waits for what
// comes of it; a second one leaves it to itself.
func (c *ctl) waitFor(ctx context.Context, done admin.Done) error {
	m, err := c.watch(ctx, done.Move.ID, endedOrParked)
	interrupted := errors.Is(err, errInterrupted)
	if interrupted {
		fmt.Fprintf(c.err, "ferryctl: interrupted; cancelling move %s\n", done.Move.ID)
		m, err = c.cancelAndWait(ctx, done.Move.ID)
	}
	if err != nil {
		return err
	}
	err = c.result(m)
	if interrupted {
		return coded{exitInterrupted}
	}
	return err
}

// began prints a move that goes on without us.
func (c *ctl) began(m admin.Move) error {
	return c.print(m, func(w io.Writer) {
		fmt.Fprintf(w, "move %s of %s/%s has begun; ferryctl show move %s tells how it goes\n", m.ID, m.Pool, m.From, m.ID)
	})
}

// refresh is how often a bar's clock goes on while nothing else changes.
const refresh = 500 * time.Millisecond
