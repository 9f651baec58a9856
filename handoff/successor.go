package handoff

// Past is what a Coordinator leaves to that of another process, when no move is under way.
type Past struct {
	Moves       []Report      `json:"moves"`       // ended, oldest first
	Interrupted []Interrupted `json:"interrupted"` // of an earlier daemon
}

// Running lists the moves that have not ended. There is nobody who could go on with them in another process.
func (c *Coordinator) Running() (running []Report) {
	c.mu.Lock()
	moves := append([]*Move(nil), c.moves...)
	for _, m := range c.active {
		moves = append(moves, m)
	}
	c.mu.Unlock()
	seen := map[*Move]bool{}
	for _, m := range moves {
		if r := m.Report(); !seen[m] && !r.State.Ended() {
			running = append(running, r)
		}
		seen[m] = true
	}
	return running
}

// ended are the moves as ones that can be asked for.
func (p *Past) ended() (moves []*Move) {
	for _, r := range p.Moves {
		if !r.State.Ended() {
			continue
		}
		m := newMove(r.ID, Request{Kind: r.Kind, Pool: r.Pool, From: r.From, To: r.To, Actor: r.Actor}, func(error) {}, nil)
		m.report = r
		close(m.done)
		moves = append(moves, m)
	}
	return moves
}
