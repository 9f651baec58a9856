package ircd

import (
	"fmt"
	"os"
	"syscall"
)

// source is something with a descriptor in the poller.
type source interface {
	// ready is called by the loop under Server.mu. events are EPOLL flags.
	ready(events uint32)
}

// poller is a level-triggered epoll set whose own descriptor sleeps in the Go runtime's poller, so that waiting for it parks a
// goroutine and no thread. A client costs a slot here and no goroutine. add, change and remove need Server.mu.
type poller struct {
	file  *os.File
	epfd  int
	slots []slot
	free  []int32
}

// slot says whom an event is for. gen tells events of an earlier owner of the slot.
type slot struct {
	src source
	gen int32
}

// pollKey names a source in the poller: it is the epoll data, never the descriptor, because descriptors are used again at once.
type pollKey struct {
	slot, gen int32
}

func newPoller() (*poller, error) {
	epfd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create epoll: %w", err)
	}
	if err := syscall.SetNonblock(epfd, true); err != nil { // or the runtime would not poll it
		syscall.Close(epfd)
		return nil, fmt.Errorf("create epoll: %w", err)
	}
	return &poller{file: os.NewFile(uintptr(epfd), "epoll"), epfd: epfd}, nil
}

func (p *poller) add(fd int, events uint32, src source) (pollKey, error) {
	var key pollKey
	if n := len(p.free); n > 0 {
		key.slot, p.free = p.free[n-1], p.free[:n-1]
	} else {
		key.slot = int32(len(p.slots))
		p.slots = append(p.slots, slot{})
	}
	s := &p.slots[key.slot]
	key.gen = s.gen
	if err := p.control(syscall.EPOLL_CTL_ADD, fd, events, key); err != nil {
		p.free = append(p.free, key.slot)
		return pollKey{}, err
	}
	s.src = src
	return key, nil
}

func (p *poller) change(fd int, events uint32, key pollKey) error {
	return p.control(syscall.EPOLL_CTL_MOD, fd, events, key)
}

// remove is called before the descriptor is closed: another process or a dup may hold the same description.
func (p *poller) remove(fd int, key pollKey) {
	p.control(syscall.EPOLL_CTL_DEL, fd, 0, key)
	s := &p.slots[key.slot]
	s.src = nil
	s.gen++
	p.free = append(p.free, key.slot)
}

func (p *poller) control(op, fd int, events uint32, key pollKey) error {
	ev := syscall.EpollEvent{Events: events, Fd: key.slot, Pad: key.gen}
	if err := syscall.EpollCtl(p.epfd, op, fd, &ev); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	return nil
}

// lookup answers nil for a stale event.
func (p *poller) lookup(ev *syscall.EpollEvent) source {
	if s := &p.slots[ev.Fd]; s.gen == ev.Pad {
		return s.src
	}
	return nil
}

// run calls turn with batches of events until close. Events hold no lock: turn looks the sources up under its own.
func (p *poller) run(turn func([]syscall.EpollEvent)) error {
	raw, err := p.file.SyscallConn()
	if err != nil {
		return err
	}
	var events [128]syscall.EpollEvent // so many clients share one flush at the end of a turn
	return raw.Read(func(fd uintptr) bool {
		for {
			n, err := syscall.EpollWait(int(fd), events[:], 0)
			if err == syscall.EINTR {
				continue
			}
			if n <= 0 {
				return false // wait in the runtime's poller
			}
			turn(events[:n])
		}
	})
}

// close ends run. Descriptors that were added are not closed.
func (p *poller) close() { p.file.Close() }
