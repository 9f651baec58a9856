package link

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/ircferry/ircferry/backend"
)

// settleTime is what links whose handshake is under way have to end it when a move begins; a burst takes less, and who waits for one would hold up the move.
const settleTime = time.Second

// waitTime is how long a connection that comes while its link's backend is in a move is let wait. Services that were turned away would come back
// after a minute only.
const waitTime = time.Minute

// speakTime is what a connection beside a held link has to say a first line.
const speakTime = 10 * time.Second

// Of lists the links of a backend ("pool/name") that are up with it, also those that are fed what was kept in a move of before.
func (s *Set) Of(full string) (all []backend.Link) {
	for _, l := range s.all() {
		if i := l.picture(); i.Backend == full && (i.State == Raw || i.State == Flushing) && holdable(i.Proto) {
			all = append(all, i.link())
		}
	}
	slices.SortFunc(all, func(a, b backend.Link) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// Hold is handoff.Links': it keeps what the peers of all links of the backend say, and returns when its ircd has read what was passed before.
func (s *Set) Hold(ctx context.Context, full string) (*Held, error) {
	s.bar(full)
	links, err := s.settled(ctx, full)
	if err != nil {
		s.unbar(full)
		return nil, err
	}
	h := newHeld(s, full, links)
	if err := h.first(h.begin(ctx), "its ircd does not answer"); err != nil {
		h.Resume()
		h.End(err)
		return nil, err
	}
	return h, nil
}

// begin holds all of them.
func (h *Held) begin(ctx context.Context) map[*link]error {
	for _, l := range h.links {
		l.do(ctx, func() {
			if l.state == Raw && l.holder == nil {
				l.holder = h
			}
		})
	}
	return h.each(ctx, func(l *link, done func(error)) { l.hold(done) })
}

// settled lists the links of a backend when all of them are raw. Those whose handshake takes longer are closed: no one has heard much of them.
func (s *Set) settled(ctx context.Context, full string) (links []*link, err error) {
	began := time.Now()
	for {
		links, busy := s.standing(full)
		if len(busy) == 0 {
			slices.SortFunc(links, func(a, b *link) int { return cmp.Compare(a.picture().Name, b.picture().Name) })
			return links, nil
		}
		for _, l := range busy {
			if l.picture().State == Linking && time.Since(began) > settleTime {
				l.do(ctx, func() {
					if l.state == Linking {
						l.end(EndMove, errors.New("a move began before its burst was over"))
					}
				})
			}
		}
		select {
		case <-time.After(settleTick):
		case <-ctx.Done():
			return nil, fmt.Errorf("link %s: it is %s still: %w", busy[0].picture().Name, busy[0].picture().State, context.Cause(ctx))
		}
	}
}

const settleTick = 10 * time.Millisecond

// standing are the links of a backend that can be held, and those that are on their way to it. Those of protocols that cannot be held are neither.
func (s *Set) standing(full string) (raw, busy []*link) {
	for _, l := range s.all() {
		switch i := l.picture(); {
		case i.Backend != full:
		case i.State == Raw && holdable(i.Proto):
			raw = append(raw, l)
		case i.State != Raw && i.State != Down:
			busy = append(busy, l)
		}
	}
	return raw, busy
}

func (s *Set) bar(full string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bars[full]++
}

func (s *Set) unbar(full string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bars[full]--; s.bars[full] == 0 {
		delete(s.bars, full)
		close(s.unbarred)
		s.unbarred = make(chan struct{})
	}
}

// barredLocked reports whether a move has one of the port's backends: any of them may have its links in the end.
func (s *Set) barredLocked(p *port) bool {
	return slices.ContainsFunc(p.full, func(full string) bool { return s.bars[full] > 0 })
}

var errHeld = errors.New("a move is under way")

// await returns when no move has the port's backends. A connection that comes while the port's link is held does not wait: it is refused, and if it speaks it
// is that peer, who thinks its old connection dead.
func (s *Set) await(ctx context.Context, p *port, c net.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, waitTime)
	defer cancel()
	for {
		s.mu.Lock()
		barred, change := s.barredLocked(p), s.unbarred
		s.mu.Unlock()
		if !barred {
			return nil
		}
		if l := s.heldOf(p); l != nil {
			if p.conf.Dial == "" && speaks(c) {
				l.do(ctx, l.supersede)
			}
			return fmt.Errorf("%w, which holds the link", errHeld)
		}
		select {
		case <-change:
		case <-ctx.Done():
			return errHeld
		}
	}
}

// heldOf is the link of a port that a move holds.
func (s *Set) heldOf(p *port) *link {
	for _, l := range s.all() {
		if i := l.picture(); i.key() == p.key() && i.State.held() {
			return l
		}
	}
	return nil
}

// speaks reports whether a connection begins with a line of a handshake. Nothing of it is kept.
func speaks(c net.Conn) bool {
	c.SetReadDeadline(time.Now().Add(speakTime))
	buf := make([]byte, 512)
	n := 0
	for n < len(buf) {
		k, err := c.Read(buf[n:])
		if n += k; k > 0 && slices.Contains(buf[n-k:n], '\n') {
			return parse(firstLine(buf[:n])).is("CAPAB")
		}
		if err != nil {
			return false
		}
	}
	return false
}

func firstLine(b []byte) []byte { return b[:slices.Index(b, '\n')+1] }
