package handoff

import (
	"context"
	"errors"
	"fmt"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff/protocol"
)

// commit makes the users live. committed false means that they certainly are not; a blame is that of a user for whom alone the ircd did not.
func (x *run) commit(ctx context.Context, dst Party, to *backend.Backend, tx string) (committedThere bool, err error) {
	if err := x.state.on(event{what: commitOut}); err != nil {
		x.note(event{what: tryFailed})
		x.abort(dst, to, tx)
		return false, err
	}
	x.m.enter(StepCommit, "")
	epoch, how := dst.Info().Epoch, howToCommit(dst)
	done, err := x.askCommit(ctx, dst, to, tx, how)
	if err == nil {
		x.noteCommitted(done, how)
		return true, nil
	}
	if e, ok := said(err); ok {
		x.note(event{what: notCommitted})
		x.abort(dst, to, tx)
		return false, x.blameCommit(e, to)
	}
	x.log.Warn("commit not answered; asking the destination", "to", to.FullName(), "err", err)
	dst.Close()
	x.calm()
	x.proxy.park(x.parkable(), x.source.Name) // it may last: nobody may leave because his PING gets no answer
	committedThere, done, fate := x.commitFate(ctx, to, epoch, tx, func(Party) committing { return how })
	if committedThere {
		x.noteCommitted(done, how)
		return true, nil
	}
	if fate != nil {
		// Whatever it has done ends with the streams: nobody is live on one that is closed.
		x.proxy.detach(x.parkable())
		x.owe(to, tx)
	}
	x.note(event{what: notCommitted})
	return false, errors.Join(err, fate)
}

// committing is the form of a COMMIT, always the same for one transaction.
type committing struct{ quit, quiet bool }

func howToCommit(dst Party) committing {
	quit := dst.Info().Can(protocol.FeatMissing)
	return committing{quit, quit && dst.Info().Can(protocol.FeatQuiet)}
}

// noteCommitted takes in what an ircd says of a COMMIT. Whom it names as missing has lost his stream since it was attached, or his session has ended:
// the proxy finds out which when it waits for a LIVE of him, which does not come.
func (x *run) noteCommitted(done protocol.Committed, how committing) {
	x.note(event{what: committed})
	x.quiet, x.missing = how.quiet, done.Who
	if given := len(x.snap.Users); done.Users+done.Missing != given {
		x.log.Warn("the destination tells other numbers than were given", "live", done.Users, "missing", done.Missing, "given", given)
	}
}

// askCommit asks, and once more for each user whose stream the ircd says it does not have, after it was attached again.
func (x *run) askCommit(ctx context.Context, dst Party, to *backend.Backend, tx string, how committing) (protocol.Committed, error) {
	again := make(map[string]bool)
	for {
		asked, cancel := context.WithTimeout(ctx, x.limits.MaxPause)
		done, err := dst.Commit(asked, tx, how.quit, how.quiet)
		cancel()
		e, ok := said(err)
		if !ok || e.Code != protocol.CodeNotAttached || again[e.U] || !x.state.is(e.U, (*member).moving) {
			return done, err
		}
		again[e.U] = true
		once, stop := context.WithTimeout(ctx, answerTime)
		got, failed := x.attachAgain(once, e.U, to, dst, tx)
		stop()
		if failed != nil || len(got.attached) == 0 {
			return done, err
		}
	}
}

// attachAgain attaches one stream that was lost since.
func (x *run) attachAgain(ctx context.Context, u string, to *backend.Backend, dst Party, tx string) (got streams, err error) {
	got.refused = make(map[string]backend.Cause)
	x.proxy.detach([]string{u})
	return got, x.attachRound(ctx, []string{u}, &got, to, dst, tx, x.tok)
}

// blameCommit takes the user out for whom alone an ircd has refused to commit.
func (x *run) blameCommit(e *protocol.Error, to *backend.Backend) error {
	switch {
	case e.U == "":
		return e
	case x.snap.Users[e.U] == nil:
		return fmt.Errorf("%w: %w", errStranger, e)
	case x.state.is(e.U, (*member).moving):
		x.note(event{what: takenOut, u: e.U, outcome: "failed", cause: backend.CauseDetached})
		x.endOut(e.U, backend.CauseDetached)
	}
	x.drop(e.U)
	return &blame{e.U, backend.CauseDetached, fmt.Errorf("%s does not commit it: %w", to.FullName(), e)}
}

// commitFate finds out what became of a COMMIT whose answer was lost. false with nil or errAbsent: it was not committed, or nobody is live there any
// more, since all streams of the move have been closed by its end. Another error: it is not known when ctx is over.
func (x *run) commitFate(ctx context.Context, to *backend.Backend, epoch, tx string, how func(Party) committing) (bool, protocol.Committed, error) {
	us := x.state.who(func(m *member) bool { return m.moving() && m.stream })
	for {
		if s := x.proxy.streams(ctx, us, true); len(us) > 0 && s.Open == 0 && s.Ended > 0 {
			return false, protocol.Committed{}, nil
		}
		party, err := x.ask(ctx, to, epoch)
		if err == nil {
			known, is, done := x.destinationSays(ctx, party, tx, how(party))
			party.Close()
			if known {
				return is, done, nil
			}
		}
		if len(us) == 0 && errors.Is(err, errAbsent) {
			return false, protocol.Committed{}, nil
		}
		x.m.say(fmt.Sprintf("COMMIT was sent to %s and not answered; it is asked whether it has the users", to.FullName()))
		if !wait(ctx, askEvery) {
			return false, protocol.Committed{}, fmt.Errorf("%s does not say whether it has committed: %w", to.FullName(), context.Cause(ctx))
		}
	}
}

// destinationSays asks once whether it has committed; known false: it did not say.
func (x *run) destinationSays(ctx context.Context, party Party, tx string, how committing) (known, is bool, done protocol.Committed) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	status, err := party.Status(ctx, tx)
	if err != nil {
		return false, false, done
	}
	switch status.Dest {
	case protocol.DestCommitted, protocol.DestPrepared: // repeated, it is answered as at first
		done, err = party.Commit(ctx, tx, how.quit, how.quiet)
		if _, refused := said(err); refused && status.Dest == protocol.DestPrepared {
			err = party.Abort(ctx, tx)
			return answered(err), false, done
		}
		return err == nil, err == nil, done
	case protocol.DestStaging:
		return party.Abort(ctx, tx) == nil, false, done // so that its nicks are free for the next try
	}
	return true, false, done
}
