package handoff

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff/protocol"
)

// streams is what came of attaching sessions.
type streams struct {
	attached []string
	gone     []string                 // ended meanwhile, or lost: nothing can be attached for them
	refused  map[string]backend.Cause // the ircd, which lives and has the transaction, does not take their streams
}

// attach opens new streams, in rounds: who was not attached in the time of one gets another as long as some are. The error is one that all
// share: the destination's process has ended, or has the transaction no more, or takes no streams. Whom alone it refuses, the answer tells.
func (x *run) attach(ctx context.Context, us []string, to *backend.Backend, dst Party, tx, tok string) (streams, error) {
	got := streams{refused: make(map[string]backend.Cause)}
	if _, own := dst.(Maker); own {
		got.attached = us
		return got, nil
	}
	for len(us) > 0 {
		before, late := len(got.attached), []string(nil)
		if err := x.attachRound(ctx, us, &got, to, dst, tx, tok); err != nil {
			return got, err
		}
		for u, cause := range got.refused {
			if cause == backend.CauseTimeout {
				late = append(late, u)
			}
		}
		x.m.update(func(report *Report) { report.Progress = len(got.attached) })
		if us = late; len(got.attached) == before || ctx.Err() != nil {
			break
		}
	}
	if len(got.refused) == 0 {
		return got, nil
	}
	return got, x.whoseFault(ctx, got, to, dst.Info().Epoch, tx)
}

// attachRound asks once for each of us. It ends early if the destination's process does: the streams would be refused, and tried again, up to the end of
// its time.
func (x *run) attachRound(ctx context.Context, us []string, got *streams, to *backend.Backend, dst Party, tx, tok string) error {
	info := dst.Info()
	address, err := netip.ParseAddrPort(info.Stream)
	if err != nil {
		return fmt.Errorf("stream address of %s: %w", to.FullName(), err)
	}
	ctx, cancel := context.WithTimeout(ctx, spliceTime)
	defer cancel()
	there, stop := x.whileThere(ctx, to, info.Epoch)
	answers := x.proxy.attach(there, us, backend.AttachTo{Backend: to.FullName(), Stream: address, SKey: info.SKey, Proof: info.Can(protocol.FeatProof), Tx: tx, Tok: tok})
	absent := errors.Is(context.Cause(there), errAbsent)
	stop()
	for _, r := range answers {
		delete(got.refused, r.U)
		switch r.Cause {
		case "":
			got.attached = append(got.attached, r.U)
		case backend.CauseGone:
			got.gone = append(got.gone, r.U)
		default:
			got.refused[r.U] = r.Cause
		}
	}
	if absent && len(got.refused) > 0 {
		return fmt.Errorf("attach sessions to %s: %w", to.FullName(), errAbsent)
	}
	return nil
}

// whoseFault tells a destination that takes no streams from one that refuses some: nil is the latter. If most are refused it is not for what
// each of them is, and an ircd that does not answer, or has forgotten the transaction, says nothing of any of them.
func (x *run) whoseFault(ctx context.Context, got streams, to *backend.Backend, epoch, tx string) error {
	var first string
	for first = range got.refused {
		break
	}
	all := fmt.Errorf("attach sessions to %s: %d of %d streams were not taken, the first: %s (%s)", to.FullName(), len(got.refused),
		len(got.refused)+len(got.attached), first, got.refused[first])
	if most := len(got.refused) > max(len(got.attached), 1); most && (len(got.attached) == 0 || !x.last) {
		return all
	}
	asked, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerTime)
	defer cancel()
	party, err := x.ask(asked, to, epoch)
	if err != nil {
		return fmt.Errorf("%w: %w", all, err)
	}
	defer party.Close()
	status, err := party.Status(asked, tx)
	if err != nil {
		return fmt.Errorf("%w: %w", all, err)
	}
	if status.Dest != protocol.DestStaging && status.Dest != protocol.DestPrepared {
		return fmt.Errorf("%w: the import is %s there", all, status.Dest)
	}
	return ctx.Err()
}
