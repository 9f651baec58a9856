package proxy

import (
	"net/netip"
	"time"

	"github.com/ircferry/ircferry/proxy/admit"
	"github.com/ircferry/ircferry/proxy/leg"
	"github.com/ircferry/ircferry/proxy/loop"
	"github.com/ircferry/ircferry/proxy/wire"
)

// flag is what a session knows of itself beside its state; what it knows of its two sides is in their legs and in wire.Flags. The flags are in the
// slot's Marks, where a process that comes after this one finds them: their values are part of the arena's layout.
type flag uint16

const (
	dismissed      flag = 1 << iota // the client got its last words: nothing more is relayed to it or taken from it
	midLine                         // the last byte sent to the client is not an LF
	askedAgain                      // another go was asked of the loop
	pacing                          // what was held in a park goes out slowly
	securing                        // the client is to have TLS and has not yet
	shakingBackend                  // one of peer.shaking
	opensHere                       // reg is there
	typing                          // not registered, and it is the client's turn: it was refused a nick or the like, or has said nothing for long
	holding                         // lines wait in the queue until USER was seen (webirc_after)
	keepsBytes                      // bytes of the client are in reg, and nowhere else
	unkept                          // the keeper has no room for the client, which waits
)

// The ports of a session's keys.
const (
	portClient   uint8 = iota // also the session itself: timers, another go
	portBackend               // the stream in use
	portAttached              // the stream of a move
	portOld      = 254        // the worker's timer for streams that were left
	portListener = 255
)

// session is one client from accept to close. It is what an idle client costs, together with its wire.Slot, which has all of it that another process
// would need: keep both small. What only some sessions have, and for a while, hangs on reg and mv. All methods are for the goroutine of its worker's loop.
type session struct {
	// What the way of a byte touches comes first: one line of the processor's cache, since there are as many as deliveries.
	w       *worker
	client  leg.Leg
	backend leg.Leg // not open while there is no stream
	slotID  wire.SlotID
	state   State

	reg   *opening     // until 001: see has(opensHere)
	mv    *moving      // in a move
	place *admit.Place // where it came in; what it holds of the limits there is in the slot
	peer  *peer        // whose stream the backend's leg is; nil: none

	deadline time.Duration // loop time when something is to happen, 0: nothing. What, is the phase's
	timerAt  time.Duration // when the earliest timer in the wheel comes, 0: none

	index uint32 // in the worker's table
	gen   uint32 // of that place

	_ [8]byte // so that sessions begin where lines of the cache do
}

func toEndpoint(a netip.AddrPort) wire.Endpoint {
	return wire.Endpoint{Addr: a.Addr().As16(), Port: a.Port()}
}

func addrPort(e wire.Endpoint) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(e.Addr).Unmap(), e.Port)
}

func (s *session) has(f flag) bool { return s.slot().Marks&uint16(f) != 0 }
func (s *session) set(f flag)      { s.slot().Marks |= uint16(f) }
func (s *session) unset(f flag)    { s.slot().Marks &^= uint16(f) }

// remote and local are the ends of the client's connection, or what its PROXY header says.
func (s *session) remote() netip.AddrPort { return addrPort(s.slot().Remote) }
func (s *session) local() netip.AddrPort  { return addrPort(s.slot().Local) }

// started is the loop time of the accept.
func (s *session) started() time.Duration { return time.Duration(s.slot().Started) }

// reason is the first cause of the end, tlsWhy why the client's TLS ended the session, or the backend's its stream.
func (s *session) reason() CloseReason { return CloseReason(s.slot().Reason) }
func (s *session) tlsWhy() tlsWhy      { return tlsWhy(s.slot().TLSWhy) }

func (s *session) endsFor(r CloseReason) { s.slot().Reason = uint8(r) }
func (s *session) endsOfTLS(why tlsWhy)  { s.slot().TLSWhy = uint8(why) }

// saidError reports whether the ircd's present line is an ERROR line.
func (s *session) saidError() bool { return errorSpot(s.slot().ErrorAt).saidError() }

// token is what the client holds of its listener's limits; hold notes that it is another.
func (s *session) token() admit.Token { return admit.TokenOf(s.place, s.slot().Held) }

func (s *session) hold(t admit.Token) {
	s.place = t.Place()
	s.slot().Place, s.slot().Held = s.place.ID(), t.Held()
}

// slot is the session's wire state.
func (s *session) slot() *wire.Slot { return s.client.Slot }

// lst is the listener that the client came in by, tally the counts of the name that it had then.
func (s *session) lst() *admit.Listener { return s.place.Listener() }
func (s *session) tally() *tally        { return s.place.Owner().(*tally) }

// saidNothing reports whether the client has not said a byte, beside a PROXY header and a whole TLS handshake. A balancer's check may leave in
// the middle of that: HAProxy resets behind its last message.
func (s *session) saidNothing() bool {
	if s.reg == nil {
		return s.slot().ClientIn == 0 && s.tlsWhy() == 0
	}
	return s.slot().ClientIn == s.reg.before && (s.reg.check || s.reg.fed() == 0 && s.tlsWhy() == 0)
}

func (s *session) registered() bool { return s.slot().Flags.Has(wire.Registered) }

func (s *session) key(port uint8) loop.Key { return loop.MakeKey(s.index, s.gen, port) }

// within sets when the state's time is over, from now; a later call replaces it.
func (s *session) within(d time.Duration) { s.until(s.w.loop.Now() + d) }

func (s *session) until(at time.Duration) {
	s.deadline = at
	if s.timerAt == 0 || s.timerAt > at {
		s.timerAt = at
		s.w.loop.After(at-s.w.loop.Now(), s.key(portClient))
	}
}

func (s *session) noDeadline() { s.deadline = 0 }

// expired is told that a timer of the session has come: its deadline may be another by now.
func (s *session) expired() {
	now := s.w.loop.Now()
	if s.timerAt <= now {
		s.timerAt = 0 // else another timer is still to come
	}
	switch {
	case s.deadline == 0:
	case s.deadline > now:
		s.until(s.deadline)
	default:
		s.deadline = 0
		s.phase().timeOver(s)
	}
}

// again asks the loop for another go, behind the others.
func (s *session) again() {
	if !s.has(askedAgain) {
		s.set(askedAgain)
		s.w.loop.Again(s.key(portClient))
	}
}
