package loop

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Kernel is what the kernel has counted of a TCP connection since it began, modulo 2^32, without FINs. The side that has dialled counts one byte too many
// as taken.
type Kernel struct {
	In    uint32 // bytes that were read from it
	Out   uint32 // bytes that it has taken
	Ended bool   // we have ended our direction
	Dead  bool   // the connection is reset, or both directions are over
}

// States of a connection, as tcp_info has them.
const (
	tcpFinWait1  = 4
	tcpFinWait2  = 5
	tcpTimeWait  = 6
	tcpClose     = 7
	tcpCloseWait = 8
	tcpLastAck   = 9
	tcpClosing   = 11
)

// Counts asks the kernel. The peer may be talking meanwhile, so it is asked until nothing moves; one that never stops is not asked for ever, and
// then what was read is exact all the same: only the peer's acknowledgements move.
func Counts(fd int) (k Kernel) {
	for range 1000 {
		before, ok := tcpInfo(fd)
		if !ok {
			return Kernel{Dead: true}
		}
		unread, unacked := pending(fd, unix.SIOCINQ), pending(fd, unix.SIOCOUTQ)
		after, ok := tcpInfo(fd)
		if !ok {
			return Kernel{Dead: true}
		}
		k = Kernel{In: uint32(after.Bytes_received) - unread, Out: uint32(after.Bytes_acked) + unacked}
		switch after.State {
		case tcpCloseWait, tcpLastAck, tcpClosing, tcpTimeWait:
			k.In-- // its FIN
		}
		switch after.State {
		case tcpFinWait1, tcpFinWait2, tcpClosing, tcpLastAck, tcpTimeWait:
			k.Ended = true
			k.Out-- // our FIN
		case tcpClose:
			k.Dead = true
		}
		if before.State == after.State && before.Bytes_received == after.Bytes_received && before.Bytes_acked == after.Bytes_acked {
			break
		}
	}
	return k
}

func tcpInfo(fd int) (i unix.TCPInfo, ok bool) {
	size := uint32(unsafe.Sizeof(i))
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.IPPROTO_TCP, unix.TCP_INFO, uintptr(unsafe.Pointer(&i)), uintptr(unsafe.Pointer(&size)), 0)
	return i, errno == 0
}

func pending(fd int, request uint) uint32 {
	var n int32
	unix.RawSyscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(unsafe.Pointer(&n)))
	return uint32(n)
}
