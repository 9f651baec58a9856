package admit

import (
	"net/netip"
	"time"
)

// Token is what a client holds of the limits of the listener that it came in by. Whoever has the client carries it, as one value that is not
// copied further, and gives it back once. It is used by one goroutine at a time.
type Token struct {
	place *place
	held  held
}

type held uint8

const (
	heldConnection held = 1 << iota // one of limits.connections
	heldAddress                     // one of limits.per_ip of its address
	heldNothing                     // it was given back
)

// Listener is where the client came in.
func (t *Token) Listener() *Listener { return t.place.listener }

// Owner is what the Set's owner of the listener's name was when the client came in.
func (t *Token) Owner() any { return t.place.owner }

// Counts reports whether the client is one of the listener's connections.
func (t *Token) Counts() bool { return t.held&heldConnection != 0 }

// enter takes one of the listener's connections.
func (t *Token) enter() Refusal {
	refusal := t.place.listener.limits.enter()
	if refusal == Admitted {
		t.held |= heldConnection
	}
	return refusal
}

// Admit applies the limits by address, once it is certain: at once, or behind the PROXY header.
func (t *Token) Admit(addr netip.Addr, now time.Time) Refusal {
	refusal := t.place.listener.limits.admit(addr, now)
	if refusal == Admitted {
		t.held |= heldAddress
	}
	return refusal
}

// Release gives back what the client holds, if anything; addr is the one that it was admitted with. A second Release panics.
func (t *Token) Release(addr netip.Addr) {
	held := t.held
	t.held = heldNothing
	limits := t.place.listener.limits
	if held&heldNothing != 0 {
		panic("admit: a client was released twice")
	}
	if held&heldAddress != 0 {
		limits.release(addr)
	}
	if held&heldConnection != 0 {
		limits.leave()
	}
}
