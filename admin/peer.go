package admin

import (
	"context"
	"fmt"
	"net"
	"syscall"
)

// Peer is the process at the other end of the admin socket, as the kernel knew it when it connected.
type Peer struct {
	UID, GID uint32
	PID      int32
}

// Actor is how a peer is written in reports and in the audit log.
func (p Peer) Actor() string { return fmt.Sprintf("uid=%d gid=%d pid=%d", p.UID, p.GID, p.PID) }

type peerKey struct{}

// withPeer is the ConnContext of the admin server. A connection whose credentials cannot be read has no peer, and its
// requests are refused.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	if p, err := peerOf(c); err == nil {
		return context.WithValue(ctx, peerKey{}, p)
	}
	return ctx
}

func peerFrom(ctx context.Context) (Peer, bool) {
	p, ok := ctx.Value(peerKey{}).(Peer)
	return p, ok
}

func peerOf(c net.Conn) (Peer, error) {
	unix, ok := c.(*net.UnixConn) // on other sockets the kernel answers SO_PEERCRED too, with nobody's credentials
	if !ok {
		return Peer{}, fmt.Errorf("read peer credentials: %s is no unix socket", c.RemoteAddr())
	}
	raw, err := unix.SyscallConn()
	if err != nil {
		return Peer{}, fmt.Errorf("read peer credentials: %w", err)
	}
	var cred *syscall.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}); err != nil {
		return Peer{}, fmt.Errorf("read peer credentials: %w", err)
	}
	if credErr != nil {
		return Peer{}, fmt.Errorf("read peer credentials: %w", credErr)
	}
	return Peer{UID: cred.Uid, GID: cred.Gid, PID: cred.Pid}, nil
}
