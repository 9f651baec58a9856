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

// Listener is where the client came in.
func (t *Token) Listener() *Listener { return t.place.listener }

// Owner is what the Set's owner of the listener's name was when the client came in.
func (t *Token) Owner() any { return t.place.owner }

// Admitted reports whether the limits by address let the client in. It is not so while its PROXY header is to come, nor for what is about no
// client.
func (t *Token) Admitted() bool { return t.held&heldAddress != 0 }

// await holds a place until the PROXY header is there.
func (t *Token) await() (r Refusal) {
	t.held, r = t.place.listener.limits.await()
	return r
}

// Admit applies the limits to a client whose address is certain: at once, or by its PROXY header. A connection that is about no client
// (Header.About) is not to be admitted: it keeps the place that it has, and limits.per_ip and per_ip_rate have nothing to say of it.
func (t *Token) Admit(addr netip.Addr, now time.Time) (r Refusal) {
	t.held, r = t.place.listener.limits.admit(t.held, addr, now)
	return r
}

// Release gives back what the client holds, if anything; addr is the one that it was admitted with. A second Release panics.
func (t *Token) Release(addr netip.Addr) {
	held := t.held
	t.held = heldNothing
	if held == heldNothing {
		panic("admit: a client was released twice")
	}
	if held != 0 {
		t.place.listener.limits.release(held, addr)
	}
}
