package backend

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/ircferry/ircferry/handoff/protocol"
)

// exposed reports whether who binds the ircd's control port while it is down would be told its secret: TCP in plaintext. There the ircd has to prove
// that it knows it, before we do.
func (pl plan) exposed() bool {
	return pl.network == "tcp" && pl.tls == nil && pl.password != ""
}

// greet says HELLO on a connection that dial makes. An ircd that is too old to prove itself ends that one, and is asked in the old way on another,
// unless it has proven itself before: then it is not the one that it was.
func (pl plan) greet(ctx context.Context, name string, dial func() (*protocol.Control, error)) (*protocol.Control, Hello, error) {
	h := protocol.Hello{Name: name, Pass: pl.password}
	control, err := dial()
	if err != nil {
		return nil, Hello{}, err
	}
	if !pl.exposed() {
		got, err := control.Hello(ctx, h)
		return control, got, pl.explain(err)
	}
	got, err := control.HelloProven(ctx, h)
	switch {
	case err == nil:
		pl.proven.Store(true)
	case !errors.Is(err, protocol.ErrOldIrcd):
	case pl.proven.Load():
		err = fmt.Errorf("%w, and it did before: an older version was put in its place, or somebody else has its port; if it is meant, take the backend out of the "+
			"configuration, reload, and put it back", err)
	default:
		control.Close()
		if control, err = dial(); err != nil {
			return nil, Hello{}, err
		}
		got, err = control.Hello(ctx, h)
	}
	return control, got, pl.explain(err)
}

// over is what greet dials with where a connection is there already: it comes first, and then another one to the same place. control is told of each.
func (pl plan) over(ctx context.Context, way reach, conn net.Conn, control func(net.Conn) *protocol.Control) func() (*protocol.Control, error) {
	at, first := conn.RemoteAddr(), true
	return func() (*protocol.Control, error) {
		c := conn
		if !first {
			var err error
			if c, err = way.dial(ctx, at.Network(), at.String()); err != nil {
				return nil, err
			}
		}
		first = false
		c, err := pl.secure(ctx, c)
		if err != nil {
			return nil, err
		}
		return control(c), nil
	}
}

// unproven says what a native backend cannot prove, and what that means; "" if it can.
func (pl plan) unproven(h Hello) string {
	switch {
	case !h.Can(protocol.FeatProof):
		return "does not prove on its streams that it is the ircd: who binds its port while it is down is sent what clients say, their passwords too; update its handoff module"
	case pl.network == "tcp" && pl.tls == nil && pl.password == "":
		return "is believed without a secret: who binds its control port while it is down is taken for it; use a unix socket, tls, or handoff_pass_file"
	}
	return ""
}
