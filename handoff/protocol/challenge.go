package protocol

import (
	"context"
	"errors"
	"net"
)

// ErrOldIrcd is a HELLO that could not be proven because the ircd does not know how: it is older than the proof, or has no pass. Or it
// is somebody else, who has bound its port.
var ErrOldIrcd = errors.New("the ircd does not prove that it knows the pass")

// ErrImpostor is a CHALLENGE with a wrong proof.
var ErrImpostor = errors.New("who answers there does not know the ircd's pass")

// Exposed reports whether a secret that is said on the connection could be heard by who has bound the ircd's port: TCP in plaintext.
// A unix socket is guarded by its directory, TLS by its certificates.
func (c *Control) Exposed() bool {
	_, tcp := c.conn.(*net.TCPConn)
	return tcp
}

// HelloProven is Hello for a connection that is Exposed: the ircd has to prove that it knows h.Pass before we do, and it is not said. If
// the ircd does not do that, the error is ErrOldIrcd and the connection is of no use any more.
func (c *Control) HelloProven(ctx context.Context, h Hello) (Hello, error) {
	pass, nonce := h.Pass, NewSecret()
	h.V, h.Role, h.Pass = Version, "coordinator", ""
	hello := h.Message()
	hello.Set("nonce", nonce)
	m, err := c.ask(ctx, hello, "CHALLENGE", "")
	if err != nil {
		if HasCode(err, CodeDenied) || c.last == "HELLO" {
			return Hello{}, c.breakWith(ErrOldIrcd)
		}
		return Hello{}, err
	}
	theirs := m.Get("nonce")
	if !ValidTx(theirs) || !proves(m.Get("proof"), pass, "CHALLENGE", nonce, theirs) {
		return Hello{}, c.breakWith(ErrImpostor)
	}
	hello.Set("proof", proofOf(pass, "HELLO", nonce, theirs, h.Name))
	if m, err = c.ask(ctx, hello, "HELLO", ""); err != nil {
		return Hello{}, err
	}
	c.proven = true
	return c.heard(ctx, m)
}
