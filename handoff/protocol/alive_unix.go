//go:build unix

package protocol

import (
	"net"
	"syscall"
)

// alive reports whether an attached stream is open and silent, by a read that does not wait. Nothing may come before LIVE: a stream that
// spoke is as useless as one that ended. A connection that is no socket of the kernel is taken for alive.
func alive(conn net.Conn) bool {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	var n int
	var readErr error
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		n, readErr = syscall.Read(int(fd), b[:])
		return true
	})
	return err == nil && n < 0 && (readErr == syscall.EAGAIN || readErr == syscall.EINTR)
}
