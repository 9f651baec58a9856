package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// door is a listening socket. It stays over reloads as long as a link has its address.
type door struct {
	net.Listener
	port atomic.Pointer[port] // who has it now

	mu    sync.Mutex
	quiet chan struct{} // closed by release and Close; nil: connections are taken
}

// hold lets new connections wait in the kernel's queue.
func (d *door) hold() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.quiet == nil {
		d.quiet = make(chan struct{})
		d.Listener.(*net.TCPListener).SetDeadline(time.Unix(1, 0)) //nolint:errcheck // it may be closed
	}
}

// release ends hold.
func (d *door) release() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.quiet != nil {
		d.Listener.(*net.TCPListener).SetDeadline(time.Time{}) //nolint:errcheck // the same
		close(d.quiet)
		d.quiet = nil
	}
}

// released returns when nobody holds it.
func (d *door) released() {
	d.mu.Lock()
	quiet := d.quiet
	d.mu.Unlock()
	if quiet != nil {
		<-quiet
	}
}

// Close closes the socket; who holds it does not any more.
func (d *door) Close() error {
	err := d.Listener.Close()
	d.release()
	return err
}

// doorKey tells listeners apart. Those of port 0 are each their link's.
func (p *port) doorKey() string {
	if strings.HasSuffix(p.conf.Listen, ":0") {
		return p.conf.Listen + " " + p.key()
	}
	return p.conf.Listen
}

// bind opens the door of a link.
func (p *port) bind() (*door, error) {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", p.conf.Listen)
	if err != nil {
		return nil, fmt.Errorf("link %s: %w", p.key(), wayOut(err, p.conf.Listen))
	}
	return &door{Listener: l}, nil
}

// wayOut adds what can be done about it.
func wayOut(err error, address string) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		_, port, _ := net.SplitHostPort(address)
		return fmt.Errorf("%w: another program listens there; ss -ltnp 'sport = :%s' names it", err, port)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%w: no interface of this machine has it; ip address lists those that there are", err)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%w: ports below 1024 need CAP_NET_BIND_SERVICE (AmbientCapabilities= of the unit)", err)
	}
	return err
}

// acceptRest is how long accepting rests when the machine has no descriptors left.
const acceptRest = 200 * time.Millisecond

// accept is a goroutine. It ends when the door is closed.
func (s *Set) accept(d *door) {
	for {
		c, err := d.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case errors.Is(err, os.ErrDeadlineExceeded):
			d.released()
			continue
		case err != nil:
			s.log.Warn("accept of a link", "link", d.port.Load().key(), "err", err)
			time.Sleep(acceptRest)
			continue
		}
		if p := d.port.Load(); !s.enter(p, c) {
			c.Close()
			s.refused(p, c.RemoteAddr(), RefusedMany, fmt.Errorf("it has %d connections already", maxConnections))
		}
	}
}
