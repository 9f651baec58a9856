package loop

import (
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// eventsPerWait bounds one turn; what does not fit comes with the next wait.
const eventsPerWait = 512

const (
	toRead  = unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLET
	toWrite = toRead | unix.EPOLLOUT
)

// epoll is the readiness source of a loop.
type epoll struct {
	fd     int
	wakefd int
	events [eventsPerWait]unix.EpollEvent
}

func newEpoll() (*epoll, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create epoll: %w", err)
	}
	wakefd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("create eventfd: %w", err)
	}
	p := &epoll{fd: fd, wakefd: wakefd}
	if errno := p.control(unix.EPOLL_CTL_ADD, wakefd, unix.EPOLLIN|unix.EPOLLET, wakeKey); errno != 0 {
		p.close()
		return nil, fmt.Errorf("watch eventfd: %w", errno)
	}
	return p, nil
}

func (p *epoll) control(op, fd int, events uint32, k Key) unix.Errno {
	ev := unix.EpollEvent{Events: events, Fd: int32(k), Pad: int32(k >> 32)}
	_, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(p.fd), uintptr(op), uintptr(fd), uintptr(unsafe.Pointer(&ev)), 0, 0)
	return errno
}

func keyOf(ev *unix.EpollEvent) Key { return Key(uint32(ev.Pad))<<32 | Key(uint32(ev.Fd)) }

// wait fills events. A wait of 0 cannot block, so the scheduler is not told of it; any other is, so that the processor is free
// for other goroutines meanwhile. Negative: until something happens.
func (p *epoll) wait(d time.Duration) (int, unix.Errno) {
	at := uintptr(unsafe.Pointer(&p.events[0]))
	if d == 0 {
		n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd), at, eventsPerWait, 0, 0, 0)
		return int(n), errno
	}
	ms := -1
	if d > 0 {
		ms = int((d + time.Millisecond - 1) / time.Millisecond)
	}
	n, _, errno := unix.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd), at, eventsPerWait, uintptr(ms), 0, 0)
	return int(n), errno
}

var one = [8]byte{1}

func (p *epoll) wake() {
	unix.RawSyscall(unix.SYS_WRITE, uintptr(p.wakefd), uintptr(unsafe.Pointer(&one[0])), 8)
}

// woken empties the eventfd. It is edge-triggered, so this is not for the event but to keep its counter from its limit.
func (p *epoll) woken() {
	var b [8]byte
	unix.RawSyscall(unix.SYS_READ, uintptr(p.wakefd), uintptr(unsafe.Pointer(&b[0])), 8)
}

func (p *epoll) close() {
	unix.Close(p.wakefd)
	unix.Close(p.fd)
}
