package proxy

import (
	"context"
	"sync"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/proxy/leg"
)

// The methods of Proxy in this file are what a move asks of it: handoff.Sessions, whose comments are the contract. Each is one batch
// for each loop.

// moving is what a session has while it is in a move.
type moving struct {
	batch    *batch        // whose step the session has not taken yet; nil: none
	frozenAt time.Duration // loop time
	deadline time.Duration // the session's, when it froze; 0: none
	paused   time.Duration // the pause, when it is over

	cut     uint64 // how far the old stream is to be read, if cutting
	cutting bool

	from     string // the backend whose move it is
	server   string // parked: who answers PINGs
	awaits   bool   // paused: frozen for longer, on the stream that it has
	awake    bool   // parked for so long that the client is read
	wasAwake bool   // what is held goes out slowly
	pace     int    // bytes that are still to go out slowly

	again    *unspliced // the process before was killed in the midst of a splice
	attached attached
	place    int // the descriptor that is kept for the next stream; 0: none
	rq       int // bytes that the old ircd had read and not run

	counting  bool // what is read of the client now had waited
	heldLines int
	heldBytes int
}

// move is the session's part in a move, made when it is first needed.
func (s *session) move() *moving {
	if s.mv == nil {
		s.mv = &moving{attached: attached{Leg: leg.New(s.slot(), leg.Attached)}}
	}
	return s.mv
}

// Gate makes clients for whom no backend was chosen yet wait; those that are connecting to the pool go back.
func (p *Proxy) Gate(pool string) {
	for _, w := range p.workers {
		w.loop.Post(func() {
			w.gated[pool] = true
			w.each(func(s *session) {
				switch s.state {
				case StateDialing, StateOpening:
					if s.peer != nil && s.peer.pool == pool {
						s.goBack()
					}
				case StateWaiting:
					if s.pool() == pool {
						s.noDeadline()
					}
				}
			})
		})
	}
}

// Ungate lets the waiting go on, also those whose listener a reload has given to another pool meanwhile.
func (p *Proxy) Ungate(pool string) {
	for _, w := range p.workers {
		w.loop.Post(func() {
			if !w.gated[pool] {
				return
			}
			delete(w.gated, pool)
			w.each(func(s *session) {
				if s.state == StateWaiting && (s.pool() == pool || s.deadline == 0) {
					s.begin()
				}
			})
		})
	}
}

// On lists the sessions that have a stream at a backend.
func (p *Proxy) On(ctx context.Context, backendName string) ([]backend.SessionRef, error) {
	var mu sync.Mutex
	var all []backend.SessionRef
	err := p.onAll(ctx, func(w *worker) {
		mu.Lock()
		defer mu.Unlock()
		w.each(func(s *session) {
			if s.streaming(backendName) {
				all = append(all, backend.SessionRef{U: s.id(), Registered: s.registered()})
			}
		})
	})
	mu.Lock()
	defer mu.Unlock()
	return all, err
}

// AwaitRegistered waits until nobody at the backend is about to be registered, and answers how many still are when ctx is over.
func (p *Proxy) AwaitRegistered(ctx context.Context, backendName string) int {
	zero := make(chan struct{}, len(p.workers))
	for _, w := range p.workers {
		if !w.loop.Post(func() { w.whenRegistered(backendName, func() { zero <- struct{}{} }) }) {
			return 0
		}
	}
	for range p.workers {
		select {
		case <-zero:
		case <-ctx.Done():
			return p.registering(backendName)
		}
	}
	return p.registering(backendName)
}

func (p *Proxy) registering(backendName string) int {
	var n int64
	for _, w := range p.workers {
		w.eachPeer(func(p *peer) {
			if p.name == backendName {
				n += p.registering()
			}
		})
	}
	return int(n)
}

func (w *worker) whenRegistered(backendName string, f func()) {
	w.each(func(s *session) {
		if s.peer != nil && s.peer.name == backendName && s.relays() && s.has(opensHere) && w.loop.Now()-s.reg.spoke >= silentTime {
			s.awaitClient()
		}
	})
	for _, p := range w.peers {
		if p.name == backendName && p.registering() > 0 {
			p.onRegistered = append(p.onRegistered, func() { w.whenRegistered(backendName, f) })
			return
		}
	}
	f()
}

// Freeze stops the sessions of a backend and tells their counts. A loop that comes to it only when ctx is over thaws its sessions again,
// since nobody would know of them.
func (p *Proxy) Freeze(ctx context.Context, backendName string) ([]backend.Frozen, error) {
	var mu sync.Mutex
	var all []backend.Frozen
	late := false
	err := p.onAll(ctx, func(w *worker) {
		var mine []*session
		w.each(func(s *session) {
			if !s.streaming(backendName) {
				return
			}
			if s.freeze(); s.state == StateFrozen {
				mine = append(mine, s)
			}
		})
		mu.Lock()
		defer mu.Unlock()
		for _, s := range mine {
			if late {
				w.loop.Guard(s.key(portClient), s.thaw)
				continue
			}
			all = append(all, backend.Frozen{U: s.id(), In: s.slot().BackendIn, Out: s.slot().BackendOut, Registered: s.registered()})
		}
	})
	mu.Lock()
	defer mu.Unlock()
	late = true
	return all, err
}

