package admit

import (
	"net/netip"
	"time"
)

// Token is what a client holds of the limits of the listener that it came in by. Whoever has the client carries it, or its Place and what it
// holds, and gives it back once. It is used by one goroutine at a time.
type Token struct {
	place *Place
	held  held
}

// TokenOf is the token of a client that came in at a place and holds so much.
func TokenOf(at *Place, has uint8) Token { return Token{place: at, held: held(has)} }

// Place is where the client came in.
func (t *Token) Place() *Place { return t.place }

// Held is what the client holds; the values mean the same to each process.
func (t *Token) Held() uint8 { return uint8(t.held) }

// Listener is where the client came in.
func (t *Token) Listener() *Listener { return t.place.listener }

// Listener is the one of that name and configuration.
func (p *Place) Listener() *Listener { return p.listener }

// Owner is what the Set's owner of the listener's name was when the client came in.
func (p *Place) Owner() any { return p.owner }

// ID is the place's number, unique in the Set and kept by successors.
func (p *Place) ID() uint32 { return p.id }

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
