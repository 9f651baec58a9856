package keeper

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// What a client asks, with an answer.

// ask sends a question and waits for its answer.
func (c *Client) ask(ctx context.Context, verb byte, body []byte) (answer, error) {
	to := make(chan answer, 1)
	c.mu.Lock()
	if c.asks == nil {
		c.mu.Unlock()
		return answer{}, ErrGone
	}
	c.seq++
	seq := c.seq
	c.asks[seq] = to
	c.mu.Unlock()
	if err := c.sendAsk(ctx, append(header(nil, verb, seq), body...)); err != nil {
		c.forget(seq, to)
		return answer{}, err
	}
	select {
	case a := <-to:
		if a.err == nil && a.verb != verb|answered {
			closeFDs(a.fds)
			a.err = fmt.Errorf("the keeper answers verb %d to %d", a.verb, verb)
		}
		return a, a.err
	case <-ctx.Done():
		c.forget(seq, to)
		return answer{}, fmt.Errorf("the keeper does not answer: %w", ctx.Err())
	}
}

// forget waits for an answer no more.
func (c *Client) forget(seq uint32, to chan answer) {
	c.mu.Lock()
	delete(c.asks, seq)
	c.mu.Unlock()
	select {
	case a := <-to:
		closeFDs(a.fds)
	default:
	}
}

// sendAsk sends a question as soon as there is room, behind the drops that wait.
func (c *Client) sendAsk(ctx context.Context, msg []byte) error {
	for {
		c.send.Lock()
		err := c.flush()
		if err == nil || errors.Is(err, ErrFenced) {
			err = c.sendmsg(msg, nil)
		}
		c.send.Unlock()
		if !errors.Is(err, ErrBusy) {
			return err
		}
		select {
		case <-time.After(roomPause):
		case <-ctx.Done():
			return fmt.Errorf("the keeper takes nothing: %w", ctx.Err())
		}
	}
}

func (c *Client) askStatus(ctx context.Context, verb byte, body []byte) (Status, error) {
	a, err := c.ask(ctx, verb, body)
	if err != nil {
		return Status{}, err
	}
	return parseStatus(a.body)
}

// Ping asks the keeper how it is.
func (c *Client) Ping(ctx context.Context) (Status, error) { return c.askStatus(ctx, verbPing, nil) }

// Ticket lets a successor have the claim while this daemon still has it.
type Ticket []byte

// Claim makes this daemon the one that writes. without a ticket that is refused, as HeldError, as long as another one lives that has it.
func (c *Client) Claim(ctx context.Context, t Ticket) error {
	if len(t) != 0 && len(t) != ticketSize {
		return fmt.Errorf("claim the keeper: a ticket has %d bytes, this one %d", ticketSize, len(t))
	}
	body := make([]byte, ticketSize)
	copy(body, t)
	a, err := c.ask(ctx, verbClaim, body)
	switch {
	case err != nil:
		return fmt.Errorf("claim the keeper: %w", err)
	case len(a.body) < 5:
		return fmt.Errorf("claim the keeper: %w", errGarbled)
	case a.body[0] != claimGranted:
		return &HeldError{int(binary.LittleEndian.Uint32(a.body[1:]))}
	}
	c.fenced.Store(false)
	return nil
}

// Pass draws a ticket for a successor. One drawn before is void.
func (c *Client) Pass(ctx context.Context) (Ticket, error) {
	a, err := c.ask(ctx, verbPass, nil)
	if err != nil {
		return nil, fmt.Errorf("pass the keeper on: %w", err)
	}
	if len(a.body) < ticketSize {
		return nil, fmt.Errorf("pass the keeper on: %w", errGarbled)
	}
	return Ticket(a.body[:ticketSize]), nil
}

// Clear has the keeper close all that it holds, and returns when it has.
func (c *Client) Clear(ctx context.Context) error {
	if _, err := c.ask(ctx, verbClear, nil); err != nil {
		return fmt.Errorf("clear the keeper: %w", err)
	}
	return nil
}

// Kept is what a keeper holds, as duplicates, which belong to who has taken it.
type Kept struct {
	Memory      map[string]int
	Descriptors map[Tag]int
}

// Close closes all of it.
func (k *Kept) Close() {
	for _, fd := range k.Memory {
		closeFDs([]int{fd})
	}
	for _, fd := range k.Descriptors {
		closeFDs([]int{fd})
	}
	*k = Kept{}
}

// Take answers all that is kept; it stays kept. On an error nothing is taken.
func (c *Client) Take(ctx context.Context) (k Kept, err error) {
	k = Kept{Memory: map[string]int{}, Descriptors: map[Tag]int{}}
	defer func() {
		if err != nil {
			k.Close()
			err = fmt.Errorf("take from the keeper: %w", err)
		}
	}()
	if err := c.takeNames(ctx, &k); err != nil {
		return k, err
	}
	for next := uint32(0); ; {
		if next, err = c.takeBatch(ctx, &k, next); err != nil || next == 0 {
			return k, err
		}
	}
}

// askAgain asks until the keeper is not busy.
func (c *Client) askAgain(ctx context.Context, verb byte, body []byte) (answer, error) {
	for {
		a, err := c.ask(ctx, verb, body)
		if !errors.Is(err, ErrBusy) {
			return a, err
		}
		select {
		case <-time.After(roomPause):
		case <-ctx.Done():
			return a, errors.Join(err, ctx.Err())
		}
	}
}

func (c *Client) takeNames(ctx context.Context, k *Kept) error {
	a, err := c.askAgain(ctx, verbNames, nil)
	if err != nil {
		return err
	}
	b := a.body
	for i, fd := range a.fds {
		if len(b) < 1 || len(b) < 1+int(b[0]) {
			closeFDs(a.fds[i:])
			return errGarbled
		}
		k.Memory[string(b[1:1+int(b[0])])] = fd
		b = b[1+int(b[0]):]
	}
	return nil
}

func (c *Client) takeBatch(ctx context.Context, k *Kept, from uint32) (next uint32, err error) {
	a, err := c.askAgain(ctx, verbTake, binary.LittleEndian.AppendUint32(nil, from))
	if err != nil {
		return 0, err
	}
	if len(a.body) < 4 {
		closeFDs(a.fds)
		return 0, errGarbled
	}
	tags, err := parseTags(nil, a.body[4:])
	if err != nil || len(tags) != len(a.fds) {
		closeFDs(a.fds)
		return 0, errGarbled
	}
	for i, tag := range tags {
		if fd, twice := k.Descriptors[tag]; twice {
			closeFDs([]int{fd})
		}
		k.Descriptors[tag] = a.fds[i]
	}
	if next = binary.LittleEndian.Uint32(a.body); next != 0 && next <= from {
		return 0, errGarbled
	}
	return next, nil
}
