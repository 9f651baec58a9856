package handoff

import (
	"errors"
	"fmt"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff/protocol"
)

// blame is an error that is one session's alone: without it the step would have been taken.
type blame struct {
	u     string
	cause backend.Cause
	err   error
}

func (b *blame) Error() string { return fmt.Sprintf("session %s: %v", b.u, b.err) }
func (b *blame) Unwrap() error { return b.err }

// said is the ERROR line of an ircd, if that is what an error is. One that wraps protocol.ErrBroken is not: the ircd's answer is not known.
func said(err error) (*protocol.Error, bool) {
	var e *protocol.Error
	if errors.As(err, &e) && !errors.Is(err, protocol.ErrBroken) {
		return e, true
	}
	return nil, false
}

// errStranger is what a peer says of somebody who is not in this move: nothing is done to him.
var errStranger = errors.New("it names a user who is not in this move")
