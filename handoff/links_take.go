package handoff

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff/protocol"
)

// Links up to RELEASED: whatever goes wrong with one of them undoes the move, for all links are held or none; what the one would not know of
// the other's servers is a broken network.

// holdLinks keeps what the peers say from now on. Clients go on meanwhile: what they say is passed before the marker.
func (x *run) holdLinks(ctx context.Context) error {
	if len(x.links.want) == 0 {
		return nil
	}
	held, err := askLinks(ctx, x.c.opt.Links, x.from.FullName())
	if err != nil {
		return &linkTrouble{err: fmt.Errorf("hold them: %w", err)}
	}
	x.links.held, x.links.state, x.links.misfit = held, LinkHeld, nil
	x.tellLinks(endsOf(held))
	return nil
}

// acceptLinks refuses an export that is not of exactly the links that are held.
func (x *run) acceptLinks(end protocol.End) error {
	holds := x.links.held != nil
	switch {
	case len(end.Unheld) == 0:
	case holds:
		return &linkTrouble{end.Unheld[0], errors.New("it is linked to the ircd past those that are held")}
	case !x.r.AllowVisible:
		return fmt.Errorf("export: %s was linked meanwhile, its users would see it", strings.Join(end.Unheld, ", "))
	}
	if !holds {
		return nil
	}
	asked := x.links.asked
	for _, l := range asked {
		if x.snap.Links[l.Name] == nil {
			return &linkTrouble{l.Name, errors.New("export: the source has told nothing of it")}
		}
	}
	if len(x.snap.Links) != len(asked) {
		return &linkTrouble{err: fmt.Errorf("export: the source has told of %d links, %d were asked for", len(x.snap.Links), len(asked))}
	}
	return nil
}

// cutLinks waits until all that the old process has said to the peers before it stood still has passed.
func (x *run) cutLinks(ctx context.Context) error {
	if x.links.held == nil {
		return nil
	}
	if err := cut(ctx, x.links.held, x.tx); err != nil {
		return &linkTrouble{err: fmt.Errorf("wait for the marker: %w", err)}
	}
	x.tellLinks(endsOf(x.links.held))
	return nil
}

// replayBeforeRelease plays the links into the destination of a replace, and gives it the records, which have waited for that.
func (x *run) replayBeforeRelease(ctx context.Context) error {
	if x.links.held == nil {
		return nil
	}
	for _, l := range x.links.are() {
		if err := x.replayLink(ctx, x.dst, x.to, x.tx, l); err != nil {
			return &linkTrouble{l.Name, fmt.Errorf("play it into %s: %w", x.to.FullName(), err)}
		}
	}
	return x.giveRecords(ctx, x.dst, x.to)
}

// resumeLinks lets the links go on with the old process, which goes on too.
func (x *run) resumeLinks() {
	held := x.links.held
	if held == nil {
		return
	}
	briefly(linkTime, held.Resume)
	x.links.state = LinkResumed
	x.endLinks(errors.New("the move was undone"))
}

// leaveLinks makes ready for another go in which the links are left alone, as if none could be held: for who has said that it may be seen, a move
// that is seen is better than none. False: the move reverts.
func (x *run) leaveLinks(ctx context.Context, why error) bool {
	var t *linkTrouble
	if !errors.As(why, &t) || !x.r.AllowVisible || ctx.Err() != nil || !x.state.revertible() {
		return false
	}
	x.log.Warn("server links cannot be held and are left alone, as --allow-visible allows; the move is begun anew", "err", t)
	if !x.beginAnew(ctx) {
		return false
	}
	for _, l := range x.links.want {
		x.links.left = append(x.links.left, LinkRow{Link: l.Name, SID: l.SID, State: LinkNotHeld, Cause: t.Error()})
	}
	x.links.want = nil
	x.tellLinks(nil)
	return true
}

// linksOf lists what the proxy holds of a backend; a coordinator without Links has none.
func (c *Coordinator) linksOf(b *backend.Backend) []backend.Link {
	if c.opt.Links == nil {
		return nil
	}
	links, _ := soon(linkTime, func() []backend.Link { return c.opt.Links.Of(b.FullName()) })
	return links
}

// pauseLinks holds the links for a pause, so that their PINGs are answered while the ircd stands still. One that cannot be held keeps no
// client from being held.
func (x *run) pauseLinks(ctx context.Context) {
	x.links.want = x.c.linksOf(x.from)
	if err := x.holdLinks(ctx); err != nil {
		x.log.Warn("server links are not held during the pause", "err", err)
	}
}
