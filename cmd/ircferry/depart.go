package main

import (
	"context"
	"time"

	"github.com/ircferry/ircferry/proxy"
)

// The end of a process whose place another one has.

// leave gives the place up to a process that has taken it.
func (d *daemon) leave(cut *proxy.Cut, x *upgrade) {
	if d.named != nil && !x.kept {
		d.named(x.result.PID)
	}
	d.leaveLinks(x)
	d.others.stop(expired()) //nolint:errcheck // this member goes on in the new process, so nobody hears that it goes
	if !x.kept {
		if err := x.conn.Send(message{Word: wordLeft, Pause: x.result.Pause}); err != nil {
			d.log.Warn("the new process does not hear that this one goes", "err", err)
		}
	}
	d.api.Retire(d.doors.admin)
	if d.doors.web != nil {
		d.public.SetKeepAlivesEnabled(false)
		d.doors.web.Close()
	}
	d.backends.Leave()
	cut.Leave()
}

// depart ends a daemon whose place another process has: who asks here still gets the answer, then everything is given back in silence.
func (d *daemon) depart() {
	ctx, cancel := context.WithTimeout(context.Background(), departTime)
	defer cancel()
	d.stopping.Store(true)
	d.closings.end()
	if d.public != nil {
		d.public.Shutdown(ctx) //nolint:errcheck // who is slow is cut off
	}
	d.api.Shutdown(ctx) //nolint:errcheck // the same
	d.moves.Close(ctx)  //nolint:errcheck // none is under way
	d.release()
}

// departTime bounds how long whoever asked the old process may take to read its answer.
const departTime = 3 * time.Second
