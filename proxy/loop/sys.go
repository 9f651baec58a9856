package loop

import (
	"net/netip"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls here are for non-blocking sockets only: the Go scheduler is not told of them. They return the kernel's errno, 0 for
// none, so that EAGAIN costs no error value.

// Read reads what is there. 0 bytes without errno: the peer has ended.
func Read(fd int, p []byte) (int, unix.Errno) {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), 0, 0, 0)
		if errno != unix.EINTR {
			return max(int(n), 0), errno
		}
	}
}

// Write writes as much as the kernel takes.
func Write(fd int, p []byte) (int, unix.Errno) {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), unix.MSG_NOSIGNAL, 0, 0)
		if errno != unix.EINTR {
			return max(int(n), 0), errno
		}
	}
}

// Iovecs is room for one gathered write.
type Iovecs [32]unix.Iovec

// Writev writes the pieces of ps in order, as many as fit into room and as much as the kernel takes.
func Writev(fd int, ps [][]byte, room *Iovecs) (int, unix.Errno) {
	n := 0
	for _, p := range ps {
		if len(p) == 0 {
			continue
		}
		if n == len(room) {
			break
		}
		room[n].Base = unsafe.SliceData(p)
		room[n].SetLen(len(p))
		n++
	}
	if n == 0 {
		return 0, 0
	}
	msg := unix.Msghdr{Iov: &room[0]}
	msg.SetIovlen(n)
	for {
		sent, _, errno := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&msg)), unix.MSG_NOSIGNAL)
		if errno != unix.EINTR {
			return max(int(sent), 0), errno
		}
	}
}

// Accept takes one connection, non-blocking and close-on-exec, and says from where it is.
func Accept(fd int) (int, netip.AddrPort, unix.Errno) {
	for {
		var sa unix.RawSockaddrInet6
		size := uint32(unsafe.Sizeof(sa))
		n, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&size)),
			unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return -1, netip.AddrPort{}, errno
		}
		return int(n), addrPort(&sa), 0
	}
}

// LocalAddr is the socket's own end; not valid if fd is no socket of TCP.
func LocalAddr(fd int) netip.AddrPort {
	var sa unix.RawSockaddrInet6
	size := uint32(unsafe.Sizeof(sa))
	unix.RawSyscall(unix.SYS_GETSOCKNAME, uintptr(fd), uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&size)))
	return addrPort(&sa) // of no family if that failed
}

func addrPort(sa *unix.RawSockaddrInet6) netip.AddrPort {
	switch sa.Family {
	case unix.AF_INET:
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), ntohs(v4.Port))
	case unix.AF_INET6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), ntohs(sa.Port))
	}
	return netip.AddrPort{}
}

// Socket makes a TCP socket for the family of addr, non-blocking and close-on-exec. Never MPTCP: such a connection could be neither
// repaired nor counted.
func Socket(addr netip.Addr) (int, unix.Errno) {
	family := unix.AF_INET
	if addr.Is6() && !addr.Is4In6() {
		family = unix.AF_INET6
	}
	fd, _, errno := unix.RawSyscall(unix.SYS_SOCKET, uintptr(family), unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	return int(fd), errno
}

// Connect begins to connect. EINPROGRESS: the descriptor becomes writable when it is decided, then ask SocketError.
func Connect(fd int, to netip.AddrPort) unix.Errno {
	var v4 unix.RawSockaddrInet4
	var v6 unix.RawSockaddrInet6
	at, size := unsafe.Pointer(&v6), unsafe.Sizeof(v6)
	if a := to.Addr().Unmap(); a.Is4() {
		v4 = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: ntohs(to.Port()), Addr: a.As4()}
		at, size = unsafe.Pointer(&v4), unsafe.Sizeof(v4)
	} else {
		zone, errno := ZoneID(fd, a)
		if errno != 0 {
			return errno
		}
		v6 = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: ntohs(to.Port()), Addr: a.As16(), Scope_id: zone}
	}
	_, _, errno := unix.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(at), size)
	return errno
}

// ZoneID is the index of the interface that an address's zone names (RFC 4007 section 11), or the number that it is; 0 without a zone. fd is any
// socket. It is looked up each time, because an interface that comes back has another one.
func ZoneID(fd int, a netip.Addr) (uint32, unix.Errno) {
	zone := a.Zone()
	if zone == "" {
		return 0, 0
	}
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n), 0
	}
	ifr, err := unix.NewIfreq(zone)
	if err != nil {
		return 0, unix.ENODEV
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, ifr); err != nil {
		return 0, unix.ENODEV
	}
	return ifr.Uint32(), 0
}

// SocketError is the outcome of a Connect that was in progress, and clears a pending error.
func SocketError(fd int) unix.Errno {
	var v, size int32 = 0, 4
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_ERROR, uintptr(unsafe.Pointer(&v)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return errno
	}
	return unix.Errno(v)
}

// SetOption sets an integer socket option.
func SetOption(fd, level, name, value int) unix.Errno {
	v := int32(value)
	_, _, errno := unix.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), uintptr(level), uintptr(name), uintptr(unsafe.Pointer(&v)), 4, 0)
	return errno
}

// Option is an integer socket option.
type Option struct{ Level, Name, Value int }

// Watchful are the options of connections whose peer's host may vanish without a word, clients' and ircds' alike: one that is silent is asked after two
// minutes and given up after five, and so is what it does not acknowledge (RFC 1122 section 4.2.3.6, RFC 5482). The user timeout counts also
// for a peer that lives and does not read.
var Watchful = [...]Option{
	{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
	{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 120},
	{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 30},
	{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 6},
	{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 300_000},
}

// Doubtful are those of connections whose peer's host has gone silent for others, too: who has said nothing for ten seconds is asked at once, and given
// up after thirty.
var Doubtful = [...]Option{
	{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 30_000},
	{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 10},
	{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 10},
}

// ResetOnClose has Close send a reset instead of a FIN, and forget what was not sent.
func ResetOnClose(fd int) {
	unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}) //nolint:errcheck // then it is a FIN
}

// EndWrites sends a FIN behind what was written.
func EndWrites(fd int) unix.Errno {
	_, _, errno := unix.RawSyscall(unix.SYS_SHUTDOWN, uintptr(fd), unix.SHUT_WR, 0)
	return errno
}

// EndBoth ends both directions: the FIN goes behind what was written, whatever duplicates there are.
func EndBoth(fd int) { unix.RawSyscall(unix.SYS_SHUTDOWN, uintptr(fd), unix.SHUT_RDWR, 0) }

// Disconnect has a connection reset at once, whatever duplicates of the descriptor there are.
func Disconnect(fd int) {
	sa := unix.RawSockaddr{Family: unix.AF_UNSPEC}
	unix.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&sa)), unsafe.Sizeof(sa))
}

// Close closes a descriptor. Sockets without SO_LINGER do not block in it.
func Close(fd int) { unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0) }

// ntohs turns a port between the machine's order and the network's.
func ntohs(p uint16) uint16 {
	b := (*[2]byte)(unsafe.Pointer(&p))
	return uint16(b[0])<<8 | uint16(b[1])
}
