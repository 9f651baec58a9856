package link

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"
)

// How the links stop for a successor in another process: Quiesce, Stop, and then Leave if it has taken over, or GoOn. Between two turns of a link's loop, with
// its streams standing, all that there is of it is what Carried says and what the kernel has.

const (
	quiesceTime = 3 * time.Second // for connections that are on their way to a link, and links that are fed
	quiesceLook = 5 * time.Millisecond
)

// Quiesce lets new connections wait in the kernel's queues from now on, and those end that are under way, for at most 3 s. EndQuiesce ends it, or what
// becomes of the Stop behind it.
func (s *Set) Quiesce(ctx context.Context) {
	for _, d := range s.allDoors() {
		d.hold()
	}
	ctx, cancel := context.WithTimeout(ctx, quiesceTime)
	defer cancel()
	tick := time.NewTicker(quiesceLook)
	defer tick.Stop()
	for s.busy() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// EndQuiesce lets new connections in again.
func (s *Set) EndQuiesce() {
	for _, d := range s.allDoors() {
		d.release()
	}
}

func (s *Set) busy() bool {
	for _, l := range s.all() {
		if l.picture().State == Flushing {
			return true
		}
	}
	return s.connecting() > 0
}

// connecting is how many connections are on their way to a link.
func (s *Set) connecting() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.under {
		n += k
	}
	return n - len(s.links)
}

func (s *Set) allDoors() (all []*door) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.doors {
		all = append(all, d)
	}
	return all
}

// Stopped is a Set whose links stand still. One goroutine uses it.
type Stopped struct {
	set     *Set
	links   []*link
	left    int
	decided chan struct{} // closed behind goesOn
	goesOn  bool
}

// stood is a link that stands, or why it does not.
type stood struct {
	link *link
	err  error
}

// Stop stops all links between two turns, and lets no other one begin. An error: none is stopped.
func (s *Set) Stop(ctx context.Context) (*Stopped, error) {
	c := &Stopped{set: s, decided: make(chan struct{})}
	s.mu.Lock()
	s.stopped = c
	s.mu.Unlock()
	links := s.all()
	answers := make(chan stood, len(links))
	for _, l := range links {
		go func() {
			if err := l.do(ctx, func() { l.stand(c, answers) }); err != nil {
				answers <- stood{l, err}
			}
		}()
	}
	var err error
	for range links {
		switch a := <-answers; {
		case a.err == nil:
			c.links = append(c.links, a.link)
		case !errors.Is(a.err, errEnded):
			err = errors.Join(err, fmt.Errorf("stop link %s: %w", a.link.picture().Name, a.err))
		}
	}
	if err != nil {
		c.GoOn()
		return nil, err
	}
	c.left = s.connecting()
	return c, nil
}

// stand is the turn of a link's loop in which it stops.
func (l *link) stand(c *Stopped, answers chan<- stood) {
	if !l.state.goes() {
		answers <- stood{l, fmt.Errorf("it is %s", l.state)}
		return
	}
	l.flush()
	l.peer.stand()
	l.ircd.stand()
	answers <- stood{l, nil}
	if <-c.decided; !c.goesOn {
		l.vanish()
		return
	}
	l.peer.goOn()
	l.ircd.goOn()
}

// vanish forgets what is another process's now: to the other sides it is not told.
func (l *link) vanish() {
	l.guard.on, l.guard.left = false, true // the keeper goes on holding it
	l.peer.leave()
	l.ircd.leave()
	l.late.Stop()
	l.enter(Down)
}

// Links is how many go along; Left how many connections do not, since they are no links yet.
func (c *Stopped) Links() int { return len(c.links) }

func (c *Stopped) Left() int { return c.left }

// State is what the successor must know, with the descriptors that it must get, in this order. They stay the set's. It is to be called once: TLS is in it
// and nowhere else.
func (c *Stopped) State() (st Carried, fds []int, err error) {
	s := c.set
	st = Carried{Format: CarryFormat, Prefix: s.prefix, Tokens: s.tokens.Load(), Doors: []string{}, Links: []linkState{}, Counts: s.metrics.carried()}
	var sockets []syscall.Conn
	for key, d := range s.carriedDoors() {
		st.Doors = append(st.Doors, key)
		sockets = append(sockets, d.Listener.(syscall.Conn))
	}
	for _, l := range c.links {
		one, its, err := l.carried()
		if err != nil {
			return st, nil, err
		}
		st.Links = append(st.Links, one)
		sockets = append(sockets, its...)
	}
	for _, socket := range sockets {
		fd, err := descriptorOf(socket)
		if err != nil {
			return st, nil, fmt.Errorf("carry links: %w", err)
		}
		fds = append(fds, fd)
	}
	return st, fds, nil
}

func (s *Set) carriedDoors() map[string]*door {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]*door{}
	for key, d := range s.doors {
		all[key] = d
	}
	return all
}

// GoOn lets the links go on as if nothing had been.
func (c *Stopped) GoOn() {
	c.decide(true)
	c.set.EndQuiesce()
}

// Leave ends the set without a word to anybody: the successor has its links. It waits until what had ended before has been told so, or ctx is over.
func (c *Stopped) Leave(ctx context.Context) error {
	for _, l := range c.links { // what the keeper has of them is the successor's to replace, and not to be taken for true before that
		if l.guard.on {
			l.guard.journal.void()
		}
	}
	return c.LeaveToKeeper(ctx)
}

// LeaveToKeeper is Leave for a successor that is not there yet: if it cannot go on from State it may Recover from what the keeper has.
func (c *Stopped) LeaveToKeeper(ctx context.Context) error {
	c.set.shut()
	c.decide(false)
	return c.set.wait(ctx)
}

func (c *Stopped) decide(goesOn bool) {
	c.set.mu.Lock()
	c.set.stopped = nil
	c.set.mu.Unlock()
	c.goesOn = goesOn
	close(c.decided)
}

// Passage is what an upgrade would do with the links that there are.
type Passage struct {
	Links  int      // that go along
	Names  []string // theirs
	Passed int      // descriptors that the successor gets, with those of listeners
}

// Passage says what would go along now.
func (s *Set) Passage() (p Passage) {
	p.Passed = len(s.allDoors())
	for _, l := range s.all() {
		if i := l.picture(); i.State.goes() {
			p.Links++
			p.Passed += 2
			p.Names = append(p.Names, i.Name)
		}
	}
	slices.Sort(p.Names)
	return p
}
