package admit

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/ircferry/ircferry/internal/config"
	"github.com/ircferry/ircferry/proxy/loop"
)

// What a process that goes on with our listeners must know of them. While it is gathered no loop runs, and no Apply.

// State is a Set for a successor, beside its sockets. Descriptors gives those in the same order.
type State struct {
	Listeners []ListenerState `json:"listeners"`
	Places    []PlaceState    `json:"places"`
	Limits    []LimitState    `json:"limits"`
}

// ListenerState is a listener; one that is not open has clients only.
type ListenerState struct {
	ID     uint32         `json:"id,omitempty"` // for the tags of its sockets
	Addr   netip.AddrPort `json:"addr"`
	Open   bool           `json:"open"`
	Place  int            `json:"place"`  // as it is configured now
	Limits int            `json:"limits"` // several may share one
}

// PlaceState is a listener as it was configured when clients came in.
type PlaceState struct {
	ID       uint32          `json:"id,omitempty"`
	Listener int             `json:"listener"`
	Config   config.Listener `json:"config"`
}

// LimitState is the rates that addresses have used up. Who is connected is in the tokens.
type LimitState struct {
	Full map[netip.Addr]time.Duration `json:"full,omitempty"` // from now on, until the rate's bucket is full again
}

// TokenState is a client's Token.
type TokenState struct {
	Place int   `json:"place"`
	Held  uint8 `json:"held"` // see held: the values are part of the form
}

// Census numbers the listeners of a set, those that are gone and have clients included. One goroutine uses it.
type Census struct {
	state     State
	open      []*Listener
	listeners map[*Listener]int
	places    map[*Place]int
	limits    map[*limiter]int
	now       time.Time
}

// Census begins one with the listeners that are open.
func (s *Set) Census() *Census {
	s.mu.Lock()
	defer s.mu.Unlock()
	return censusOf(s.listeners)
}

func censusOf(listeners map[string]*Listener) *Census {
	c := &Census{listeners: map[*Listener]int{}, places: map[*Place]int{}, limits: map[*limiter]int{}, now: time.Now()}
	for _, l := range listeners {
		i := c.listener(l)
		c.state.Listeners[i].Open = true
		c.open = append(c.open, l)
	}
	return c
}

func (c *Census) listener(l *Listener) int {
	i, ok := c.listeners[l]
	if !ok {
		i = len(c.state.Listeners)
		c.listeners[l] = i
		c.state.Listeners = append(c.state.Listeners, ListenerState{ID: l.slot, Addr: l.addr, Limits: c.limit(l.limits)})
		now := c.place(l.place.Load())
		c.state.Listeners[i].Place = now
	}
	return i
}

func (c *Census) place(p *Place) int {
	i, ok := c.places[p]
	if !ok {
		i = len(c.state.Places)
		c.places[p] = i
		c.state.Places = append(c.state.Places, PlaceState{ID: p.id, Config: p.config})
		at := c.listener(p.listener)
		c.state.Places[i].Listener = at
	}
	return i
}

func (c *Census) limit(l *limiter) int {
	i, ok := c.limits[l]
	if !ok {
		i = len(c.state.Limits)
		c.limits[l] = i
		c.state.Limits = append(c.state.Limits, LimitState{Full: l.used(c.now)})
	}
	return i
}

// Token is a client's part.
func (c *Census) Token(t *Token) TokenState {
	return TokenState{Place: c.place(t.place), Held: uint8(t.held)}
}

// State is the whole, when all tokens were asked for.
func (c *Census) State() State { return c.state }

// Descriptors are the sockets of the open listeners, one for each loop. They stay the set's.
func (c *Census) Descriptors() (fds []int) {
	for _, l := range c.open {
		fds = append(fds, l.fds...)
	}
	return fds
}

// TokenAt is what a client holds that came along with no more than the place's number; false: there is none of that number.
func (r *Resumed) TokenAt(id uint32, has uint8, addr netip.Addr) (Token, bool) {
	for i, p := range r.places {
		if p.id == id {
			t, err := r.Token(TokenState{Place: i, Held: has}, addr)
			return t, err == nil
		}
	}
	return Token{}, false
}

// used is what is left of the rates that addresses have used up.
func (l *limiter) used(now time.Time) map[netip.Addr]time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	t, full := now.Sub(l.epoch), map[netip.Addr]time.Duration{}
	for a, s := range l.sources {
		if s.full > t {
			full[a] = s.full - t
		}
	}
	return full
}

// Resumed is a State of which a set has been made.
type Resumed struct{ places []*Place }

// errState is the answer to a State that Census cannot have made.
var errState = errors.New("state of listeners makes no sense")

