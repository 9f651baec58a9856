package protocol

import (
	"net"
	"syscall"
)

// PeerProcess is the process that listens at the other end of a unix socket, 0 if that is not known: over TCP, or from another pid namespace.
func (c *Control) PeerProcess() int {
	conn, ok := c.conn.(*net.UnixConn)
	if !ok {
		return 0
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0
	}
	var cred *syscall.Ucred
	raw.Control(func(fd uintptr) {
		cred, err = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err != nil || cred == nil {
		return 0
	}
	return int(cred.Pid)
}
