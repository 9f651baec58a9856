package handoff

import (
	"context"
	"errors"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff/protocol"
)

// maxLeftOut bounds how many sessions a move is begun anew without, one after the other: with more the destination is not fit.
const maxLeftOut = 8

// leaveOut makes ready for another go without the one session for whose sake this one failed, before the point of no return. It stays where
// it is: so nobody who moves may share a channel with it, who would see it there for ever. Channels are joined until the source's world stops:
// what END tells of that (acceptExport) has the last word, and from a source that cannot tell nobody is left out. False: the move reverts.
func (x *run) leaveOut(ctx context.Context, why error) bool {
	var b *blame
	if !errors.As(why, &b) || x.r.Strict || x.dst == nil || !x.source.Can(protocol.FeatRemain) || len(x.stays) == maxLeftOut || ctx.Err() != nil || !x.state.revertible() {
		return false
	}
	if !x.unseen(ctx, b.u) {
		return false
	}
	x.log.Warn("a session cannot move and is left where it is; the move is begun anew without it", "session", b.u, "cause", string(b.cause), "err", b.err)
	if !x.beginAnew(ctx) {
		return false
	}
	x.stays[b.u] = b.cause
	return true
}

// beginAnew takes everything back and makes ready for another go. False: that cannot be, and everything is as before all the same.
func (x *run) beginAnew(ctx context.Context) bool {
	if !x.goBack() {
		return false
	}
	x.cleanUp()
	x.frozen, x.snap, x.pulled = nil, nil, false
	x.hangUp()
	if err := x.connectAgain(ctx); err != nil {
		x.log.Warn("the move cannot be begun anew", "err", err)
		return false
	}
	return true
}

// connectAgain makes new conversations with the two processes of before.
func (x *run) connectAgain(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	src, err := x.ask(ctx, x.from, x.source.Epoch)
	if err != nil {
		return err
	}
	x.src, x.process = src, src.Process()
	if x.dst == nil {
		return nil
	}
	dst, err := x.ask(ctx, x.to, x.dst.Info().Epoch)
	if err != nil {
		return err
	}
	x.dst = dst
	return x.payAborts(ctx, dst, x.to)
}

// unseen reports whether nobody who moves shares a channel with u. If the records are not there yet, the source is asked for them.
func (x *run) unseen(ctx context.Context, u string) bool {
	snap := x.snap
	if !x.pulled {
		var err error
		if snap, err = x.peek(ctx); err != nil {
			x.log.Info("the source does not tell who shares a channel with whom", "err", err)
			return false
		}
	}
	if snap.Users[u] == nil {
		return false
	}
	mine := make(map[string]bool)
	for _, rec := range snap.Records {
		if rec.Verb == protocol.VerbMemb && rec.Get("u") == u {
			mine[rec.Get("c")] = true
		}
	}
	for _, rec := range snap.Records {
		other := rec.Get("u")
		if _, stays := x.stays[other]; rec.Verb == protocol.VerbMemb && other != u && !stays && mine[rec.Get("c")] {
			return false
		}
	}
	return true
}

// peek is the snapshot while everybody goes on.
func (x *run) peek(ctx context.Context) (*Snapshot, error) {
	if !x.source.Can("peek") {
		return nil, errors.New("it cannot")
	}
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	refs, err := x.proxy.on(ctx, x.from.FullName())
	if err != nil {
		return nil, err
	}
	snap := newSnapshot()
	_, err = x.src.Export(ctx, protocol.ExportRequest{Tx: x.tx, Peek: true, Select: selections(refs)}, func(rec protocol.Message) error {
		_, err := snap.add(rec)
		return err
	})
	return snap, err
}

func selections(refs []backend.SessionRef) (all []protocol.Selection) {
	for _, ref := range refs {
		all = append(all, protocol.Selection{U: ref.U})
	}
	return all
}
