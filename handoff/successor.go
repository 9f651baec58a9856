package handoff

import (
	"fmt"
	"slices"
)

// Past is what a Coordinator leaves to that of another process.
type Past struct {
	Moves       []Report      `json:"moves"` // oldest first
	Under       []Underway    `json:"under,omitempty"`
	Owed        []owing       `json:"owed,omitempty"`
	Interrupted []Interrupted `json:"interrupted"` // of an earlier daemon
}

// Past is it, while moves stand still; interrupted are those that a start of an earlier daemon has found.
func (s *Standstill) Past(interrupted []Interrupted) Past {
	p := Past{Moves: s.c.Moves(), Under: s.resting(), Interrupted: interrupted}
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	for o := range s.c.owed {
		p.Owed = append(p.Owed, *o)
	}
	return p
}

// Running lists the moves that have not ended.
func (c *Coordinator) Running() (running []Report) {
	for _, m := range c.all() {
		if r := m.Report(); !r.State.Ended() {
			running = append(running, r)
		}
	}
	return running
}

// all are the moves that can be asked for, and those that just begin.
func (c *Coordinator) all() []*Move {
	c.mu.Lock()
	defer c.mu.Unlock()
	moves := slices.Clone(c.moves)
	for _, m := range c.active {
		if !slices.Contains(moves, m) {
			moves = append(moves, m)
		}
	}
	return moves
}

// inherit makes the moves of a process before: those that have ended, to be asked for, and those that Start lets go on.
func (c *Coordinator) inherit(p *Past) error {
	under := make(map[string]Underway, len(p.Under))
	for _, u := range p.Under {
		under[u.Report.ID] = u
	}
	for _, r := range p.Moves {
		if r.State.Ended() {
			c.moves = append(c.moves, endedMove(r))
		} else if u, ok := under[r.ID]; ok {
			m, goOn, err := c.carryOn(u)
			if err != nil {
				return fmt.Errorf("go on with move %s: %w", r.ID, err)
			}
			c.moves, c.carried, c.active[r.Pool] = append(c.moves, m), append(c.carried, goOn), m
		}
		delete(under, r.ID)
	}
	for id := range under {
		return fmt.Errorf("go on with move %s: the process before does not list it", id)
	}
	for _, o := range p.Owed {
		c.carried = append(c.carried, func() { c.forgetLater(o.Pool, o.Transaction) })
	}
	return nil
}

// endedMove is one that can be asked for.
func endedMove(r Report) *Move {
	m := newMove(r.ID, Request{Kind: r.Kind, Pool: r.Pool, From: r.From, To: r.To, Actor: r.Actor}, func(error) {}, nil)
	m.report = r
	m.state.owner = map[State]owner{StateDone: ownerTaker, StateReverted: ownerBack, StateFailed: ownerLost}[r.State]
	close(m.done)
	return m
}

// Start lets go on what a process before this one had brought to rest, now that this one has its sessions.
func (c *Coordinator) Start() {
	c.mu.Lock()
	carried := c.carried
	c.carried = nil
	c.mu.Unlock()
	for _, goOn := range carried {
		goOn()
	}
}
