package proxy

import (
	"context"
	"sync"
	"sync/atomic"
)

// What an operator's commands for backends without a driver ask of the loops, beside the methods of moves.go.

// Notice says a line of ours to the registered clients of a backend ("pool/name") who are not in but. It answers who was told; a session that is in
// the middle of a line of its ircd is not, and may be in a moment.
func (p *Proxy) Notice(ctx context.Context, backendName, text string, but map[string]bool) []string {
	line := []byte(":ircferry NOTICE * :" + text + "\r\n")
	var mu sync.Mutex
	var told []string
	_ = p.onAll(ctx, func(w *worker) {
		var mine []string
		w.each(func(s *session) {
			if !s.relays() || !s.streaming(backendName) || !s.registered() || s.has(midLine|dismissed) || s.client.Gone() {
				return
			}
			if u := s.id(); !but[u] {
				mine = append(mine, u)
				s.say(line)
			}
		})
		mu.Lock()
		defer mu.Unlock()
		told = append(told, mine...)
	})
	mu.Lock()
	defer mu.Unlock()
	return append([]string(nil), told...)
}

// Admit lets at most n of the clients go on who wait at the gate of a pool, which stays shut for the others. It answers how many wait still.
func (p *Proxy) Admit(ctx context.Context, pool string, n int) (waiting int, err error) {
	var room, left atomic.Int64
	room.Store(int64(n))
	err = p.onAll(ctx, func(w *worker) {
		if !w.gated[pool] {
			return
		}
		w.each(func(s *session) {
			switch {
			case s.state != StateWaiting || s.pool() != pool || s.deadline != 0:
			case room.Add(-1) < 0:
				left.Add(1)
			default:
				delete(w.gated, pool)
				defer func() { w.gated[pool] = true }()
				s.begin()
			}
		})
	})
	return int(left.Load()), err
}
