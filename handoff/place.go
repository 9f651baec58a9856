package handoff

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ircferry/ircferry/backend"
)

// After the point of no return: the journal owns the users until an ircd has committed them. Each try is without those for whom one has
// failed, so that nobody's trouble is everybody's.

// placeTries is how often the backend that was meant is tried when it answers and refuses, before another one is.
const placeTries = 5

// placing says where the users of a parked move go.
type placing struct {
	to       string // backend name in the pool
	newEpoch bool   // wait until the ircd is another process than at the pull
	released bool   // by a release, not by a cancel
}

// putIn goes from RELEASED to thaw.
func (x *run) putIn() {
	x.letGo()
	x.partLinks()
	x.until = time.Now().Add(x.limits.Park)
	ctx, cancel := context.WithDeadline(context.Background(), x.until)
	defer cancel()
	if x.dst != nil {
		committed, err := x.commit(ctx, x.dst, x.to, x.tx)
		if committed {
			x.finish(x.to, x.dst.Info().Epoch)
			return
		}
		x.log.Warn("the destination did not commit; importing again from the journal", "to", x.to.FullName(), "err", err)
		x.mark("FAILED", "tx", x.tx)
		x.proxy.detach(x.parkable())
		x.unplayLinks()
	}
	x.calm()
	x.proxy.park(x.parkable(), x.source.Name)
	if x.to != nil {
		x.where = &placing{to: x.to.Name()}
	} else {
		x.m.park(parkedNote(len(x.snap.Users), x.from))
	}
	x.placeParked()
}

func parkedNote(users int, from *backend.Backend) string {
	return fmt.Sprintf("%d users of %s are held; it may be stopped now", users, from.FullName())
}

// placeParked goes on from where the users are parked: to where they go, as soon as that is known.
func (x *run) placeParked() {
	ctx, stop := context.WithDeadline(x.c.alive, x.until)
	defer stop()
	if x.where == nil {
		if _, told := x.awaitWish(ctx, 0); !told {
			if !x.left {
				x.outOfTime(ctx, placing{}, fmt.Errorf("nobody released %s within moves.park", x.from.FullName()))
			}
			return
		}
	}
	x.placeAnywhere(ctx, *x.where)
}

// awaitWish waits for what the operator wants, d at most if it is not 0. told false: he has said nothing, or, if x.left, it is another process's to
// hear it. Nothing of the move is under way here.
func (x *run) awaitWish(ctx context.Context, d time.Duration) (where placing, told bool) {
	var over <-chan time.Time
	if d > 0 {
		over = time.After(d)
	}
	for waits := true; ; {
		if where, told = x.state.wish(); told {
			x.wished(where)
			return where, true
		}
		if !waits {
			return where, false
		}
		select {
		case <-x.state.steered:
		case <-x.c.standstill():
			if x.left = !x.stand(); x.left {
				return where, false
			}
		case <-over:
			waits = false
		case <-ctx.Done():
			waits = false
		}
	}
}

// wished notes where the operator wants the users.
func (x *run) wished(where placing) {
	x.where = &where
	x.markNow("PLACE", "to", where.to, "newepoch", yes(where.newEpoch), "released", yes(where.released))
	x.m.placed(where)
}

// letGo leaves alone whom the old ircd did not give: its streams end them. Who was left out of the move goes on there.
func (x *run) letGo() {
	var us []string
	for _, f := range x.frozen {
		if x.snap.Users[f.U] == nil && x.state.is(f.U, func(m *member) bool { return m.registered && m.fate == held }) {
			us = append(us, f.U)
			x.note(event{what: takenOut, u: f.U, outcome: "left", cause: cmp.Or(x.stays[f.U], backend.CauseNotExported)})
		}
	}
	if len(us) > 0 {
		x.proxy.thaw(us)
	}
}

// parkable is everybody who waits for a new backend.
func (x *run) parkable() []string { return x.state.who((*member).waits) }

// placeAnywhere tries until an ircd has the users or ctx, the park time, is over: the backend that is meant as long as it does not
// answer (it may be starting), another one when it refuses again and again.
func (x *run) placeAnywhere(ctx context.Context, where placing) {
	var last error // of the try before: one that the end of the time cut short says nothing
	for {
		to, err := x.c.find(x.r.Pool, where.to)
		if err == nil {
			err = x.placeAt(ctx, to, where.newEpoch)
		}
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			x.outOfTime(ctx, where, cmp.Or(last, err))
			return
		}
		last = err
		var shrunk *blame
		_, refused := said(err)
		next := where
		switch {
		case errors.As(err, &shrunk), errors.Is(err, errFewerLinks): // at once, without him, or them
		case refused || x.to != nil:
			x.refusals[where.to]++
			next = x.nextPlace(where, x.refusals)
			fallthrough
		default:
			x.where = &next
			x.m.enter(StepPark, fmt.Sprintf("waiting for %s/%s: %v", x.r.Pool, where.to, cause(err)))
			if wish, told := x.awaitWish(ctx, askEvery); told {
				next = wish
			}
			if x.left {
				return
			}
		}
		if wish, told := x.state.wish(); told {
			x.wished(wish)
			next = wish
		}
		where = next
	}
}

// cause is an error without the step and the backend, which the note beside it names.
func cause(err error) error {
	var at *Error
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}

// nextPlace is where the next try goes to. A restart waits for its own ircd only; the operator says if he wants another.
func (x *run) nextPlace(now placing, refusals map[string]int) placing {
	if x.to == nil || refusals[now.to] < placeTries {
		return now
	}
	candidates := append([]*backend.Backend{x.to, x.from}, x.from.Pool().Backends()...)
	best := now.to
	for _, b := range candidates {
		if b.Native() && refusals[b.Name()] < refusals[best] {
			best = b.Name()
		}
	}
	return placing{to: best}
}

// errDaemonEnds is the cause of what Close cancels.
var errDaemonEnds = errors.New("the daemon ends")
