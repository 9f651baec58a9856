package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ircferry/ircferry/proxy/admit"
	"github.com/ircferry/ircferry/proxy/leg"
	"github.com/ircferry/ircferry/proxy/loop"
	"github.com/ircferry/ircferry/proxy/wire"
)

// How a Proxy stops for a successor in another process: Quiesce, Cut, and then Leave if the successor has taken over, or GoOn. Between two turns of a loop
// nothing is in the staging buffers, so a stop of all loops is a clean cut: what the arena, the descriptors and Carried say is all there is.

// Passage is what an upgrade would do, or does, with the sessions that there are.
type Passage struct {
	Sessions int            `json:"sessions"`          // that go along
	Left     map[string]int `json:"left,omitempty"`    // that do not, by why
	States   map[string]int `json:"states,omitempty"`  // of those that go along
	Moving   int            `json:"moving,omitempty"`  // that a move has which does not rest: there is no upgrade as long as there are any
	Passed   int            `json:"descriptors_taken"` // descriptors that the successor gets: sessions' and listeners'
}

// Why a session does not go along.
const (
	LeftInHandshake = "tls-handshake" // a TLS handshake in which we have spoken already lives in crypto/tls, and stays there
)

// Passage says what would go along now, if the moves of these backends ("pool/name") rest.
func (p *Proxy) Passage(ctx context.Context, resting ...string) (Passage, error) {
	all := Passage{Left: map[string]int{}, States: map[string]int{}, Passed: len(p.listeners.Census().Descriptors())}
	var mu sync.Mutex
	err := p.onAll(ctx, func(w *worker) {
		mu.Lock()
		defer mu.Unlock()
		w.each(func(s *session) { all.count(s, resting) })
	})
	mu.Lock()
	defer mu.Unlock()
	return all, err
}

func (t *Passage) count(s *session, resting []string) {
	switch {
	case s.inMove(resting):
		t.Moving++
	case s.goes(), s.unsettled():
		t.Sessions++
		if s.parks() {
			t.Passed++ // a place for its next stream
		}
		t.States[s.state.String()]++
		for _, l := range [...]*leg.Leg{&s.client, &s.backend} {
			if l.IsOpen() {
				t.Passed++
			}
		}
	default:
		t.Left[LeftInHandshake]++
	}
}

const (
	quiesceTime = 3 * time.Second // for handshakes and connects that are under way
	quiesceLook = 5 * time.Millisecond
)

// Quiesce lets new clients wait in the kernel's queues from now on, and handshakes and connects end that are under way, for at most 3 s. EndQuiesce ends
// it, or what becomes of the Cut behind it.
func (p *Proxy) Quiesce(ctx context.Context) error {
	if err := p.onAll(ctx, func(w *worker) {
		w.sockets.Hold()
		w.quiet = true
	}); err != nil {
		return fmt.Errorf("let new clients wait: %w", err)
	}
	for end := time.Now().Add(quiesceTime); time.Now().Before(end); time.Sleep(quiesceLook) {
		busy := 0
		var mu sync.Mutex
		if err := p.onAll(ctx, func(w *worker) {
			mu.Lock()
			defer mu.Unlock()
			w.each(func(s *session) {
				if s.unsettled() || s.shakes() && s.reg.shaking() {
					busy++
				}
			})
		}); err != nil {
			return fmt.Errorf("let handshakes end: %w", err)
		}
		mu.Lock()
		n := busy
		mu.Unlock()
		if n == 0 {
			return nil
		}
	}
	return nil
}

// EndQuiesce lets new clients in again behind a Quiesce without a Cut.
func (p *Proxy) EndQuiesce() {
	for _, w := range p.workers {
		w.loop.Post(w.release)
	}
}

// ErrMoving says that sessions are in a move that does not rest, which one process begins and ends.
var ErrMoving = errors.New("sessions are in a move")

// Cut stops all loops between two turns. Resting are the backends ("pool/name") whose moves ask nothing of their sessions until it is decided who
// goes on: these go along. An error: no loop is stopped.
func (p *Proxy) Cut(ctx context.Context, resting ...string) (*Cut, error) {
	c := &Cut{p: p, decided: make(chan struct{}), resting: resting}
	stopped := make(chan int, len(p.workers))
	p.standing.Store(true)
	for _, w := range p.workers {
		if !w.loop.Post(func() { w.stand(c, stopped) }) {
			c.GoOn()
			return nil, ErrClosed
		}
	}
	moving := 0
	for range p.workers {
		select {
		case n := <-stopped:
			moving += n
		case <-ctx.Done():
			c.GoOn()
			return nil, fmt.Errorf("stop event loops: %w", ctx.Err())
		}
	}
	if moving > 0 {
		c.GoOn()
		return nil, fmt.Errorf("%w: %d", ErrMoving, moving)
	}
	return c, nil
}

