package proxy

import (
	"context"
	"fmt"
	"net"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/backend"
)

// Adopt gives held sessions streams that others have opened, as their attached ones. What comes on such a stream waits in the kernel for the splice.
func (p *Proxy) Adopt(ctx context.Context, streams []backend.Adopted) []backend.Moved {
	us := make([]string, 0, len(streams))
	fds := make(map[string]int, len(streams))
	rests := make(map[string][]byte, len(streams))
	var failed []backend.Moved
	for _, a := range streams {
		fd, err := descriptorOf(a.Conn)
		a.Conn.Close()
		if err != nil {
			failed = append(failed, backend.Moved{U: a.U, Cause: backend.CauseAttach})
			continue
		}
		us = append(us, a.U)
		fds[a.U], rests[a.U] = fd, a.Rest
	}
	var mu sync.Mutex
	taken := make(map[string]bool, len(us))
	moved := p.step(ctx, us, step{late: backend.CauseTimeout, begin: func(b *batch, s *session) {
		u := s.id()
		cause := backend.CauseGone
		if s.held() {
			cause = s.adopt(fds[u], rests[u])
		}
		mu.Lock()
		taken[u] = cause == ""
		mu.Unlock()
		b.answer(backend.Moved{U: u, Cause: cause})
	}})
	mu.Lock()
	defer mu.Unlock()
	for u, fd := range fds {
		if !taken[u] {
			unix.Close(fd)
		}
	}
	return append(moved, failed...)
}

// adopt takes a descriptor over, or answers why not.
func (s *session) adopt(fd int, rest []byte) backend.Cause {
	s.dropAttached()
	s.leavePlace()
	a := &s.mv.attached
	if err := a.Take(s.w.legs, fd, s.key(portAttached)); err != nil {
		return backend.CauseAttach
	}
	a.state = attachAttached
	if l := s.known(); l != nil {
		l.asked, l.rest = nil, rest
	}
	return ""
}

// takeRest is what had come on an adopted stream before it was the session's.
func (s *session) takeRest() []byte {
	l := s.known()
	if l == nil {
		return nil
	}
	rest := l.rest
	l.asked, l.rest = nil, nil
	if len(rest) > 0 {
		l.FromIRCd(rest)
	}
	return rest
}

// descriptorOf is the descriptor of a connection once more; (*os.File).Fd would make it blocking for both.
func descriptorOf(conn net.Conn) (fd int, err error) {
	c, ok := conn.(syscall.Conn)
	if !ok {
		return -1, fmt.Errorf("duplicate connection: %T has no descriptor", conn)
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return -1, fmt.Errorf("duplicate connection: %w", err)
	}
	cerr := raw.Control(func(of uintptr) { fd, err = unix.FcntlInt(of, unix.F_DUPFD_CLOEXEC, 0) })
	if cerr != nil {
		err = cerr
	}
	if err != nil {
		return -1, fmt.Errorf("duplicate connection: %w", err)
	}
	return fd, nil
}
