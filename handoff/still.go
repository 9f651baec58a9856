package handoff

import (
	"context"
	"fmt"
	"strings"
	"sync"
)

// A standstill lets another process go on with the moves: each comes to a place where nothing of it is under way (run.stand), and waits there.

// Standstill is all moves of a Coordinator at rest, until GoOn or Leave, of which one is called, once.
type Standstill struct {
	c    *Coordinator
	over chan struct{} // closed behind goesOn

	mu     sync.Mutex
	goesOn bool
	rests  map[*Move]*run
	heard  chan struct{} // closed and replaced when a move has come to rest
}

// errUpgrade refuses what would begin while moves stand still.
var errUpgrade = &Refused{Reason: "an upgrade is under way", Hint: "wait for its end: ferryctl status"}

// StandStill has all moves come to rest, and none begin. The error is a *Refused, which names the move that goes on, if one that cannot be carried on by
// another process has not ended when ctx is over; then all go on.
func (c *Coordinator) StandStill(ctx context.Context) (*Standstill, error) {
	s := &Standstill{c: c, over: make(chan struct{}), rests: make(map[*Move]*run), heard: make(chan struct{})}
	c.mu.Lock()
	if c.still != nil {
		c.mu.Unlock()
		return nil, errUpgrade
	}
	c.still = s
	close(c.asked)
	c.mu.Unlock()
	for _, m := range c.all() {
		if err := s.await(ctx, m); err != nil {
			s.GoOn()
			return nil, err
		}
	}
	return s, nil
}

// await waits until a move rests or has ended.
func (s *Standstill) await(ctx context.Context, m *Move) error {
	for {
		s.mu.Lock()
		x, heard := s.rests[m], s.heard
		s.mu.Unlock()
		if x != nil {
			return x.fit(ctx)
		}
		select {
		case <-m.done:
			return nil
		case <-heard:
		case <-ctx.Done():
			return busy(m.Report())
		}
	}
}

// busy refuses to wait longer for a move.
func busy(r Report) *Refused {
	where := fmt.Sprintf("move %s (%s %s/%s) is under way, at %s", r.ID, r.Kind, r.Pool, r.From, r.Step)
	if r.Note != "" {
		where += ": " + r.Note
	}
	return &Refused{Reason: where, Hint: "wait for its end, or ferryctl cancel " + r.ID}
}

// fit refuses a move that rests and that no other process could go on with all the same.
func (x *run) fit(ctx context.Context) error {
	if x.links.held != nil {
		var names []string
		for _, l := range linksOf(x.links.held) {
			names = append(names, l.Name)
		}
		r := x.m.Report()
		return &Refused{Reason: fmt.Sprintf("move %s (%s %s/%s) holds the links of %s, which end with this process", r.ID, r.Kind, r.Pool, r.From,
			strings.Join(names, ", ")), Hint: x.wayOut()}
	}
	if x.journal == nil {
		return nil
	}
	if err := x.journal.written(ctx); err != nil {
		return &Refused{Reason: fmt.Sprintf("the journal of move %s cannot be written: %v", x.m.ID(), err), Hint: x.wayOut()}
	}
	return nil
}

// wayOut is how an operator ends a move that rests.
func (x *run) wayOut() string {
	name := x.from.FullName()
	switch {
	case x.r.Kind == KindPause:
		return "ferryctl resume " + name + " first"
	case x.m.Report().State == StateParked:
		return "ferryctl release " + name + " first"
	}
	return "wait for its end, or ferryctl cancel " + x.m.ID()
}

// GoOn lets the moves go on here, as if nothing had been.
func (s *Standstill) GoOn() { s.end(true) }

// Leave ends the moves here in silence: another process goes on with them.
func (s *Standstill) Leave() { s.end(false) }

func (s *Standstill) end(goesOn bool) {
	s.mu.Lock()
	s.goesOn = goesOn
	s.mu.Unlock()
	s.c.mu.Lock()
	if goesOn {
		s.c.still, s.c.asked = nil, make(chan struct{})
	}
	s.c.mu.Unlock()
	close(s.over)
}

// resting are the moves that rest.
func (s *Standstill) resting() (all []Underway) {
	moves := s.c.all()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range moves {
		if x := s.rests[m]; x != nil {
			all = append(all, x.underway())
		}
	}
	return all
}

// Backends are those whose sessions the resting moves have, as "pool/name".
func (s *Standstill) Backends() (names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for m := range s.rests {
		names = append(names, m.request.Pool+"/"+m.request.From)
	}
	return names
}

// standstill is closed as long as moves are to stand still.
func (c *Coordinator) standstill() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked
}

// stands reports whether moves stand still, or are to: nothing is said to them then.
func (c *Coordinator) stands() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.still != nil
}

// stand waits for the end of a standstill, at a place where nothing of the move is under way. False: another process goes on, and nothing more
// may be done here.
func (x *run) stand() bool {
	x.c.mu.Lock()
	s := x.c.still
	x.c.mu.Unlock()
	if s == nil {
		return true // over already
	}
	s.mu.Lock()
	s.rests[x.m] = x
	close(s.heard)
	s.heard = make(chan struct{})
	s.mu.Unlock()
	<-s.over
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.goesOn
}

// leave gives back what only this process has of a move.
func (x *run) leave() {
	x.hangUp()
	if x.journal == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), answerTime)
	defer cancel()
	if err := x.journal.leave(ctx); err != nil {
		x.log.Warn("journal not closed", "err", err)
	}
}

// Resting lists the moves under way that would go along to another process as they are now, and those that it would have to wait for.
func (c *Coordinator) Resting() (rest, busy []Report) {
	for _, r := range c.Running() {
		if r.State == StateParked || r.waits() {
			rest = append(rest, r)
		} else {
			busy = append(busy, r)
		}
	}
	return rest, busy
}
