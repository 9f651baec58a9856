package handoff

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ircferry/ircferry/backend"
)

// lastTry is what the process of before, and the ircd that was meant, get when the park time is over to take the users.
const lastTry = 10 * time.Second

// outOfTime: the park time is over. If the process that the users came from still runs (a hold that nobody released, a restart
// that did not restart anything), they go back into it. Else the ircd that was meant is asked once more for those whom it can take, and the
// rest is lost.
func (x *run) outOfTime(ctx context.Context, where placing, why error) {
	if !errors.Is(context.Cause(ctx), errDaemonEnds) {
		back, cancel := context.WithTimeout(x.c.alive, lastTry)
		defer cancel()
		x.last = true
		if x.placeTheRest(back, x.from) {
			x.outcome, x.why = StateReverted, fmt.Errorf("%w; the users were put back into %s", why, x.from.FullName())
			return
		}
		if to, err := x.c.find(x.r.Pool, where.to); err == nil && to.Name() != x.from.Name() && x.placeTheRest(back, to) {
			return
		}
	}
	x.lose(ctx, why)
}

// placeTheRest is placeAt, again as long as conflicts take somebody out of the way.
func (x *run) placeTheRest(ctx context.Context, to *backend.Backend) bool {
	for {
		records := len(x.snap.Records)
		err := x.placeAt(ctx, to, false)
		if err == nil {
			return true
		}
		if len(x.snap.Records) == records && !errors.Is(err, errFewerLinks) {
			return false
		}
	}
}

// lose is the one way to lose users after the point of no return: the park time is over, or the daemon ends, who then closes the
// sessions like all others. The journal stays.
func (x *run) lose(ctx context.Context, why error) {
	disk, cancel := context.WithTimeout(context.Background(), diskTime)
	defer cancel()
	keep := x.journal.keep
	if cause := context.Cause(ctx); errors.Is(cause, errDaemonEnds) {
		why, keep = cause, x.journal.leave
		x.log.Warn("the daemon ends while users are held; the journal is kept", "journal", x.journal.Path(), "users", len(x.snap.Users))
	} else {
		x.log.Error("nobody took the users within the park time; their sessions end, the journal is kept", "journal", x.journal.Path(), "err", why)
		us := x.parkable()
		x.proxy.end(us, backend.CauseBackendGone, "the server did not come back in time, please reconnect")
		for _, u := range us {
			x.note(event{what: takenOut, u: u, outcome: "failed", cause: backend.CauseBackendGone})
		}
	}
	if err := keep(disk); err != nil {
		x.log.Error("journal not kept", "journal", x.journal.Path(), "err", err)
	}
	x.state.rest(backend.CauseGone)
	if !x.state.ownedBy(ownerOffered) { // an ircd that never said whether it has committed; its streams are closed
		x.note(event{what: lost})
	}
	x.m.update(func(r *Report) { x.state.write(r); r.Journal = x.journal.Path() })
	x.outcome, x.why = StateFailed, why
}
