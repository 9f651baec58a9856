package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"time"
)

// line is the 100 bytes that are echoed.
var line = []byte("PRIVMSG #bench :" + strings.Repeat("x", 82) + "\r\n")

// clients are the load generator's connections on one epoll instance. Used by one goroutine.
type clients struct {
	ep     int
	fds    []int
	index  map[int]int // descriptor to place in fds
	secure []*secured  // by place in fds; nil: plaintext
	buf    []byte
	events []syscall.EpollEvent
}

// arrival is how clients come.
type arrival struct {
	atATime int    // so many wait for their welcome at the same time
	hello   []byte // what each says
	answers int    // lines that it hears then
}

var (
	// ordinary keeps every listen queue short.
	ordinary = arrival{atATime: 64, hello: []byte("NICK b\r\n"), answers: 1}

	// reconnect is what a proxy sees when an ircd or a network comes back: all at once, with all that a client says when it registers. The echo
	// backend answers the first line with a 001, the others with themselves.
	reconnect = arrival{atATime: 1 << 20, answers: 5,
		hello: []byte("CAP LS 302\r\nNICK b\r\nUSER b 0 * :bench\r\nCAP REQ :server-time message-tags\r\nCAP END\r\n")}
	reconnectTLS = arrival{atATime: 256, answers: reconnect.answers, hello: reconnect.hello} // a handshake costs the generator a thread
)

// connect has n clients come in the ordinary way.
func connect(p proxy, n int) (*clients, error) { return arrive(p, n, ordinary) }

// arrive opens n connections and returns when each has been welcomed.
func arrive(p proxy, n int, how arrival) (*clients, error) {
	ep, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create: %w", err)
	}
	c := &clients{ep: ep, index: make(map[int]int, n), buf: make([]byte, 256<<10), events: make([]syscall.EpollEvent, 512)}
	addr, err := net.ResolveTCPAddr("tcp4", p.address)
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", p.address, err)
	}
	for len(c.fds) < n {
		batch := min(how.atATime, n-len(c.fds))
		for range batch {
			if err := c.add(sockaddr(addr)); err != nil {
				return c, fmt.Errorf("client %d: %w", len(c.fds), err)
			}
		}
		if p.tls != nil {
			if err := c.shakeHands(p.tls); err != nil {
				return c, fmt.Errorf("handshakes of %d clients: %w", len(c.fds), err)
			}
		}
		if err := c.sayAll(len(c.fds)-batch, how.hello); err != nil {
			return c, err
		}
		if err := c.collect(batch*how.answers, 20*time.Second, nil); err != nil {
			return c, fmt.Errorf("welcome of %d clients: %w", len(c.fds), err)
		}
	}
	return c, nil
}

func (c *clients) add(to *syscall.SockaddrInet4) error {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	if err := syscall.Connect(fd, to); err != nil {
		_ = syscall.Close(fd)
		return fmt.Errorf("connect: %w", err)
	}
	_ = syscall.SetNonblock(fd, true)
	_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	c.index[fd] = len(c.fds)
	c.fds = append(c.fds, fd)
	if err := syscall.EpollCtl(c.ep, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(fd)}); err != nil {
		return fmt.Errorf("epoll_ctl: %w", err)
	}
	return nil
}

// sayAll has the clients from the given one on say the same.
func (c *clients) sayAll(from int, text []byte) error {
	for i := from; i < len(c.fds); i++ {
		if err := c.send(i, text); err != nil {
			return fmt.Errorf("client %d: %w", i, err)
		}
	}
	return nil
}

var errShort = errors.New("short write: the generator is the bottleneck")

func (c *clients) send(i int, data []byte) error {
	if c.secure != nil {
		return c.secure[i].send(data)
	}
	return write(c.fds[i], data)
}

func write(fd int, data []byte) error {
	n, err := syscall.Write(fd, data)
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if n < len(data) {
		return errShort
	}
	return nil
}

var errClosed = errors.New("connection closed by the proxy")

// poll waits for at most timeout and calls got with each client that received something and the number of line ends in it.
func (c *clients) poll(timeout time.Duration, got func(i, lines int) error) error {
	ms := int((timeout + time.Millisecond - 1) / time.Millisecond)
	n, err := syscall.EpollWait(c.ep, c.events, ms)
	if err != nil && err != syscall.EINTR {
		return fmt.Errorf("epoll_wait: %w", err)
	}
	for _, ev := range c.events[:max(n, 0)] {
		i := c.index[int(ev.Fd)]
		lines, err := c.read(i)
		if err != nil {
			return err
		}
		if lines == 0 {
			continue
		}
		if err := got(i, lines); err != nil {
			return err
		}
	}
	return nil
}

// read answers how many line ends there were in what one client has received.
func (c *clients) read(i int) (lines int, err error) {
	if c.secure != nil {
		return c.secure[i].read(c.buf)
	}
	n, err := syscall.Read(c.fds[i], c.buf)
	if err == syscall.EAGAIN || err == syscall.EINTR {
		return 0, nil
	}
	if n <= 0 {
		return 0, errClosed
	}
	return bytes.Count(c.buf[:n], []byte{'\n'}), nil
}

// collect polls until so many lines have come.
func (c *clients) collect(lines int, within time.Duration, each func(i, lines int) error) error {
	for end := time.Now().Add(within); lines > 0; {
		if time.Now().After(end) {
			return fmt.Errorf("%d lines did not come in %s", lines, within)
		}
		err := c.poll(100*time.Millisecond, func(i, n int) error {
			lines -= n
			if each != nil {
				return each(i, n)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *clients) close() {
	for _, fd := range c.fds {
		_ = syscall.Close(fd)
	}
	_ = syscall.Close(c.ep)
}
