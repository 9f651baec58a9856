package link

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/ircferry/ircferry/internal/config"
)

// Resume makes a set without links what that of another process was: see Stop. pools is the configuration that ran there. The links stand until Start; nothing
// that both processes have is changed before, so that the other one can still go on.
func (s *Set) Resume(c Carried, fds []int, pools map[string]config.Pool) error {
	defer c.Wipe()
	if c.Format != CarryFormat {
		return fmt.Errorf("go on with links: they are in form %d, this program reads %d", c.Format, CarryFormat)
	}
	if len(fds) != c.Descriptors() {
		return fmt.Errorf("go on with links: %d descriptors for %d", len(fds), c.Descriptors())
	}
	next, servers, err := s.plan(pools)
	if err != nil {
		return fmt.Errorf("go on with links: %w", err)
	}
	s.prefix = c.Prefix
	s.tokens.Store(c.Tokens)
	s.ports, s.servers = next, servers
	s.metrics.resume(c.Counts)
	for _, p := range next {
		s.metrics.show(p)
	}
	if err := s.resumeDoors(c.Doors, fds[:len(c.Doors)]); err != nil {
		return fmt.Errorf("go on with listeners of links: %w", err)
	}
	fds = fds[len(c.Doors):]
	for i, st := range c.Links {
		l, err := s.resumeLink(st, fds[2*i], fds[2*i+1])
		if err != nil {
			return fmt.Errorf("go on with link %s/%s: %w", st.Pool, st.Name, err)
		}
		s.links = append(s.links, l)
		s.under[l.port.key()]++
	}
	return nil
}

// resumeDoors takes the listeners that the configuration still has, and closes the others.
func (s *Set) resumeDoors(keys []string, fds []int) error {
	for i, key := range keys {
		f := os.NewFile(uintptr(fds[i]), "listener")
		l, err := net.FileListener(f)
		f.Close()
		if err != nil {
			return err
		}
		s.doors[key] = &door{Listener: l}
	}
	wanted := map[string]bool{}
	for _, p := range s.ports {
		if d := s.doors[p.doorKey()]; d != nil {
			d.port.Store(p)
			wanted[p.doorKey()] = true
		}
	}
	for key, d := range s.doors {
		if !wanted[key] {
			d.Close()
			delete(s.doors, key)
		}
	}
	return nil
}

func (s *Set) resumeLink(st linkState, peer, ircd int) (*link, error) {
	state, err := parseState(st.State)
	if err != nil {
		return nil, err
	}
	p := s.ports[st.Pool+"/"+st.Name]
	if p == nil { // it is up, and the configuration has it no more
		p = &port{set: s, pool: st.Pool, conf: config.Link{Name: st.Name, Dial: st.Dial, Hold: config.Size(st.Hold)}}
	}
	var sides [2]*side
	for i, one := range [...]struct {
		fd int
		st *sideState
	}{{peer, &st.Peer}, {ircd, &st.Ircd}} {
		if sides[i], err = s.resumeSide(one.fd, one.st); err != nil {
			return nil, err
		}
	}
	l := newLink(p, p.conf, st.Backend, st.From, sides[0], sides[1])
	l.number, l.state, l.since, l.us = st.Number, state, st.Since, st.Us.intro()
	s.numbers.Store(max(s.numbers.Load(), st.Number))
	l.kept.resume(st.Kept)
	l.memory.resume(st.Memory)
	l.own.resume(st.Own)
	if state == Flushing {
		l.fence = fence{token: st.Fence, then: l.feed}
	}
	l.publish()
	return l, nil
}

func (s *Set) resumeSide(fd int, st *sideState) (*side, error) {
	f := os.NewFile(uintptr(fd), "link")
	c, err := net.FileConn(f)
	f.Close()
	if err != nil {
		return nil, err
	}
	stream := standing(c, &s.running)
	stream.resume(st.Stream)
	one := &side{stream: stream, who: st.Who.intro(), buf: st.Half, ended: st.Ended}
	if st.Broken != "" {
		one.broken = errors.New(st.Broken)
	}
	if st.TLS != nil {
		if one.tls, err = s.records.resume(c, st.TLS); err != nil {
			return nil, err
		}
	}
	return one, nil
}

// Start takes over: all that was the other process's is this one's from here on.
func (s *Set) Start() {
	for _, l := range s.all() {
		s.running.Go(func() {
			l.run()
			s.remove(l)
			s.leave(l.port)
		})
	}
	for _, d := range s.allDoors() {
		s.running.Go(func() { s.accept(d) })
	}
}
