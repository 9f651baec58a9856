package link

import (
	"fmt"
	"time"

	"github.com/ircferry/ircferry/backend"
)

// awaitMarker calls done when the marker of the replay has come.
func (l *link) awaitMarker(done func(error)) {
	switch {
	case l.state != Swallowing && l.lost != nil:
		done(fmt.Errorf("%w: %w", errNoReplay, l.lost))
	case l.state != Swallowing:
		done(errNoReplay)
	case l.paused:
		done(nil)
	default:
		l.waiter = done
	}
}

// split is a link that was given up, as the peers of others hear it.
type split struct{ sid, reason string }

// live tells the peer what it has to know, passes what stands behind the marker, and what was kept.
func (l *link) live(splits []split, quits []backend.Quit) {
	if l.state != Swallowing || !l.paused {
		return
	}
	l.part()
	d := l.dialect()
	for _, s := range splits {
		l.peer.pass([]byte(d.squit(s.sid, s.reason)))
	}
	for _, q := range quits {
		l.peer.pass([]byte(d.quit(q.ID, q.Reason)))
	}
	for _, line := range l.own.changed(&l.fresh) {
		l.peer.pass([]byte(line))
	}
	l.own = l.fresh
	l.backend = l.to
	l.log = l.port.set.log.With("link", l.conf.Name, "backend", l.backend)
	l.letGo()
	l.notice("live", fmt.Sprintf("with %s after %s, %d bytes were kept", l.backend, time.Since(l.held).Round(time.Millisecond), l.kept.size))
	l.enter(Flushing)
	l.feed()
	l.work()
}
