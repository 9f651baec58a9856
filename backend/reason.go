package backend

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"

	"github.com/ircferry/ircferry/handoff/protocol"
)

// Reason is why a check or a connect failed: a fixed word for logs and metrics.
type Reason string

const (
	ReasonLocal       Reason = "local"       // our own machine is out of descriptors, ports, memory or time: says nothing of the backend
	ReasonRefused     Reason = "refused"     // nobody listens there
	ReasonTimeout     Reason = "timeout"     // no answer in time
	ReasonUnreachable Reason = "unreachable" // no route, or the network says no
	ReasonReset       Reason = "reset"       // the connection broke
	ReasonClosed      Reason = "closed"      // the ircd closed without an answer
	ReasonPermission  Reason = "permission"  // the socket is there, but not for us
	ReasonMissing     Reason = "missing"     // there is no such socket
	ReasonResolve     Reason = "resolve"     // the host name has no address
	ReasonAnswer      Reason = "answer"      // the ircd answered with an error, or with something that makes no sense
	ReasonTLS         Reason = "tls"         // no handshake: a certificate that is not good, or no common version or suite
	ReasonOther       Reason = "other"
)

func (r Reason) String() string { return string(r) }

// errnoReasons in the order in which they are tried.
var errnoReasons = []struct {
	errno  syscall.Errno
	reason Reason
}{
	{syscall.EMFILE, ReasonLocal}, {syscall.ENFILE, ReasonLocal}, {syscall.EADDRNOTAVAIL, ReasonLocal},
	{syscall.ENOBUFS, ReasonLocal}, {syscall.ENOMEM, ReasonLocal}, {syscall.EADDRINUSE, ReasonLocal},
	{syscall.ECONNREFUSED, ReasonRefused}, {syscall.ETIMEDOUT, ReasonTimeout},
	{syscall.EHOSTUNREACH, ReasonUnreachable}, {syscall.ENETUNREACH, ReasonUnreachable}, {syscall.EHOSTDOWN, ReasonUnreachable},
	{syscall.ENETDOWN, ReasonUnreachable},
	{syscall.ECONNRESET, ReasonReset}, {syscall.EPIPE, ReasonReset}, {syscall.ECONNABORTED, ReasonReset},
	{syscall.EACCES, ReasonPermission}, {syscall.EPERM, ReasonPermission}, {syscall.ENOENT, ReasonMissing},
}

// ReasonOf finds the fixed word for an error of a connect or a check.
func ReasonOf(err error) Reason {
	var answer *protocol.Error
	var dns *net.DNSError
	if errors.As(err, &answer) || errors.Is(err, errAnswer) {
		return ReasonAnswer
	}
	for _, e := range errnoReasons {
		if errors.Is(err, e.errno) {
			return e.reason
		}
	}
	switch {
	case errors.Is(err, ErrNotTried):
		return ReasonLocal
	case errors.As(err, &dns):
		return ReasonResolve
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return ReasonTimeout
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.ErrClosedPipe), errors.Is(err, net.ErrClosed):
		return ReasonClosed
	case errors.Is(err, ErrTLS):
		return ReasonTLS
	}
	return ReasonOther
}

// errAnswer marks what an ircd said that is no good answer to a check.
var errAnswer = errors.New("answer")
