package admit

import "net/netip"

// Client is a connection that was accepted, with what is known of it so far.
type Client struct {
	FD      int            // non-blocking; it belongs to whom the client is handed to, also if it is refused
	Addr    netip.AddrPort // the peer: who it is about, or the balancer whose PROXY header is to come
	Local   netip.AddrPort // where it has connected to; not valid if it is refused
	Token   Token          // what it holds of the limits
	Header  bool           // a PROXY header is to come: the limits are applied behind it, see Token.Admit
	Refusal Refusal        // why it is not let in; Admitted: it is
}

// Refusal is why a client is not let in.
type Refusal uint8

const (
	Admitted           Refusal = iota
	RefusedConnections         // limits.connections of the listener
	RefusedPerIP               // limits.per_ip
	RefusedRate                // limits.per_ip_rate
)

var refusalNames = [...]string{"admitted", "connections", "per_ip", "per_ip_rate"}

func (r Refusal) String() string { return refusalNames[r] }
