package link

import (
	"log/slog"
	"net"
	"time"
)

// Notice is one thing that became of a link.
type Notice struct {
	Link string // "pool/name"
	Word string // up | held | live | resumed | ended | given_up
	Text string // for a person
}

// notice tells it.
func (l *link) notice(word, text string) {
	if !l.relives {
		l.port.set.tell(Notice{l.port.key(), word, text})
	}
}

// discard is for what was logged before.
var discard = slog.New(slog.DiscardHandler)

// tellAgain is how long the log is spared after a line about refused connections of one link: a peer may try several times a second.
const tellAgain = 10 * time.Second

// told is when a refusal was last told, and how many were not since.
type told struct {
	at time.Time
	n  int
}

// refused tells of a connection that became no link.
func (s *Set) refused(p *port, from net.Addr, why Refusal, err error) {
	s.metrics.refused(p, why)
	s.mu.Lock()
	key := p.key() + " " + string(why)
	t, now := s.told[key], time.Now()
	silent := !t.at.IsZero() && now.Sub(t.at) < tellAgain
	before := t.n
	if t.n++; !silent {
		t = told{at: now}
	}
	s.told[key] = t
	s.mu.Unlock()
	if !silent {
		s.log.Warn("connection of a link refused", "link", p.key(), "from", from.String(), "reason", string(why), "err", err, "others", before)
	}
}

// ended tells of a link that is no more. It is called by its loop.
func (s *Set) ended(l *link, why End, err error, up bool) {
	s.metrics.ended(l, why)
	log, word, text := l.log.Info, "ended", string(why)
	if why == EndGivenUp || why == EndFence {
		log = l.log.Error
	}
	if why == EndGivenUp {
		word, text = "given_up", string(l.cause)
	}
	if err != nil {
		text += ": " + err.Error()
	}
	if up {
		l.notice(word, text)
	}
	log("link ended", "reason", string(why), "cause", string(l.cause), "err", err, "was_up", up, "after", time.Since(l.since).Round(time.Millisecond))
}
