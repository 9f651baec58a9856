package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ircferry/ircferry/admin"
	"github.com/ircferry/ircferry/handoff"
)

// Moves in an upgrade: those whose users are parked or paused go along, others are waited for.

const (
	movesTime = 15 * time.Second // for moves to end, or to come to rest, before the new process is started
	restTime  = 5 * time.Second  // and when it stands ready: one that rested may have gone on
)

// lookAtMoves notes what would become of the moves under way, and answers the backends whose sessions those have that rest.
func (x *upgrade) lookAtMoves() (resting []string) {
	rest, busy := x.d.moves.Resting()
	x.result.Moves, x.result.Awaited = nil, nil
	for _, r := range rest {
		x.result.Moves = append(x.result.Moves, told(r))
		resting = append(resting, r.Pool+"/"+r.From)
	}
	for _, r := range busy {
		x.result.Awaited = append(x.result.Awaited, told(r))
	}
	return resting
}

// told is a move in a few words.
func told(r handoff.Report) string {
	at := string(r.State)
	if r.State == handoff.StateRunning {
		at = "at " + string(r.Step)
	}
	return fmt.Sprintf("move %s (%s %s/%s, %s)", r.ID, r.Kind, r.Pool, r.From, at)
}

// awaitMoves waits until all moves have ended, or rest where another process can go on with them. They go on then: the new process needs its time to begin.
func (x *upgrade) awaitMoves(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, movesTime)
	defer cancel()
	if x.dry {
		if ctx, cancel = context.WithCancel(ctx); len(x.result.Awaited) > 0 {
			cancel() // it is not waited for
			return nil
		}
		defer cancel()
	}
	still, err := x.standStill(ctx)
	if x.dry && err != nil {
		x.result.Refusals = append(x.result.Refusals, err.Error())
		return nil
	}
	if err != nil {
		return err
	}
	still.GoOn()
	x.lookAtMoves()
	return nil
}

// standStill is the coordinator's, with its refusal as one of the API.
func (x *upgrade) standStill(ctx context.Context) (*handoff.Standstill, error) {
	still, err := x.d.moves.StandStill(ctx)
	var no *handoff.Refused
	if errors.As(err, &no) {
		return nil, &admin.Error{Code: admin.CodeRefused, Message: no.Reason, Hint: no.Hint}
	}
	return still, err
}