// ReadUp reads old streams up to their cuts.
func (p *Proxy) ReadUp(ctx context.Context, cuts []backend.Cut) []backend.Moved {
	us := make([]string, len(cuts))
	at := make(map[string]uint64, len(cuts))
	for i, c := range cuts {
		us[i], at[c.U] = c.U, c.Out
	}
	return p.step(ctx, us, step{
		begin: func(b *batch, s *session) {
			u := s.id()
			if s.state != StateFrozen {
				b.answer(backend.Moved{U: u, Cause: backend.CauseGone})
				return
			}
			b.wait(s)
			s.readUp(at[u])
		},
		late: backend.CauseTimeout, // it stays known how far the stream was to be read: a splice refuses what is not read
	})
}

// Thaw goes on with the old backend.
func (p *Proxy) Thaw(us []string) []backend.Moved {
	return p.step(context.Background(), us, step{late: backend.CauseGone, begin: func(b *batch, s *session) {
		switch s.state {
		case StateParked, StateSplicing, StateClosing:
			b.answer(backend.Moved{U: s.id(), Cause: backend.CauseGone})
		case StateFrozen:
			s.dropAttached()
			b.wait(s)
			s.thaw()
		default:
			s.dropAttached()
			s.endMove()
			b.answer(backend.Moved{U: s.id()})
		}
	}})
}

// Park closes the old streams of frozen sessions.
func (p *Proxy) Park(us []string, serverName string) {
	p.step(context.Background(), us, step{late: backend.CauseGone, begin: func(b *batch, s *session) {
		switch {
		case s.state == StateFrozen:
			s.park(serverName)
		case s.parks() && !s.mv.awake && !s.has(dismissed): // behind a crash
			s.mv.server = serverName
			s.wakeLater()
		}
		b.answer(backend.Moved{U: s.id()})
	}})
}

// Splice puts attached streams in the place of the old ones.
func (p *Proxy) Splice(ctx context.Context, to string, sessions []backend.Splice) []backend.Moved {
	us := make([]string, len(sessions))
	queues := make(map[string]backend.Splice, len(sessions))
	for i, s := range sessions {
		us[i], queues[s.U] = s.U, s
	}
	dest, ok := p.backends.Backend(to)
	return p.step(ctx, us, step{
		begin: func(b *batch, s *session) {
			u := s.id()
			switch {
			case ok && s.relays() && s.peer != nil && s.peer.b == dest: // the process before was killed when it was live
				b.answer(backend.Moved{U: u})
			case s.state == StateSplicing && s.mv.batch == nil:
				b.wait(s)
				s.spliceOn(queues[u].Live)
			case !s.held():
				b.answer(backend.Moved{U: u, Cause: backend.CauseGone})
			case !ok || s.mv.attached.state != attachAttached:
				b.answer(backend.Moved{U: u, Cause: backend.CauseDetached})
				s.end(ReasonMoveDetached, "Your connection to the new server was lost, please reconnect")
			case s.slot().ToClient.Len()+len(queues[u].SQ) > carryRoom || s.overflowed():
				b.answer(backend.Moved{U: u, Cause: backend.CauseOverflow})
				s.end(ReasonMoveSendQ, "SendQ exceeded")
			default:
				b.wait(s)
				s.spliceAsWork(s.w.peerOf(dest), queues[u])
			}
		},
		late: backend.CauseNoLive,
		giveUp: func(s *session) {
			s.end(ReasonMoveNoLive, "The new server did not take your connection, please reconnect")
		},
	})
}

// Reopen gives sessions that are not registered an entirely new stream.
func (p *Proxy) Reopen(ctx context.Context, us []string, to string) []backend.Moved {
	dest, ok := p.backends.Backend(to)
	return p.step(ctx, us, step{
		begin: func(b *batch, s *session) {
			u := s.id()
			switch {
			case !s.held():
				b.answer(backend.Moved{U: u, Cause: backend.CauseGone})
			case !ok || s.reg == nil || s.has(midLine|dismissed) || !s.reg.talk.reopenable():
				b.answer(backend.Moved{U: u, Cause: s.whyNotReopened()})
				s.cannotReopen()
			default:
				b.wait(s)
				s.reopen(s.w.peerOf(dest))
			}
		},
		late:   backend.CauseRegistration,
		giveUp: (*session).cannotReopen,
	})
}

// End closes sessions with an ERROR line.
func (p *Proxy) End(us []string, cause backend.Cause, text string) {
	p.step(context.Background(), us, step{late: backend.CauseGone, begin: func(b *batch, s *session) {
		b.answer(backend.Moved{U: s.id()})
		s.end(reasonOf(cause), text)
	}})
}