// Resume makes the listeners what they were in the process before; fds are theirs from here on. No loop runs yet. secure is by
// the listener's name, as for Apply.
func (s *Set) Resume(st State, fds []int, secure map[string]*tls.Config) (*Resumed, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var limits []*limiter
	for _, was := range st.Limits {
		l := newLimiter(config.Limits{})
		for a, left := range was.Full {
			l.sources[a] = source{full: left}
		}
		limits = append(limits, l)
	}
	listeners, r := make([]*Listener, len(st.Listeners)), &Resumed{}
	for i := range listeners {
		listeners[i] = &Listener{addr: st.Listeners[i].Addr}
	}
	for _, p := range st.Places {
		if p.Listener < 0 || p.Listener >= len(listeners) {
			return nil, fmt.Errorf("%w: a place at listener %d", errState, p.Listener)
		}
		r.places = append(r.places, &Place{config: p.Config, listener: listeners[p.Listener], owner: s.owner(p.Config.Name), id: p.ID})
		s.lastPlace = max(s.lastPlace, p.ID)
	}
	s.places = append(s.places, r.places...)
	for _, p := range r.places {
		if p.id == 0 { // the program before did not number them
			s.lastPlace++
			p.id = s.lastPlace
		}
	}
	for i, was := range st.Listeners {
		l := listeners[i]
		if was.Place < 0 || was.Place >= len(r.places) || was.Limits < 0 || was.Limits >= len(limits) {
			return nil, fmt.Errorf("%w: listener %s has place %d and limits %d", errState, was.Addr, was.Place, was.Limits)
		}
		l.place.Store(r.places[was.Place])
		l.limits = limits[was.Limits]
		if !was.Open {
			continue
		}
		l.limits.set(l.Config().Limits, time.Now())
		l.tls.Store(secure[l.Name()])
		if len(fds) < len(s.loops) {
			return nil, fmt.Errorf("%w: listener %s has no sockets", errState, was.Addr)
		}
		l.fds, fds = fds[:len(s.loops):len(s.loops)], fds[len(s.loops):]
		if l.slot = was.ID; l.slot == 0 {
			l.slot = s.unusedLocked()
		}
		s.nextSlot = max(s.nextSlot, l.slot)
		for k, x := range s.loops {
			x.add(l.slot, &socket{fd: l.fds[k], lst: l})
		}
		s.listeners[l.Config().Address] = l
	}
	if len(fds) > 0 {
		return nil, fmt.Errorf("%w: %d sockets are left over", errState, len(fds))
	}
	return r, nil
}

// unusedLocked is a number that no listener has had. Those of a State are known to be taken when it is read in full.
func (s *Set) unusedLocked() uint32 {
	s.nextSlot++
	return s.nextSlot
}

// Token is what a client holds that came along; addr is the one that it was admitted with.
func (r *Resumed) Token(st TokenState, addr netip.Addr) (Token, error) {
	if st.Place < 0 || st.Place >= len(r.places) || st.Held >= uint8(heldNothing) {
		return Token{}, fmt.Errorf("%w: a client holds %d at place %d", errState, st.Held, st.Place)
	}
	t := Token{place: r.places[st.Place], held: held(st.Held)}
	t.place.listener.limits.resume(t.held, addr)
	return t, nil
}

// resume counts what a connection has already.
func (l *limiter) resume(had held, addr netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if had&heldConnection != 0 {
		l.open++
	}
	if had&heldSpare != 0 {
		l.spare++
	}
	if had&heldAddress != 0 {
		key := sourceOf(addr)
		s := l.sources[key]
		s.open++
		l.sources[key] = s
	}
}

// HeaderState is a HeaderReader in the middle of a header.
type HeaderState struct {
	Head []byte `json:"head,omitempty"`
	Skip int    `json:"skip,omitempty"`
}

// State is the reader's, for a successor.
func (r *HeaderReader) State() HeaderState { return HeaderState{Head: r.head, Skip: r.skip} }

// Resume makes the reader what it was.
func (r *HeaderReader) Resume(st HeaderState) { *r = HeaderReader{head: st.Head, skip: st.Skip} }

// Probe finds out whether listeners that are not among these addresses could be bound, so that it is known before it is too late. Their sockets
// are closed again.
func Probe(cs []config.Listener, bound []netip.AddrPort) error {
	var gone []*Listener
	for _, a := range bound {
		gone = append(gone, &Listener{addr: a})
	}
	s := &Set{listeners: map[string]*Listener{}}
	for i, l := range gone {
		s.listeners[fmt.Sprint(i)] = l
	}
	_, fresh, err := s.planLocked(cs)
	if err != nil {
		return err
	}
	defer closeFresh(fresh)
	for _, l := range fresh {
		if err := l.bind(0, gone); err != nil {
			return fmt.Errorf("listener %s: %w", l.Name(), err)
		}
	}
	return nil
}

// Leave closes the sockets of a loop that are a successor's now. Nobody in their queues is taken in: the successor has the queues.
func (x *Sockets) Leave() {
	for slot, s := range x.open {
		x.loop.Unwatch(s.fd)
		loop.Close(s.fd)
		delete(x.open, slot)
	}
}
