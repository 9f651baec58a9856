package ircd

import (
	"errors"
	"net"
	"syscall"
	"time"
)

// heldStream is an attached stream between ATTACHED and COMMIT: a bare descriptor, out of the runtime's poller already, so that a commit
// of thousands does not pay for it. It is a net.Conn as far as protocol.Holder needs one.
type heldStream struct {
	fd int // -1: closed, or taken by a client
}

// Hold is protocol.Holder.
func (e *handoffEnd) Hold(conn net.Conn) (net.Conn, error) {
	fd, err := duplicate(conn.(*net.TCPConn))
	if err != nil {
		return nil, err
	}
	conn.Close()
	e.srv.prepareSocket(fd)
	return &heldStream{fd: fd}, nil
}

// take gives the descriptor to the caller.
func (h *heldStream) take() int {
	fd := h.fd
	h.fd = -1
	return fd
}

func (h *heldStream) Close() error {
	if h.fd < 0 {
		return net.ErrClosed
	}
	return syscall.Close(h.take())
}

// Write is for ATTACHED, which any fresh socket takes.
func (h *heldStream) Write(b []byte) (int, error) { return syscall.Write(h.fd, b) }

// SyscallConn lets the protocol see whether the stream is still open.
func (h *heldStream) SyscallConn() (syscall.RawConn, error) { return heldRaw{h}, nil }

type heldRaw struct{ h *heldStream }

func (r heldRaw) Control(f func(fd uintptr)) error {
	f(uintptr(r.h.fd))
	return nil
}

func (r heldRaw) Read(f func(fd uintptr) bool) error {
	f(uintptr(r.h.fd))
	return nil
}

func (r heldRaw) Write(f func(fd uintptr) bool) error { return r.Read(f) }

// The rest of net.Conn, which nobody asks a held stream for.

var errHeld = errors.New("a held stream is not read")

func (h *heldStream) Read([]byte) (int, error)         { return 0, errHeld }
func (h *heldStream) LocalAddr() net.Addr              { return nil }
func (h *heldStream) RemoteAddr() net.Addr             { return nil }
func (h *heldStream) SetDeadline(time.Time) error      { return nil }
func (h *heldStream) SetReadDeadline(time.Time) error  { return nil }
func (h *heldStream) SetWriteDeadline(time.Time) error { return nil }
