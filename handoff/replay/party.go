package replay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff"
	"github.com/ircferry/ircferry/handoff/protocol"
)

// party is one conversation with a stock ircd.
type party struct {
	d    *Driver
	ircd *ircd
	b    *backend.Backend
	out  *lookout
	left bool
}

var _ handoff.Maker = (*party)(nil)

func (p *party) Info() protocol.Hello { return p.ircd.hello(p.out) }

// MakesStreams implements handoff.Maker.
func (p *party) MakesStreams() {}

// Process is not known: a stream that has ended is no evidence that the process has.
func (p *party) Process() handoff.Process { return handoff.NoProcess }

func (p *party) Close() error {
	if !p.left {
		p.left = true
		p.ircd.leave(p.out)
	}
	return nil
}

// alive is an error if the process of this conversation has gone.
func (p *party) alive() error {
	if p.out.over() {
		return fmt.Errorf("%w: %s has ended the lookout's stream", protocol.ErrBroken, p.b.FullName())
	}
	return nil
}

// Release needs nothing of the ircd: the streams are mute, and are closed when the sessions are parked.
func (p *party) Release(_ context.Context, tx, _ string) error {
	if p.ircd.status(tx).Source != protocol.SourceFrozen {
		return &protocol.Error{Code: protocol.CodeUnknownTx, Tx: tx}
	}
	p.ircd.note(tx, func(s *protocol.Status) { s.Source = protocol.SourceReleased })
	p.ircd.hold(true)
	return nil
}

// Resume needs nothing of the ircd either: it has not stopped.
func (p *party) Resume(_ context.Context, tx string) error {
	p.ircd.note(tx, func(s *protocol.Status) { s.Source = protocol.SourceResumed })
	return nil
}

func (i *ircd) hold(holding bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.holding = holding
}

func (p *party) Status(_ context.Context, tx string) (protocol.Status, error) {
	if err := p.alive(); err != nil {
		return protocol.Status{}, err
	}
	return p.ircd.status(tx), nil
}

// errLinks refuses what a stock ircd cannot.
var errLinks = &protocol.Error{Code: protocol.CodeState, Text: "a stock ircd has no links that could be held"}

func (p *party) Greet(context.Context, string, protocol.LinkSelection) (protocol.Greeting, error) {
	return protocol.Greeting{}, errLinks
}

// Import opens a build. The one before it, if it was forgotten, ends.
func (p *party) Import(_ context.Context, tx, _ string, _ time.Duration, _ string, links bool) error {
	if links {
		return errLinks
	}
	if err := p.alive(); err != nil {
		return err
	}
	p.ircd.open(&build{tx: tx, b: p.b, info: p.Info(), users: make(map[string]*user), channels: make(map[string]*channel)})
	p.ircd.note(tx, func(s *protocol.Status) { s.Dest = protocol.DestStaging })
	return nil
}

// open has b be the build, and closes the streams of the one before.
func (i *ircd) open(b *build) {
	i.mu.Lock()
	old := i.build
	i.build = b
	i.mu.Unlock()
	if old != nil {
		old.close()
	}
}

func (p *party) building(tx string) (*build, error) {
	p.ircd.mu.Lock()
	defer p.ircd.mu.Unlock()
	if p.ircd.build == nil || tx != "" && p.ircd.build.tx != tx {
		return nil, &protocol.Error{Code: protocol.CodeUnknownTx, Tx: tx}
	}
	return p.ircd.build, nil
}

func (p *party) Record(_ context.Context, rec protocol.Message) error {
	b, err := p.building("")
	if err != nil {
		return err
	}
	return b.add(rec)
}

// Prepare makes the users again. With an error nothing of it is left.
func (p *party) Prepare(ctx context.Context, tx string) (protocol.Prepared, error) {
	b, err := p.building(tx)
	if err != nil {
		return protocol.Prepared{}, err
	}
	got, err := b.run(ctx)
	if err != nil {
		p.drop(tx)
		return protocol.Prepared{}, fmt.Errorf("make users again at %s: %w", p.b.FullName(), err)
	}
	p.ircd.note(tx, func(s *protocol.Status) { s.Dest = protocol.DestPrepared })
	return got, nil
}

func (p *party) drop(tx string) {
	if b, err := p.building(tx); err == nil {
		b.close()
		p.ircd.open(nil)
	}
	p.ircd.note(tx, func(s *protocol.Status) { s.Dest = protocol.DestAborted })
}

// Commit gives the streams to the proxy, for good.
func (p *party) Commit(ctx context.Context, tx string, _, _ bool) (protocol.Committed, error) {
	b, err := p.building(tx)
	if err != nil {
		return protocol.Committed{}, err
	}
	if p.ircd.status(tx).Dest != protocol.DestPrepared {
		return protocol.Committed{}, &protocol.Error{Code: protocol.CodeState, Tx: tx}
	}
	done := b.give(ctx, p.d.proxy)
	p.ircd.open(nil)
	p.ircd.note(tx, func(s *protocol.Status) { s.Dest = protocol.DestCommitted })
	p.ircd.hold(false)
	return done, nil
}

func (p *party) Abort(_ context.Context, tx string) error {
	if p.ircd.status(tx).Dest == protocol.DestCommitted {
		return &protocol.Error{Code: protocol.CodeCommitted, Tx: tx}
	}
	p.drop(tx)
	return nil
}

// errPeek: a dry run of a replay is not built.
var errPeek = errors.New("a stock ircd cannot be asked without stopping its clients")
