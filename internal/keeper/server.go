package keeper

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ServerOptions say how a keeper is.
type ServerOptions struct {
	Socket  string        // path
	Grace   time.Duration // how long all is held without a daemon that serves
	Version string        // of the program, for who asks
	Log     *slog.Logger
	Ends    bool // Run returns when the daemon has ended and nothing is left to hold

	// For tests, which are a keeper of another version by them.
	unknown map[byte]bool // verbs that it does not know
	extra   []byte        // what it says behind what version 1 has
	max     int           // descriptors that it takes; 0: by the limit
	atTurn  func()        // called before each turn
}

const (
	spareFDs    = 48 // descriptors that it needs beside those with a tag: memory, connections, socket, epoll, the runtime's
	maxPeers    = 8  // connections at a time: a daemon, its successor, and who asks
	turn        = 64 // messages of one connection before the others are looked at
	acceptPause = 100 * time.Millisecond
	tellAgain   = time.Minute // how long the log is spared after a line about a stranger
)

// Server is a keeper. All of it belongs to the goroutine of Run.
type Server struct {
	o       ServerOptions
	log     *slog.Logger
	started time.Time
	max     int

	ep, listener, wake int
	lock               *os.File
	accepting          bool
	resume             time.Time // when it is accepted again
	told               time.Time // of a stranger

	held  *table
	names []named // memory
	peers []*peer

	writer  *peer // who has the claim; nil: nobody
	epoch   uint64
	grace   time.Duration // what is left of it
	since   time.Time     // since when it runs; zero: it does not
	serving bool          // the writer serves

	buf, oob []byte
	tags     []Tag
	fds      []int
	events   [16]unix.EpollEvent
}

type named struct {
	name string
	fd   int
}

// Listen makes a keeper that holds nothing.
func Listen(o ServerOptions) (_ *Server, err error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{o: o, log: o.Log, started: time.Now(), held: newTable(), grace: o.Grace, ep: -1, listener: -1, wake: -1, max: o.max,
		buf: make([]byte, maxMessage), oob: make([]byte, unix.CmsgSpace(4*maxBatch)), tags: make([]Tag, 0, maxMessage/8), fds: make([]int, 0, maxBatch)}
	if s.max == 0 {
		s.max = limit() - spareFDs
	}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if s.listener, s.lock, err = listen(o.Socket); err != nil {
		return nil, err
	}
	if s.ep, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("make epoll: %w", err)
	}
	if s.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, fmt.Errorf("make eventfd: %w", err)
	}
	return s, errors.Join(s.watch(s.listener, unix.EPOLL_CTL_ADD), s.watch(s.wake, unix.EPOLL_CTL_ADD))
}

func (s *Server) watch(fd, op int) error {
	if err := unix.EpollCtl(s.ep, op, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}); err != nil {
		return fmt.Errorf("watch descriptor: %w", err)
	}
	s.accepting = s.accepting || fd == s.listener
	return nil
}

// Run holds what it is given until ctx is over; then all that it held is closed.
func (s *Server) Run(ctx context.Context) error {
	defer s.Close()
	defer s.wakeWith(ctx)()
	for {
		n, err := unix.EpollWait(s.ep, s.events[:], s.rest())
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("wait for events: %w", err)
		}
		if s.o.atTurn != nil {
			s.o.atTurn()
		}
		for _, e := range s.events[:max(n, 0)] {
			switch fd := int(e.Fd); fd {
			case s.wake:
				return nil
			case s.listener:
				s.accept()
			default:
				s.serve(fd)
			}
		}
		s.timePasses()
		if s.o.Ends && s.epoch > 0 && s.writer == nil && s.empty() {
			s.log.Info("nothing is left to hold")
			return nil
		}
	}
}

// Room is how many descriptors it takes.
func (s *Server) Room() int { return s.max }

// empty reports whether nothing is held.
func (s *Server) empty() bool { return s.held.n == 0 && len(s.names) == 0 }

