package admit

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"reflect"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/internal/config"
)

// Set is the listeners of a proxy. Its methods may be called from any goroutine but a loop's.
type Set struct {
	loops []*Sockets
	owner func(name string) any

	mu        sync.Mutex           // held by Apply, which waits for loops, so never by a loop
	listeners map[string]*Listener // by the address as it is configured
	nextSlot  uint32
	lastPlace uint32
	places    []*Place // all that clients may have come in by
	records   Records
	closed    bool
}

// ErrClosed is the answer of a Set that was closed.
var ErrClosed = errors.New("listeners are closed for good")

// NewSet makes a set without listeners for these loops. owner is asked, each time that a configuration takes effect, for what
// clients' tokens are to say of the listener's name.
func NewSet(loops []*Sockets, owner func(name string) any) *Set {
	return &Set{loops: loops, owner: owner, listeners: map[string]*Listener{}}
}

// Apply makes cs the listeners, at start and at each reload: all of them or, with an error, no change. A listener whose address
// stays keeps its sockets, also if it is written otherwise now. One that moves to an address that shares some with those of before is bound
// beside them, so that at no moment nobody listens; those that go are emptied before they are closed. Clients that came in stay in any case. A
// listener whose name has an entry in secure shakes hands with it (handshake.ServerConfig); the others are plaintext. A set that was closed
// answers ErrClosed.
func (s *Set) Apply(cs []config.Listener, secure map[string]*tls.Config) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	for _, c := range cs {
		if c.TLS != nil && secure[c.Name] == nil {
			return fmt.Errorf("listener %s: tls is configured and there is no certificate for it", c.Name)
		}
	}
	next, fresh, err := s.planLocked(cs)
	if err == nil {
		err = s.openLocked(next, fresh)
	}
	if err != nil {
		return err
	}
	// Nothing can fail from here on.
	var places []*Place
	for _, c := range cs {
		places = append(places, s.placeLocked(next[c.Address], c))
	}
	s.keepLocked(fresh)
	s.noteLocked(next)
	for _, p := range places {
		l := p.listener
		l.limits.set(p.config.Limits, time.Now())
		l.place.Store(p)
		l.tls.Store(secure[p.config.Name])
	}
	s.replaceLocked(next, fresh)
	return nil
}

// placeLocked is the place of a listener that c is the configuration of from now on. One that stays keeps its place.
func (s *Set) placeLocked(l *Listener, c config.Listener) *Place {
	if now := l.place.Load(); now.id > 0 && reflect.DeepEqual(now.config, c) {
		return now
	}
	s.lastPlace++
	p := &Place{config: c, listener: l, owner: s.owner(c.Name), id: s.lastPlace}
	s.places = append(s.places, p)
	return p
}

// Close lets nobody in any more, for good: Apply answers ErrClosed from now on. Who is in the sockets' queues is taken in first.
func (s *Set) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.replaceLocked(nil, nil)
}

// replaceLocked makes next, of which fresh are bound and not known to the loops yet, the listeners.
func (s *Set) replaceLocked(next map[string]*Listener, fresh []*Listener) {
	gone := leaving(s.listeners, next)
	s.listeners = next
	for _, l := range fresh {
		for i, x := range s.loops {
			x.loop.Post(func() { x.add(l.slot, &socket{fd: l.fds[i], lst: l}) })
		}
	}
	s.handOver(gone, fresh)
	for _, l := range gone {
		s.onAll(func(x *Sockets) { x.remove(l.slot) })
		s.dropLocked(l)
	}
}

// openLocked binds the fresh listeners of next, and lets them listen when all are bound: until then no client is theirs to lose.
func (s *Set) openLocked(next map[string]*Listener, fresh []*Listener) (err error) {
	gone := leaving(s.listeners, next)
	defer func() {
		if err != nil {
			closeFresh(fresh)
		}
	}()
	for _, l := range fresh {
		l.limits = newLimiter(l.Config().Limits)
		for _, old := range gone {
			if old.Name() == l.Name() {
				l.limits = old.limits // who is in goes on to count
			}
		}
		s.nextSlot++
		l.slot = s.nextSlot
		if err := l.bind(len(s.loops), gone); err != nil {
			return fmt.Errorf("listener %s: %w", l.Name(), err)
		}
	}
	for _, l := range fresh {
		for _, fd := range l.fds {
			// All that is in the queue when we are restarted slowly counts; the kernel caps it at net.core.somaxconn.
			if err := unix.Listen(fd, 65535); err != nil {
				return fmt.Errorf("listener %s: listen on %s: %w", l.Name(), l.addr, wayOut(err, l.addr))
			}
		}
	}
	return nil
}

func closeFresh(ls []*Listener) {
	for _, l := range ls {
		for _, fd := range l.fds {
			unix.Close(fd)
		}
	}
}

// handOverTime is what a client has to end its TCP handshake with a listener that goes: a round trip around the world.
const handOverTime = 300 * time.Millisecond

// handOver lets nobody begin with a listener that goes and whose clients a fresh one has from now on, and waits for those who have begun. A SYN
// that is dropped meanwhile comes again after a second, and finds the fresh one.
func (s *Set) handOver(gone, fresh []*Listener) {
	begun := false
	for _, l := range gone {
		if slices.ContainsFunc(fresh, func(f *Listener) bool { return overlap(l.addr, f.addr) }) {
			begun = true
			s.onAll(func(x *Sockets) { x.deafen(l.slot) })
		}
	}
	if begun {
		time.Sleep(handOverTime)
	}
}

// onAll runs f on every loop that still runs, in parallel, and waits for all.
func (s *Set) onAll(f func(*Sockets)) {
	done := make(chan struct{}, len(s.loops))
	posted := 0
	for _, x := range s.loops {
		if x.loop.Post(func() {
			defer func() { done <- struct{}{} }()
			f(x)
		}) {
			posted++
		}
	}
	for range posted {
		<-done
	}
}

// Addrs tells where each listener, by name, is bound.
func (s *Set) Addrs() map[string][]net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	addrs := map[string][]net.Addr{}
	for _, l := range s.listeners {
		addrs[l.Name()] = append(addrs[l.Name()], net.TCPAddrFromAddrPort(l.addr))
	}
	return addrs
}

// Connections tells how many connections each listener, by name, has counted: those of limits.connections, and those beside.
func (s *Set) Connections() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := map[string]int{}
	for _, l := range s.listeners {
		open, spare := l.limits.counts()
		counts[l.Name()] += open + spare
	}
	return counts
}
