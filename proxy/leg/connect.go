package leg

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/proxy/loop"
	"github.com/ircferry/ircferry/proxy/wire"
)

// Take makes an accepted descriptor the leg's. If it cannot be watched it stays the caller's.
func (l *Leg) Take(lp *Loop, fd int, k loop.Key) error {
	if err := lp.Watch(fd, k, false); err != nil {
		return err
	}
	*l = Leg{Slot: l.Slot, key: k, fd: int32(fd), side: l.side}
	return nil
}

// Connect begins to connect a fresh socket, which is the leg's from here on. 0: it is connected; EINPROGRESS: an event will tell, see Decided; else it
// has failed and the leg is not open. EBUSY: the keeper has no room for it now.
func (l *Leg) Connect(lp *Loop, fd int, to netip.AddrPort, k loop.Key) unix.Errno {
	if !l.keep(lp, fd) {
		loop.Close(fd)
		return unix.EBUSY
	}
	errno := loop.Connect(fd, to)
	if errno == 0 || errno == unix.EINPROGRESS {
		if err := lp.Watch(fd, k, errno != 0); err != nil {
			errno = unix.ENOMEM
		}
	}
	if errno != 0 && errno != unix.EINPROGRESS {
		loop.Close(fd)
		l.drop(lp)
		return errno
	}
	*l = Leg{Slot: l.Slot, key: k, fd: int32(fd), side: l.side}
	if errno != 0 {
		l.flags = connecting | watched
	}
	return errno
}

// Connecting reports whether the connect is not decided.
func (l *Leg) Connecting() bool { return l.has(connecting) }

// Decided takes the event that decides a connect and answers how. Event is to be told of it too: the peer may have spoken, or ended, before we saw
// the connect, and its edge is this one.
func (l *Leg) Decided(ev loop.Events) unix.Errno {
	l.flags &^= connecting
	if ev&(loop.Broken|loop.HangUp|loop.Writable) == loop.Writable {
		return 0
	}
	return loop.SocketError(int(l.fd))
}

// Event notes what an event says of the descriptor. It answers whether there is room again for what waits: flush it.
func (l *Leg) Event(ev loop.Events) (room bool) {
	if ev&(loop.PeerEnded|loop.Broken|loop.HangUp) != 0 {
		l.flags |= ending
	}
	if ev&^loop.Writable != 0 {
		l.flags |= more
	}
	if ev&loop.Writable == 0 || !l.has(full) {
		return false
	}
	l.flags &^= full
	return true
}

// Become puts the stream of an attached leg in the place of this one, which is closed. What it may have had to say already is reported again, under k.
func (l *Leg) Become(lp *Loop, from *Leg, k loop.Key) error {
	*l = Leg{Slot: l.Slot, key: k, fd: from.fd, side: l.side}
	*from = New(from.Slot, from.side)
	l.Slot.Flags = l.Slot.Flags&^(l.seen()|l.sent()) ^ wire.StreamOther
	return lp.Rewatch(int(l.fd), k, false)
}