// Cut is a Proxy whose loops stand still. One goroutine uses it.
type Cut struct {
	p       *Proxy
	decided chan struct{} // closed behind goesOn
	goesOn  bool
	resting []string

	sessions int // that go along
}

// stand is the turn of a loop in which it stops. It says how many sessions are in a move.
func (w *worker) stand(c *Cut, stopped chan<- int) {
	w.loop.Now()
	for len(w.old) > 0 {
		w.closeOld()
	}
	moving := 0
	w.each(func(s *session) {
		if s.unsettled() && !s.inMove(c.resting) {
			s.goBack()
		}
	})
	w.TurnOver()
	w.each(func(s *session) {
		if s.inMove(c.resting) {
			moving++
		}
	})
	stopped <- moving
	if <-c.decided; !c.goesOn {
		w.leave()
		return
	}
	w.release()
}

// release ends a Quiesce: who has gone back looks for a backend again.
func (w *worker) release() {
	w.sockets.Release()
	w.quiet = false
	w.each(func(s *session) {
		switch {
		case s.state == StateWaiting && s.deadline == 0 && !w.gated[s.pool()]:
			s.begin()
		case s.shakes():
			s.again() // it may be read again
		}
	})
}

// GoOn lets the loops turn again, as if nothing had been.
func (c *Cut) GoOn() {
	c.p.standing.Store(false)
	c.goesOn = true
	close(c.decided)
}

// Leave ends the loops without a word to anybody: the successor has their sessions. Close gives the rest back.
func (c *Cut) Leave() { close(c.decided) }

// leave forgets all that is another process's now. Descriptors are only closed: a shutdown, or a byte, would be the successor's.
func (w *worker) leave() {
	for _, slab := range w.slabs {
		for i := range slab {
			if s := &slab[i]; s.w != nil {
				for _, fd := range [...]int{s.client.FD(), s.backend.FD()} {
					if fd >= 0 {
						loop.Close(fd)
					}
				}
				s.leavePlace()
			}
		}
	}
	w.sockets.Leave()
	w.slabs, w.free, w.dead, w.sessions = nil, nil, nil, 0
	w.loop.Stop()
}

// Sessions is how many sessions go along, behind State.
func (c *Cut) Sessions() int { return c.sessions }

// Arena is the descriptor of the wire arena. It stays the proxy's.
func (c *Cut) Arena() int { return c.p.arena.Fd() }

// State is what the successor must know, with the descriptors that it must get, in this order. They stay the proxy's. Left is how many sessions
// do not go along.
func (c *Cut) State() (st Carried, fds []int, left int, err error) {
	census := c.p.listeners.Census()
	loops := make([]loopState, len(c.p.workers))
	var sessions []int
	for i, w := range c.p.workers {
		loops[i] = w.carried(census, &sessions)
		left += len(loops[i].Left)
		c.sessions += len(loops[i].Sessions)
		st.Panics += w.loop.Panics()
	}
	st.Format, st.Listeners, st.Loops = CarryFormat, census.State(), make([]json.RawMessage, len(loops))
	for _, t := range c.p.tallies() {
		st.Tallies = append(st.Tallies, t.carried())
	}
	errs := make([]error, len(loops))
	var running sync.WaitGroup
	for i := range loops {
		running.Go(func() { st.Loops[i], errs[i] = json.Marshal(loops[i]) })
	}
	running.Wait()
	return st, append(census.Descriptors(), sessions...), left, errors.Join(errs...)
}

// carried is for the goroutine of a Cut: the loop stands still.
func (w *worker) carried(c *admit.Census, fds *[]int) loopState {
	st := loopState{Now: w.loop.Now(), Gen: w.firstGen, Sessions: make([]sessionState, 0, w.sessions), Left: []wire.SlotID{}}
	for _, slab := range w.slabs {
		for i := range slab {
			s := &slab[i]
			st.Gen = max(st.Gen, s.gen)
			if s.w == nil {
				continue
			}
			if !s.goes() {
				st.Left = append(st.Left, s.slotID)
				continue
			}
			one, its := s.carried(c)
			st.Sessions = append(st.Sessions, one)
			*fds = append(*fds, its...)
		}
	}
	return st
}
