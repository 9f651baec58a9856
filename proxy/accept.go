package proxy

import (
	"net/netip"
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

// accepting is a listener's socket on one worker.
type accepting struct {
	fd   int
	lst  *listener
	deaf bool // it drops SYNs
}

func listenerKey(slot uint32) loop.Key { return loop.MakeKey(slot, 0, portListener) }

// accept takes new clients.
func (w *worker) accept(k loop.Key) {
	a := w.listeners[k.Slot()]
	if a == nil || w.paused {
		return
	}
	w.acceptSome(a, acceptBatch)
}

// acceptSome takes at most n clients and answers whether there may be more.
func (w *worker) acceptSome(a *accepting, n int) bool {
	for range n {
		fd, addr, errno := loop.Accept(a.fd)
		switch {
		case errno == unix.EAGAIN:
			return false
		case outOfDescriptors(errno), errno == unix.ENOBUFS, errno == unix.ENOMEM:
			w.pauseAccept()
			return false
		case errno != 0:
			continue // this one was gone before we came to it: ECONNABORTED and network errors, see accept(2)
		}
		if a.deaf {
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0) //nolint:errcheck // inherited if it came after the filter
		}
		w.arrived(a.lst, fd, addr)
	}
	return true
}

// arrived begins the session of an accepted client.
func (w *worker) arrived(lst *listener, fd int, addr netip.AddrPort) {
	tally := lst.tally.Load()
	tally.accepted.Add(1)
	refusal := lst.limits.enter()
	s, err := w.newSession()
	if err != nil {
		if refusal == reasonNone {
			lst.limits.leave()
		}
		tally.ended[ReasonMemory].Add(1)
		loop.Close(fd)
		return
	}
	s.tally = tally
	if lst.tls.Load() != nil {
		s.set(securing)
	}
	s.lst, s.started, s.remote = lst, w.loop.Now(), toEndpoint(addr)
	if refusal == reasonNone {
		s.set(entered)
		tally.live.Add(1)
	}
	if err := s.client.Take(w.legs, fd, s.key(portClient)); err != nil {
		loop.Close(fd)
		s.cutOff(ReasonMemory)
		return
	}
	if refusal != reasonNone {
		s.refuse(refusal, "Too many connections")
		return
	}
	s.local = toEndpoint(lst.localAddr(fd))
	if lst.conf.Load().ProxyProtocol != nil && trusted(lst.conf.Load(), addr.Addr()) {
		s.within(headerTime)
		return
	}
	s.admit()
}

// admit applies the limits by address, when the address is certain.
func (s *session) admit() {
	switch s.lst.limits.admit(s.remote.addrPort().Addr(), time.Now()) {
	case ReasonLimitPerIP:
		s.refuse(ReasonLimitPerIP, "Too many connections from your address")
	case ReasonLimitRate:
		s.refuse(ReasonLimitRate, "You are connecting too fast, please wait")
	default:
		s.set(admitted)
		s.secure()
	}
}

// release gives back what the listener's limits had granted.
func (s *session) release() {
	if s.has(admitted) {
		s.lst.limits.release(s.remote.addrPort().Addr())
	}
	if s.has(entered) {
		s.lst.limits.leave()
		s.tally.live.Add(-1)
	}
}

// pauseAccept lets new clients wait in the kernel's queue until descriptors are back. That is no fault of any backend's.
func (w *worker) pauseAccept() {
	if w.paused {
		return
	}
	w.paused = true
	w.counts.paused.Store(1)
	w.counts.pauses.Add(1)
	for _, a := range w.listeners {
		w.loop.Unwatch(a.fd)
	}
	w.loop.After(acceptPause, listenerKey(0))
}

func (w *worker) resumeAccept() {
	if !w.paused {
		return
	}
	w.paused = false
	w.counts.paused.Store(0)
	for slot, a := range w.listeners {
		if err := w.loop.WatchLevel(a.fd, listenerKey(slot)); err != nil {
			w.pauseAccept()
			return
		}
	}
}

// addListener, deafenListener and removeListener are posted by SetListeners.

func (w *worker) addListener(slot uint32, a *accepting) {
	w.listeners[slot] = a
	if !w.paused {
		if err := w.loop.WatchLevel(a.fd, listenerKey(slot)); err != nil {
			w.pauseAccept()
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

// deafenListener lets nobody begin a handshake with the socket any more; those under way go on. Where the kernel will not, the
// listener goes as others do.
func (w *worker) deafenListener(slot uint32) {
	if a := w.listeners[slot]; a != nil {
		filter := unix.SockFprog{Len: uint16(len(noSYN)), Filter: &noSYN[0]}
		a.deaf = unix.SetsockoptSockFprog(a.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &filter) == nil
	}
}

// removeListener takes in who is in the socket's queue, because closing it would reset them.
func (w *worker) removeListener(slot uint32) {
	a := w.listeners[slot]
	if a == nil {
		return
	}
	delete(w.listeners, slot)
	w.loop.Unwatch(a.fd)
	for range 1 << 12 / acceptBatch {
		if !w.acceptSome(a, acceptBatch) {
			break
		}
	}
	loop.Close(a.fd)
}
