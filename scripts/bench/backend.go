package main

import (
	"bytes"
	"fmt"
	"net"
	"syscall"
)

// The echo backend: the first line of a connection is answered with a 001, all later ones are echoed, or in fan mode sent to
// every registered connection. One epoll loop, because the backend must not be what is measured.

const welcome = ":bench 001 b :Welcome\r\n"

type peer struct {
	registered bool
	out        []byte // what the kernel did not take
}

type echo struct {
	ep, ln int
	fan    bool
	peers  []*peer // by descriptor
	buf    []byte
}

func serveBackend(address string, fan bool) error {
	ln, err := listen(address)
	if err != nil {
		return err
	}
	ep, err := syscall.EpollCreate1(0)
	if err != nil {
		return fmt.Errorf("epoll_create: %w", err)
	}
	e := &echo{ep: ep, ln: ln, fan: fan, peers: make([]*peer, 1<<16), buf: make([]byte, 256<<10)}
	if err := e.watch(syscall.EPOLL_CTL_ADD, ln, syscall.EPOLLIN); err != nil {
		return err
	}
	fmt.Println("ready")
	events := make([]syscall.EpollEvent, 512)
	for {
		n, err := syscall.EpollWait(ep, events, -1)
		if err != nil && err != syscall.EINTR {
			return fmt.Errorf("epoll_wait: %w", err)
		}
		for _, ev := range events[:max(n, 0)] {
			e.serve(int(ev.Fd), ev.Events)
		}
	}
}

func (e *echo) watch(op, fd int, events uint32) error {
	return syscall.EpollCtl(e.ep, op, fd, &syscall.EpollEvent{Events: events, Fd: int32(fd)})
}

func (e *echo) serve(fd int, events uint32) {
	if fd == e.ln {
		e.accept()
		return
	}
	p := e.peers[fd]
	if p == nil {
		return
	}
	if events&syscall.EPOLLOUT != 0 {
		e.write(fd, p, nil)
	}
	if events&^uint32(syscall.EPOLLOUT) != 0 {
		e.read(fd, p)
	}
}

func (e *echo) accept() {
	for {
		fd, _, err := syscall.Accept4(e.ln, syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
		if err != nil {
			return
		}
		_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
		e.peers[fd] = &peer{}
		if e.watch(syscall.EPOLL_CTL_ADD, fd, syscall.EPOLLIN) != nil {
			e.close(fd)
		}
	}
}

func (e *echo) close(fd int) {
	e.peers[fd] = nil
	_ = syscall.Close(fd)
}

func (e *echo) read(fd int, p *peer) {
	n, err := syscall.Read(fd, e.buf)
	if n <= 0 {
		if err != syscall.EAGAIN {
			e.close(fd)
		}
		return
	}
	data := e.buf[:n]
	if !p.registered {
		i := bytes.IndexByte(data, '\n')
		if i < 0 {
			return
		}
		p.registered = true
		e.write(fd, p, []byte(welcome))
		data = data[i+1:]
	}
	if len(data) == 0 {
		return
	}
	if !e.fan {
		e.write(fd, p, data)
		return
	}
	for to, q := range e.peers {
		if q != nil && q.registered {
			e.write(to, q, data)
		}
	}
}

func (e *echo) write(fd int, p *peer, data []byte) {
	waiting := len(p.out) > 0
	if waiting {
		p.out = append(p.out, data...)
		data = p.out
	}
	for len(data) > 0 {
		n, err := syscall.Write(fd, data)
		if n > 0 {
			data = data[n:]
		}
		if err == syscall.EAGAIN {
			break
		}
		if err != nil && err != syscall.EINTR {
			e.close(fd)
			return
		}
	}
	p.out = append(p.out[:0:0], data...)
	switch {
	case len(data) > 0 && !waiting:
		_ = e.watch(syscall.EPOLL_CTL_MOD, fd, syscall.EPOLLIN|syscall.EPOLLOUT)
	case len(data) == 0 && waiting:
		_ = e.watch(syscall.EPOLL_CTL_MOD, fd, syscall.EPOLLIN)
	}
}

func listen(address string) (int, error) {
	addr, err := net.ResolveTCPAddr("tcp4", address)
	if err != nil {
		return -1, fmt.Errorf("resolve %s: %w", address, err)
	}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	_ = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
	if err := syscall.Bind(fd, sockaddr(addr)); err != nil {
		return -1, fmt.Errorf("bind %s: %w", address, err)
	}
	if err := syscall.Listen(fd, 4096); err != nil {
		return -1, fmt.Errorf("listen %s: %w", address, err)
	}
	return fd, nil
}

func sockaddr(a *net.TCPAddr) *syscall.SockaddrInet4 {
	sa := &syscall.SockaddrInet4{Port: a.Port}
	copy(sa.Addr[:], a.IP.To4())
	return sa
}
