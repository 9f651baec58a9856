package proxy

import (
	"net/netip"
	"time"

	"github.com/ircferry/ircferry/proxy/loop"
	"github.com/ircferry/ircferry/proxy/wire"
)

// flag is what a session knows of its two descriptors; what a successor process would have to know too is in wire.Flags.
type flag uint32

const (
	clientMore     flag = 1 << iota // there may be something to read from the client: an edge was seen and not followed to its end
	backendMore                     // the same of the backend
	clientEnding                    // the kernel has the client's FIN: read on to the end, also behind a short read
	backendEnding                   // the same of the backend
	clientFull                      // the kernel took less than offered: wait for the edge
	backendFull                     // the same of the backend
	clientWatched                   // Writable is reported for the client
	backendWatched                  // the same for the backend
	clientDeaf                      // a write to the client failed: what it has said is still read, nothing more is written
	clientGone                      // the client's descriptor is closed: only the backend's end is awaited
	dismissed                       // the client got its last words: nothing more is relayed to it or taken from it
	midLine                         // the last byte queued or written for the client is not an LF
	askedAgain                      // another go was asked of the loop
	pacing                          // what was held in a park goes out slowly
	entered                         // counted in the listener's connections
	admitted                        // counted for its address
	owesRefusal                     // 691 is to be said when the backend's present line is complete
	securing                        // the client is to have TLS and has not yet
	saidBye                         // close_notify was sealed for the client
	backendReset                    // the backend's stream ended with an error, not with a FIN
	shakingBackend                  // one of peer.shaking
)

// The ports of a session's keys.
const (
	portClient   uint8 = iota // also the session itself: timers, another go
	portBackend               // the stream in use
	portAttached              // the stream of a move
	portOld      = 254        // the worker's timer for streams that were left
	portListener = 255
)

// session is one client from accept to close. It is what an idle client costs, together with its wire.Slot: keep it small.
// What only some sessions have, and for a while, hangs on reg and mv.
type session struct {
	slot  *wire.Slot
	lst   *listener
	tally *tally   // of the listener's name when it came in
	peer  *peer    // whose stream backendFD is; nil: none
	last  *peer    // the peer before it was nil, for the log
	reg   *opening // until 001
	mv    *moving  // in a move

	started  time.Duration // loop time of the accept
	deadline time.Duration // loop time when something is to happen, 0: nothing. What, is by state
	timerAt  time.Duration // when the earliest timer in the wheel comes, 0: none

	clientFD  int32
	backendFD int32
	index     uint32 // in the worker's table
	gen       uint32 // of that place
	slotID    wire.SlotID
	flags     flag
	state     State
	reason    CloseReason // first cause of the end
	errorAt   uint8       // how much of "ERROR " the backend's present line has shown; see spotError
	tlsWhy    tlsWhy      // why the client's TLS ended the session, or the backend's its stream

	client, local endpoint
}

// endpoint is a netip.AddrPort without its pointer.
type endpoint struct {
	addr [16]byte
	port uint16
}

func toEndpoint(a netip.AddrPort) endpoint { return endpoint{a.Addr().As16(), a.Port()} }

func (e endpoint) addrPort() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(e.addr).Unmap(), e.port)
}

func (s *session) has(f flag) bool { return s.flags&f != 0 }
func (s *session) set(f flag)      { s.flags |= f }
func (s *session) unset(f flag)    { s.flags &^= f }

func (s *session) registered() bool { return s.slot.Flags.Has(wire.Registered) }

func (s *session) key(port uint8) loop.Key { return loop.MakeKey(s.index, s.gen, port) }
