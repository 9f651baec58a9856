package admit

import (
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/proxy/loop"
)

const (
	// acceptBatch bounds the new clients of a turn, so that a storm does not hold up those who are in.
	acceptBatch = 32
	// acceptPause is how long accept rests when there are no descriptors, before it tries again.
	acceptPause = 100 * time.Millisecond
)

// Sockets are the listening sockets of one event loop. Its methods are for the loop's goroutine, unless they say otherwise.
type Sockets struct {
	// Ceiling is the first descriptor number that is not for clients: a client that gets it is let in, and then accept rests, so that what is
	// above stays for those who must not go without. 0: there is none.
	Ceiling int

	loop *loop.Loop
	port uint8
	take func(Client)
	open map[uint32]*socket // by the listener's slot

	held   bool          // see Hold
	paused atomic.Bool   // accept rests until descriptors are back
	pauses atomic.Uint64 // how often it did
}

// socket is a listener's socket on one loop.
type socket struct {
	fd   int
	lst  *Listener
	deaf bool // it drops SYNs
}

// NewSockets makes the sockets of a loop, none yet: a Set opens them. Events and timers come under keys with this port: the loop's handler
// passes them on, to Accept and Resume. take is called for each client, on the loop.
func NewSockets(l *loop.Loop, port uint8, take func(Client)) *Sockets {
	return &Sockets{loop: l, port: port, take: take, open: map[uint32]*socket{}}
}

func (x *Sockets) key(slot uint32) loop.Key { return loop.MakeKey(slot, 0, x.port) }

// Accept takes new clients, because the socket under k is ready.
func (x *Sockets) Accept(k loop.Key) {
	s := x.open[k.Slot()]
	if s == nil || x.held || x.paused.Load() {
		return
	}
	x.acceptSome(s, acceptBatch)
}

// acceptSome takes at most n clients and answers whether there may be more.
func (x *Sockets) acceptSome(s *socket, n int) bool {
	for range n {
		fd, addr, errno := loop.Accept(s.fd)
		switch {
		case errno == unix.EAGAIN:
			return false
		case errno == unix.EMFILE, errno == unix.ENFILE, errno == unix.ENOBUFS, errno == unix.ENOMEM:
			x.Pause()
			return false
		case errno != 0:
			continue // this one was gone before we came to it: ECONNABORTED and network errors, see accept(2)
		}
		if s.deaf {
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0) //nolint:errcheck // inherited if it came after the filter
		}
		x.take(s.lst.arrived(fd, addr))
		if x.Ceiling > 0 && fd >= x.Ceiling {
			x.Pause()
			return false
		}
	}
	return true
}

// full reports whether the descriptors are used up but for what is above the ceiling: the kernel gives the lowest number that is free.
func (x *Sockets) full(fd int) bool {
	if x.Ceiling == 0 {
		return false
	}
	probe, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return true
	}
	loop.Close(probe)
	return probe >= x.Ceiling
}

// arrived says who an accepted client is and whether it may come in.
func (l *Listener) arrived(fd int, addr netip.AddrPort) Client {
	p := l.place.Load()
	c := Client{FD: fd, Addr: addr, Token: Token{place: p}}
	if c.Header = p.trusts(addr.Addr()); c.Header {
		c.Refusal = c.Token.await()
	} else {
		c.Refusal = c.Token.Admit(addr.Addr(), time.Now())
	}
	if c.Refusal == Admitted {
		c.Local = l.localAddr(fd)
	}
	return c
}

// Pause lets new clients wait in the kernel's queue until descriptors are back. That is no fault of any backend's.
func (x *Sockets) Pause() {
	if x.paused.Load() {
		return
	}
	x.paused.Store(true)
	x.pauses.Add(1)
	for _, s := range x.open {
		x.loop.Unwatch(s.fd)
	}
	x.loop.After(acceptPause, x.key(0))
}

// Resume goes on after a Pause: its time is over.
func (x *Sockets) Resume() {
	if !x.paused.Load() {
		return
	}
	for _, s := range x.open {
		if x.full(s.fd) {
			x.loop.After(acceptPause, x.key(0))
			return
		}
		break
	}
	x.paused.Store(false)
	x.watchAll()
}

func (x *Sockets) watchAll() {
	if x.held || x.paused.Load() {
		return
	}
	for slot, s := range x.open {
		if err := x.loop.WatchLevel(s.fd, x.key(slot)); err != nil {
			x.Pause()
			return
		}
	}
}

// Hold lets new clients wait in the kernel's queues until Release; nobody is refused.
func (x *Sockets) Hold() {
	if x.held {
		return
	}
	x.held = true
	if !x.paused.Load() {
		for _, s := range x.open {
			x.loop.Unwatch(s.fd)
		}
	}
}

// Release ends a Hold.
func (x *Sockets) Release() {
	if x.held {
		x.held = false
		x.watchAll()
	}
}

// Paused reports whether accept rests, and Pauses how often it has; any goroutine may ask.
func (x *Sockets) Paused() bool   { return x.paused.Load() }
func (x *Sockets) Pauses() uint64 { return x.pauses.Load() }

// add, deafen and remove are posted by a Set.

func (x *Sockets) add(slot uint32, s *socket) {
	x.open[slot] = s
	if !x.paused.Load() && !x.held {
		if err := x.loop.WatchLevel(s.fd, x.key(slot)); err != nil {
			x.Pause()
		}
	}
}

// noSYN is a socket filter that drops SYNs without an ACK; it sees a segment from its TCP header on.
var noSYN = []unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 13}, // the flags
	{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: 0x12},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 0x02, Jf: 1},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	{Code: unix.BPF_RET | unix.BPF_K, K: 1 << 18},
}

// deafen lets nobody begin a handshake with the socket any more; those under way go on. Where the kernel will not, the
// listener goes as others do.
func (x *Sockets) deafen(slot uint32) {
	if s := x.open[slot]; s != nil {
		filter := unix.SockFprog{Len: uint16(len(noSYN)), Filter: &noSYN[0]}
		s.deaf = unix.SetsockoptSockFprog(s.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &filter) == nil
	}
}

// remove takes in who is in the socket's queue, because closing it would reset them.
func (x *Sockets) remove(slot uint32) {
	s := x.open[slot]
	if s == nil {
		return
	}
	delete(x.open, slot)
	x.loop.Unwatch(s.fd)
	defer loop.Close(s.fd)
	for range 1 << 12 / acceptBatch {
		if !x.acceptSome(s, acceptBatch) {
			break
		}
	}
}
