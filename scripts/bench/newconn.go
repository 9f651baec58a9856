package main

import (
	"fmt"
	"net"
	"syscall"
	"time"
)

// dialler makes short lives: connect, NICK, 001, close. 32 are under way at a time, and the source addresses differ, so that
// neither ports nor limits by address run out.
type dialler struct {
	to           *syscall.SockaddrInet4
	ep           int
	serial       int
	underWay     int
	done, failed int
	ending       bool // no new ones
	events       []syscall.EpollEvent
	buf          []byte
}

func openDialler(p proxy) (load, error) {
	addr, err := net.ResolveTCPAddr("tcp4", p.address)
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", p.address, err)
	}
	d := &dialler{to: sockaddr(addr), events: make([]syscall.EpollEvent, 64), buf: make([]byte, 4096)}
	if d.ep, err = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("epoll_create: %w", err)
	}
	return d, nil
}

func (d *dialler) close() { _ = syscall.Close(d.ep) }

func (d *dialler) note() string {
	if d.failed > 0 {
		return fmt.Sprintf("%d FAILED", d.failed)
	}
	return ""
}

func (d *dialler) turn(until time.Time) (connections int, err error) {
	before := d.done
	d.ending = false
	for range 32 {
		if err := d.dial(); err != nil {
			return 0, err
		}
	}
	for time.Now().Before(until) {
		if err := d.wait(); err != nil {
			return 0, err
		}
	}
	d.ending = true
	for end := time.Now().Add(10 * time.Second); d.underWay > 0 && time.Now().Before(end); {
		if err := d.wait(); err != nil {
			return 0, err
		}
	}
	return d.done - before, nil
}

// dial begins a connection from the next source address.
func (d *dialler) dial() error {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	d.serial++
	_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_IP, bindAddressNoPort, 1)
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 1, byte(1 + d.serial%32)}}); err != nil {
		_ = syscall.Close(fd)
		return fmt.Errorf("bind: %w", err)
	}
	if err := syscall.Connect(fd, d.to); err != nil && err != syscall.EINPROGRESS {
		_ = syscall.Close(fd)
		return fmt.Errorf("connect: %w", err)
	}
	d.underWay++
	return syscall.EpollCtl(d.ep, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: syscall.EPOLLOUT, Fd: int32(fd)})
}

func (d *dialler) wait() error {
	n, err := syscall.EpollWait(d.ep, d.events, 100)
	if err != nil && err != syscall.EINTR {
		return fmt.Errorf("epoll_wait: %w", err)
	}
	for _, ev := range d.events[:max(n, 0)] {
		if err := d.step(int(ev.Fd), ev.Events); err != nil {
			return err
		}
	}
	return nil
}

func (d *dialler) step(fd int, events uint32) error {
	if events&syscall.EPOLLOUT != 0 && events&(syscall.EPOLLERR|syscall.EPOLLHUP) == 0 {
		if _, err := syscall.Write(fd, []byte("NICK b\r\n")); err == nil {
			return syscall.EpollCtl(d.ep, syscall.EPOLL_CTL_MOD, fd, &syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(fd)})
		}
	}
	if n, err := syscall.Read(fd, d.buf); n > 0 && err == nil {
		d.done++
	} else {
		d.failed++
	}
	_ = syscall.Close(fd)
	d.underWay--
	if d.ending {
		return nil
	}
	return d.dial()
}

// bindAddressNoPort is IP_BIND_ADDRESS_NO_PORT: the port is chosen at connect, where it only has to be unique together with the
// destination.
const bindAddressNoPort = 24

// portAtConnect is the Control of a net.Dialer.
func portAtConnect(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, bindAddressNoPort, 1) })
}