// wakeWith has the loop wake when ctx is over, until the returned function has returned.
func (s *Server) wakeWith(ctx context.Context) (over func()) {
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		unix.Write(s.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) //nolint:errcheck // it has room
		close(woken)
	})
	return func() {
		if !stop() {
			<-woken
		}
	}
}

// rest is how long nothing is to be done, in milliseconds for epoll.
func (s *Server) rest() int {
	var next time.Time
	for _, t := range [...]time.Time{s.resume, s.end()} {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	if next.IsZero() {
		return -1
	}
	return int(max(0, time.Until(next)+time.Millisecond) / time.Millisecond)
}

// end is when the grace time is over; zero: it does not run.
func (s *Server) end() time.Time {
	if s.since.IsZero() {
		return time.Time{}
	}
	return s.since.Add(s.grace)
}

func (s *Server) timePasses() {
	now := time.Now()
	if !s.resume.IsZero() && !now.Before(s.resume) {
		s.resume = time.Time{}
		if !s.accepting {
			s.watch(s.listener, unix.EPOLL_CTL_ADD) //nolint:errcheck // it was watched before
		}
	}
	if end := s.end(); !end.IsZero() && !now.Before(end) {
		s.log.Warn("no daemon has come back: everything is closed", "after", s.o.Grace, "descriptors", s.held.n, "memory", len(s.names))
		s.clear()
	}
}

// accept takes one connection. Where that cannot be, as for want of descriptors, it rests: epoll would say so without end.
func (s *Server) accept() {
	fd, _, err := unix.Accept4(s.listener, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
	switch {
	case err == unix.EAGAIN || err == unix.EINTR || err == unix.ECONNABORTED:
		return
	case err != nil:
		s.log.Error("connection not accepted", "err", err)
		unix.EpollCtl(s.ep, unix.EPOLL_CTL_DEL, s.listener, nil) //nolint:errcheck // it is watched
		s.accepting, s.resume = false, time.Now().Add(acceptPause)
		return
	}
	if err := s.welcome(fd); err != nil {
		unix.Close(fd)
		if time.Since(s.told) >= tellAgain || s.told.IsZero() {
			s.told = time.Now()
			s.log.Error("connection refused", "err", err)
		}
	}
}

// welcome makes a connection one of ours, or says why not.
func (s *Server) welcome(fd int) error {
	who, err := peerOf(fd)
	if err != nil {
		return err
	}
	if !mayBe(who.Uid) {
		return fmt.Errorf("it is of process %d of user %d, this is user %d's", who.Pid, who.Uid, os.Geteuid())
	}
	if len(s.peers) >= maxPeers {
		return fmt.Errorf("process %d is one more than %d", who.Pid, maxPeers)
	}
	if err := s.watch(fd, unix.EPOLL_CTL_ADD); err != nil {
		return err
	}
	s.peers = append(s.peers, &peer{fd: fd, pid: int(who.Pid)})
	return nil
}

// clear closes all that is held.
func (s *Server) clear() {
	for fd, tag := range s.held.tags {
		if tag != 0 {
			unix.Close(fd)
		}
	}
	s.held.clear()
	for _, m := range s.names {
		unix.Close(m.fd)
	}
	s.names = s.names[:0]
	s.grace, s.since = s.o.Grace, time.Time{}
}

// Close closes everything. It is for a keeper that does not run.
func (s *Server) Close() {
	for _, p := range s.peers {
		unix.Close(p.fd)
	}
	s.peers, s.writer = nil, nil
	s.clear()
	for _, fd := range [...]*int{&s.listener, &s.ep, &s.wake} {
		if *fd >= 0 {
			unix.Close(*fd)
			*fd = -1
		}
	}
	if s.lock != nil {
		os.Remove(s.o.Socket) //nolint:errcheck // whoever comes next removes it
		s.lock.Close()
		s.lock = nil
	}
}

func (s *Server) status() Status {
	return Status{Protocol: version, oldest: oldest, features: features, Version: s.o.Version, PID: os.Getpid(), Started: s.started, Descriptors: s.held.n,
		Memory: len(s.names), Limit: s.max, Epoch: s.epoch, Grace: s.o.Grace.Seconds()}
}
