package handoff

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff/protocol"
)

// Links from RELEASED on: a link that cannot come into a process is given up, and keeps no user from it.

// errFewerLinks ends a try that has given links up: the next begins at once, without them.
var errFewerLinks = errors.New("server links were given up")

// partLinks closes the old process's side, which has let its users go.
func (x *run) partLinks() {
	if x.links.held != nil {
		briefly(linkTime, x.links.held.Part)
	}
}

// unplayLinks closes what a try that has failed has played.
func (x *run) unplayLinks() {
	if x.links.held != nil {
		briefly(linkTime, x.links.held.Unplay)
	}
}

// giveUpLink is the end of one link; the peers of the others are told when they are live.
func (x *run) giveUpLink(name string, cause error) {
	x.log.Warn("a server link is given up; its server is split from the network and may link anew", "link", name, "err", cause)
	held := x.links.held
	briefly(linkTime, func() { held.GiveUp(name, cause) })
	x.tellLinks(endsOf(held))
}

// fitLinks looks whether the process of a try can have the links at all. If not they are held on, since the next try may be elsewhere, and are
// given up when this one has the users.
func (x *run) fitLinks(process protocol.Hello, to *backend.Backend) {
	if x.links.held == nil {
		return
	}
	if x.links.misfit = misfit(x.source, process, x.links.are()); x.links.misfit != nil {
		x.log.Warn("the ircd cannot have the server links", "to", to.FullName(), "err", x.links.misfit)
		x.m.say(fmt.Sprintf("%s cannot have the server links: %v", to.FullName(), x.links.misfit))
	}
}

// misfit says why links of one process cannot come into another: their peers have agreed with that one on what it is and can, and know who else is
// in its network.
func misfit(old, now protocol.Hello, links []backend.Link) error {
	switch {
	case !canHoldLinks(now):
		return errors.New("it cannot take server links over")
	case now.Name != old.Name || now.SID != old.SID:
		return fmt.Errorf("it is %s with id %s in the network, the ircd of before was %s with id %s", now.Name, now.SID, old.Name, old.SID)
	case now.LinkCaps != old.LinkCaps:
		return errors.New("it has other modules or modes that servers compare than the ircd of before")
	}
	for _, name := range now.Linked {
		if !named(links, name) {
			return fmt.Errorf("it is linked to %s already", name)
		}
	}
	return nil
}

// canHoldLinks reports whether an ircd knows all that held links need.
func canHoldLinks(h protocol.Hello) bool {
	return h.Can(protocol.FeatLinks) && h.Can(protocol.FeatMissing)
}

// replayLinks plays the links into the process of a try. One that cannot come in is given up; an error is the try's, whose process does not answer.
func (x *run) replayLinks(ctx context.Context, dst Party, to *backend.Backend, tx string) error {
	for _, l := range x.links.are() {
		err := x.replayLink(ctx, dst, to, tx, l)
		if err == nil {
			continue
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		asked, cancel := context.WithTimeout(ctx, answerTime)
		status, broken := dst.Status(asked, tx)
		cancel()
		if broken != nil || status.Dest != protocol.DestStaging {
			return fmt.Errorf("play server link %s: %w", l.Name, errors.Join(err, broken)) // not the link's fault
		}
		x.giveUpLink(l.Name, fmt.Errorf("play it into %s: %w", to.FullName(), err))
	}
	return nil
}

// replayLink plays one link into a process.
func (x *run) replayLink(ctx context.Context, dst Party, to *backend.Backend, tx string, l backend.Link) error {
	greeting, err := greet(ctx, dst, tx, selectionOf(l))
	if err != nil {
		return err
	}
	return replay(ctx, x.links.held, backend.Replay{Link: l.Name, To: to.FullName(), Tx: tx, Open: greeting.Open, Close: greeting.Close,
		Burst: slices.Values(x.snap.Links[l.Name].Burst)})
}

// greet asks how the peer would introduce itself. A process that had the link a moment ago may not have seen its end yet.
func greet(ctx context.Context, dst Party, tx string, l protocol.LinkSelection) (protocol.Greeting, error) {
	ctx, cancel := context.WithTimeout(ctx, greetTime)
	defer cancel()
	for {
		g, err := dst.Greet(ctx, tx, l)
		if e, ok := said(err); !ok || e.Code != protocol.CodeLinked || !wait(ctx, askEvery) {
			return g, err
		}
	}
}

// giveRecords sends what a destination gets, less what is of links that it does not have.
func (x *run) giveRecords(ctx context.Context, dst Party, to *backend.Backend) error {
	for _, rec := range x.snap.For(x.links.are()) {
		if err := dst.Record(ctx, rec); err != nil {
			return fmt.Errorf("pass record on to %s: %w", to.FullName(), err)
		}
	}
	return nil
}

// settleLinks gives up the links of conflicts. One that is none of ours is somebody's who has linked himself meanwhile: then none of ours can come in.
func (x *run) settleLinks(told []protocol.Note) error {
	if len(x.links.are()) == 0 {
		return nil // nothing can be left out: it is a conflict as any other
	}
	var err error
	for _, n := range told {
		if n.L == "" {
			continue
		}
		err = fmt.Errorf("%w: %s %s %s", errFewerLinks, n.Code, n.L, n.Text)
		links := x.links.are()
		if named(links, n.L) {
			x.giveUpLink(n.L, fmt.Errorf("it is not up in the ircd: %s %s", n.Code, n.Text))
			continue
		}
		for _, l := range links {
			x.giveUpLink(l.Name, fmt.Errorf("%s has linked itself to the ircd meanwhile", n.L))
		}
	}
	return err
}

// liveLinks makes the links live in the process that has the users. It returns at once; wait returns when they are.
func (x *run) liveLinks(epoch string) (wait func()) {
	held := x.links.held
	if held == nil {
		return func() {}
	}
	for _, l := range linksOf(held) {
		if x.links.misfit != nil {
			x.giveUpLink(l.Name, x.links.misfit)
		}
	}
	ends := make(chan []backend.LinkEnd, 1)
	quits := x.quits(epoch)
	go func() { ends <- goLive(held, quits) }()
	return func() {
		live := <-ends
		x.links.state = LinkLive // who has no cause at the end
		if live != nil {
			x.tellLinks(live)
		}
		x.endLinks(errors.New("it did not go on in time"))
	}
}

// quits are the users of the old process whom the peers know and who are not in the new one, epoch's: those whom nobody has taken, and, if that
// is another process, those whom the old one has kept to its end.
func (x *run) quits(epoch string) (quits []backend.Quit) {
	const reason = "Connection closed"
	for _, id := range x.snap.Lost() {
		quits = append(quits, backend.Quit{ID: id, Reason: reason})
	}
	if epoch == x.source.Epoch {
		return quits
	}
	for _, id := range x.snap.Stay() {
		quits = append(quits, backend.Quit{ID: id, Reason: reason})
	}
	return quits
}
