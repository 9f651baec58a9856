package ircd

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/armon/go-proxyproto"
)

// proxyHeaderTime is how long a PROXY v1 header may take.
const proxyHeaderTime = 5 * time.Second

// accepted is told of each new connection, under Server.mu. It owns fd, which is non-blocking and has TCP_NODELAY.
type accepted func(fd int, remote, local netip.AddrPort)

// acceptor is a listening socket in the loop.
type acceptor struct {
	srv    *Server
	ln     *net.TCPListener
	fd     int // a duplicate, the one in the poller
	key    pollKey
	accept accepted
	paused bool // out of descriptors: the ticker tries again
}

// listen opens a TCP listener whose connections go to accept. It needs Server.mu.
func (s *Server) listen(address string, accept accepted) (netip.AddrPort, error) {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return netip.AddrPort{}, err
	}
	a := &acceptor{srv: s, ln: ln.(*net.TCPListener), accept: accept}
	if a.fd, err = duplicate(a.ln); err != nil {
		ln.Close()
		return netip.AddrPort{}, err
	}
	if a.key, err = s.poll.add(a.fd, syscall.EPOLLIN, a); err != nil {
		syscall.Close(a.fd)
		ln.Close()
		return netip.AddrPort{}, err
	}
	s.acceptors = append(s.acceptors, a)
	return ln.Addr().(*net.TCPAddr).AddrPort(), nil
}

// ready accepts what waits; 64 a turn, so that the clients who are in get their share.
func (a *acceptor) ready(uint32) {
	for range 64 {
		fd, sa, err := syscall.Accept4(a.fd, syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
		switch {
		case err == nil:
			a.srv.prepareSocket(fd)
			a.accept(fd, addrPort(sa), localAddr(fd))
		case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
			a.pause(true)
			return
		case err == syscall.EINTR, err == syscall.ECONNABORTED:
		default:
			return
		}
	}
}

// pause stops accepting while the process has no descriptor left; level-triggered events would spin.
func (a *acceptor) pause(paused bool) {
	if a.paused == paused {
		return
	}
	a.paused = paused
	var events uint32 = syscall.EPOLLIN
	if paused {
		events = 0
		a.srv.log.Warn("accept pauses", "listener", a.ln.Addr().String(), "reason", "no descriptors left")
	}
	a.srv.poll.change(a.fd, events, a.key)
}

func (a *acceptor) close() {
	a.srv.poll.remove(a.fd, a.key)
	syscall.Close(a.fd)
	a.ln.Close()
}

// prepareSocket sets what every stream has. Failures change nothing that matters.
func (s *Server) prepareSocket(fd int) {
	syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	if n := s.cfg.SocketBuffer; n > 0 {
		syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_SNDBUF, n)
		syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUF, n)
	}
}

// serveProxyV1 accepts connections that begin with a PROXY v1 header, until ln is closed. Goroutine of its own.
func (s *Server) serveProxyV1(ln net.Listener) {
	defer s.running.Done()
	for {
		nc, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(50 * time.Millisecond) // no descriptors left
			continue
		}
		if s.addPending(nc) {
			go s.readProxyV1(nc)
		}
	}
}

// addPending keeps a connection that is not in the loop yet where Close finds it. False: the server is closing.
func (s *Server) addPending(nc net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		nc.Close()
		return false
	}
	s.pending[nc] = struct{}{}
	s.running.Add(1)
	return true
}

func (s *Server) dropPending(nc net.Conn) {
	s.mu.Lock()
	delete(s.pending, nc)
	s.mu.Unlock()
	s.running.Done()
}

// readProxyV1 lets the library read the header, and then takes the socket and what the library has read beyond it.
func (s *Server) readProxyV1(nc net.Conn) {
	defer s.dropPending(nc)
	gate := &gatedConn{Conn: nc}
	pc := proxyproto.NewConn(gate, proxyHeaderTime)
	if _, err := pc.Read(nil); err != nil {
		s.log.Info("connection refused", "reason", "proxy header", "err", err)
		nc.Close()
		return
	}
	remote, local := tcpAddr(pc.RemoteAddr()), tcpAddr(pc.LocalAddr())
	gate.shut = true
	var rest []byte
	for buf := make([]byte, 4096); ; {
		n, err := pc.Read(buf)
		rest = append(rest, buf[:n]...)
		if err != nil {
			break
		}
	}
	s.AddStream(nc, rest, Stream{Remote: remote, Local: local})
}

// gatedConn is a connection whose Read fails once it is shut: then only what a reader above has buffered is left.
type gatedConn struct {
	net.Conn
	shut bool
}

var errShut = errors.New("gate is shut")

func (g *gatedConn) Read(b []byte) (int, error) {
	if g.shut {
		return 0, errShut
	}
	return g.Conn.Read(b)
}

// duplicate answers a descriptor of its own for the socket of c, non-blocking as it is.
func duplicate(c syscall.Conn) (int, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return -1, err
	}
	fd := -1
	ctrlErr := raw.Control(func(old uintptr) {
		r, _, errno := syscall.Syscall(syscall.SYS_FCNTL, old, syscall.F_DUPFD_CLOEXEC, 0)
		if errno != 0 {
			err = fmt.Errorf("duplicate descriptor: %w", errno)
			return
		}
		fd = int(r)
	})
	return fd, errors.Join(err, ctrlErr)
}

// takeSocket takes the socket out of a net.Conn, which is closed: the runtime's poller lets go of it, the connection stays.
func takeSocket(nc net.Conn) (int, error) {
	defer nc.Close()
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return -1, fmt.Errorf("take the socket of a %T: not a socket", nc)
	}
	return duplicate(sc)
}

func localAddr(fd int) netip.AddrPort {
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}
	}
	return addrPort(sa)
}

func addrPort(sa syscall.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *syscall.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *syscall.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	}
	return netip.AddrPort{}
}

func tcpAddr(a net.Addr) netip.AddrPort {
	ta, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := ta.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
