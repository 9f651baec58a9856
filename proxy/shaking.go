package proxy

import (
	"errors"

	"github.com/ircferry/ircferry/proxy/handshake"
)

// What the handshakes with clients and with backends share.

const (
	// handshakesPerCore compute at a time, so that a storm of reconnects leaves the loops their share.
	handshakesPerCore = 2

	// handshakeRoom is how much of a peer is read before its handshake is over: a chain of certificates, and what it says already behind the
	// Finished. It fits into the shard's staging buffer.
	handshakeRoom = 60 << 10
)

// shaking is a TLS handshake under way.
type shaking struct {
	*handshake.Handshake
	fed   int
	spoke bool   // something of ours was written
	first []byte // what was fed, as long as another process could begin anew with it: nothing was written, and it is at most replayRoom
}

// replayRoom is enough for the ClientHello of all clients that were seen, post-quantum key shares included.
const replayRoom = 4 << 10

// feed takes bytes in. Nothing more is read when they are handshakeRoom; the handshake may still end well, as what is behind the Finished
// counts too, but it is not waited for.
func (k *shaking) feed(p []byte) {
	k.fed += len(p)
	if !k.spoke && k.fed <= replayRoom {
		k.first = append(k.first, p...)
	} else {
		k.first = nil
	}
	k.Feed(p)
	if k.fed >= handshakeRoom {
		k.End(handshake.ErrTooMuch)
	}
}

// fed is how much the handshake under way has got.
func (r *opening) fed() int {
	if r == nil || r.shake == nil {
		return 0
	}
	return r.shake.fed
}

// shaking reports whether a handshake has begun: crypto/tls has some of it.
func (r *opening) shaking() bool { return r.shake != nil && r.shake.Begun() }

// errOver ends a handshake whose session has ended.
var errOver = errors.New("session is over")
