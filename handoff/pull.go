package handoff

import (
	"context"
	"fmt"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff/protocol"
)

// pull stops the old ircd, takes its users into the journal (and on to the destination), and reads the old streams to their end.
func (x *run) pull(ctx context.Context) error {
	x.m.enter(StepPull, "")
	ask := protocol.ExportRequest{Tx: x.tx, Freeze: x.limits.MaxPause}
	for _, f := range x.frozen {
		if _, stays := x.stays[f.U]; !stays {
			ask.Select = append(ask.Select, protocol.Selection{U: f.U, In: f.In})
		}
	}
	x.links.asked = x.links.are()
	ask.Links = selected(x.links.asked)
	x.snap, x.exported = newSnapshot(), true
	end, err := x.src.Export(ctx, ask, x.takeRecord(ctx))
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	if err := x.acceptExport(end); err != nil {
		return err
	}
	x.pulled = true
	x.journal.hurry()
	if err := x.cutLinks(ctx); err != nil {
		return err
	}
	return x.readUp(ctx)
}

// takeRecord writes a record into the journal and passes on what a destination needs of it. A user whom nobody selected is refused at once.
func (x *run) takeRecord(ctx context.Context) func(protocol.Message) error {
	return func(rec protocol.Message) error {
		if u := rec.Get("u"); rec.Verb == protocol.VerbUser && !x.state.is(u, func(m *member) bool { return m.fate == held }) {
			return fmt.Errorf("export: the source gave user u=%s, who was not selected", u)
		}
		if err := x.journal.record(rec); err != nil {
			return err
		}
		out, err := x.snap.add(rec)
		if err != nil || x.dst == nil || x.links.held != nil {
			return err // with links they wait for these to be in the destination
		}
		if err := x.dst.Record(ctx, out); err != nil {
			return fmt.Errorf("pass record on to %s: %w", x.to.FullName(), err)
		}
		return nil
	}
}

// acceptExport refuses an export that is not the one that was asked for, or whose users are not alone any more.
func (x *run) acceptExport(end protocol.End) error {
	if end.Unmovable > 0 && !x.r.AllowVisible {
		return fmt.Errorf("export: %d users came in past us meanwhile, they would see the others go", end.Unmovable)
	}
	if n := registered(x.frozen); n > len(x.stays) && x.source.Users == 0 && len(x.snap.Users) == 0 {
		return fmt.Errorf("export: the ircd of %s knows none of the %d users here; if its address was changed, they are at the one of before",
			x.from.FullName(), n)
	}
	if len(x.stays) > 0 && end.Remain > 0 && x.quitText() == "" {
		return fmt.Errorf("export: of %d sessions that were left out %d have joined a channel of those who move meanwhile", len(x.stays), end.Remain)
	}
	for u, user := range x.snap.Users {
		x.note(event{what: exported, u: u, nick: user.Nick})
	}
	return x.acceptLinks(end)
}

func registered(frozen []backend.Frozen) (n int) {
	for _, f := range frozen {
		if f.Registered {
			n++
		}
	}
	return n
}

// readUp reads every old stream up to its count, before the old ircd may close it.
func (x *run) readUp(ctx context.Context) error {
	cuts := make([]backend.Cut, 0, len(x.snap.Users))
	for u, user := range x.snap.Users {
		cuts = append(cuts, backend.Cut{U: u, Out: user.Out})
	}
	var behind []string
	for _, r := range x.proxy.readUp(ctx, cuts) {
		switch r.Cause {
		case "":
		case backend.CauseGone, backend.CauseOverflow: // closed at the splice, by the proxy
		case backend.CauseBehind:
			behind = append(behind, r.U)
		default:
			return fmt.Errorf("read stream %s up to the count that its ircd tells: %s", r.U, r.Cause)
		}
	}
	return x.loseBehind(ctx, behind)
}

// loseBehind marks the sessions whose old stream ended before its count: nothing can make their output whole again, so
// they are closed once the new ircd has them (and tells the others with an ordinary QUIT). If the old
// ircd lives, its word is not to be trusted, and everybody goes on with it.
func (x *run) loseBehind(ctx context.Context, us []string) error {
	if len(us) == 0 {
		return nil
	}
	if !x.sourceEnded(ctx) {
		return fmt.Errorf("%d streams ended before the count that their ircd tells, the first: %s", len(us), us[0])
	}
	x.behind = us
	for _, u := range us {
		x.mark("BEHIND", "u", u)
	}
	return nil
}
