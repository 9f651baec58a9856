package native

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"

	"github.com/ircferry/ircferry/handoff"
	"github.com/ircferry/ircferry/handoff/protocol"
)

// party is one conversation.
type party struct {
	*protocol.Control
	hello protocol.Hello
}

func (p *party) Info() protocol.Hello { return p.hello }

// Import asks for what links need only where they are.
func (p *party) Import(ctx context.Context, tx, tok string, lease time.Duration, kick string, links bool) error {
	if links {
		return p.Control.ImportLinks(ctx, tx, tok, lease, kick)
	}
	return p.Control.Import(ctx, tx, tok, lease, kick)
}

// Commit asks for the quits only where they are asked for.
func (p *party) Commit(ctx context.Context, tx string, quit, quiet bool) (done protocol.Committed, err error) {
	switch {
	case quiet:
		return p.Control.CommitQuiet(ctx, tx)
	case quit:
		done.Users, done.Missing, err = p.Control.CommitMissing(ctx, tx)
	default:
		done.Users, err = p.Control.Commit(ctx, tx)
	}
	return done, err
}

// Process holds the process that listens on the unix socket. It is not known over TCP, for one of another pid namespace, and if who listened has
// ended and left the socket to another.
func (p *party) Process() handoff.Process {
	pid := p.PeerProcess()
	if pid <= 0 {
		return handoff.NoProcess
	}
	held, err := os.FindProcess(pid)
	if err != nil {
		return handoff.NoProcess
	}
	if process := (process{held}); !process.Ended() {
		return process
	}
	held.Release()
	return handoff.NoProcess
}

// process is one that is held by its pidfd, so that its number cannot become another's.
type process struct{ held *os.Process }

func (p process) Ended() bool { return errors.Is(p.held.Signal(syscall.Signal(0)), os.ErrProcessDone) }
func (p process) Release()    { p.held.Release() }
