// Package leg is one side of a session: a descriptor with what is known of its edges, its TLS, what waits to be sent on it, and the ends of both
// directions. The client's side, the backend's and a stream that a move has attached are all legs, so that reading, writing, flushing, sealing,
// opening, close_notify, FIN, re-arming and closing exist once each.
//
// A Leg knows nothing of IRC, of states or of moves, and calls nobody: what a read brought and how a direction ended is in what it answers. Its wire
// state, all that another process would need to go on with it, lies in the session's wire.Slot; the Leg itself is what only this process needs.
//
// All methods are for the goroutine of the loop that owns the session.
package leg

import (
	"github.com/ircferry/ircferry/proxy/loop"
	"github.com/ircferry/ircferry/proxy/wire"
)

// Loop is what the legs of one event loop share.
type Loop struct {
	*loop.Loop
	Shard  *wire.Shard
	Keeper Keeper // nil: nobody keeps descriptors

	dropped []uint64 // tags whose descriptors were closed in this turn
	redo    *redo    // see Redo

	Step   func(name string) // nil; for the tests of a process that ends between two steps
	room   loop.Iovecs
	pieces [len(loop.Iovecs{})][]byte
}

func (lp *Loop) at(step string) {
	if lp.Step != nil {
		lp.Step(step)
	}
}

// Side says which fields of the slot are a leg's.
type Side uint8

const (
	Client   Side = iota // ToClient waits for it: bytes as they are on the wire, records if it has TLS
	Backend              // ToBackend waits for it: whole lines of plaintext; records that the socket did not take are in the annex
	Attached             // a stream that is to become the Backend: plaintext, and nothing waits for it
)

// flag is what a leg knows of its descriptor.
type flag uint16

const (
	more       flag = 1 << iota // there may be something to read: an edge was seen and not followed to its end
	ending                      // the kernel has the peer's FIN: read on to the end, also behind a short read
	full                        // the kernel took less than offered: wait for the edge
	watched                     // Writable is reported
	connecting                  // the connect is not decided
	deaf                        // a write has failed: what the peer has said is still read, nothing more is written
	gone                        // it was there and is closed
	reset                       // the peer's direction ended with an error, not with a FIN
	saidBye                     // close_notify was sealed
	kept                        // bytes that came with the end of a TLS handshake wait to be opened
)

// Leg is one side of a session.
type Leg struct {
	Slot  *wire.Slot
	key   loop.Key // under which its events come
	fd    int32
	flags flag
	side  Side
}

// New is a leg that is not open.
func New(slot *wire.Slot, side Side) Leg { return Leg{Slot: slot, fd: -1, side: side} }

func (l *Leg) has(f flag) bool { return l.flags&f != 0 }

// Side is whose the leg is.
func (l *Leg) Side() Side { return l.side }

// FD is the descriptor, -1 if there is none. It stays the leg's.
func (l *Leg) FD() int { return int(l.fd) }

// IsOpen reports whether the leg has a descriptor.
func (l *Leg) IsOpen() bool { return l.fd >= 0 }

// Gone reports whether the leg was open and is closed.
func (l *Leg) Gone() bool { return l.has(gone) }

// Deaf reports whether nothing can be written any more because a write has failed.
func (l *Leg) Deaf() bool { return l.has(deaf) }

// Full reports whether the kernel takes nothing until it says so.
func (l *Leg) Full() bool { return l.has(full) }

// More reports whether there may be something to read; Ending whether the kernel has the peer's FIN, or an error.
func (l *Leg) More() bool   { return l.has(more) && l.fd >= 0 }
func (l *Leg) Ending() bool { return l.has(ending) }

// WasReset reports whether the peer's direction ended with an error.
func (l *Leg) WasReset() bool { return l.has(reset) }

// LookAgain has the next Read try, whatever edges were seen.
func (l *Leg) LookAgain() { l.flags |= more }

// TryAgain has the next write try, although the last one fell short: an edge may be under way.
func (l *Leg) TryAgain() { l.flags &^= full }

// Ended reports whether the peer has ended its direction, as far as NoMore was told.
func (l *Leg) Ended() bool { return l.Slot.Flags&l.seen() != 0 }

// SentEnd reports whether we have ended ours, or cannot use it any more.
func (l *Leg) SentEnd() bool { return l.Slot.Flags&l.sent() != 0 || l.has(deaf) }

// seen and sent are the slot's flags for the ends of the leg's directions. An attached stream has none: it is dropped when it ends.

func (l *Leg) seen() wire.Flags {
	return [...]wire.Flags{wire.ClientFINSeen, wire.BackendFINSeen, 0}[l.side]
}

func (l *Leg) sent() wire.Flags {
	return [...]wire.Flags{wire.ClientFINSent, wire.BackendFINSent, 0}[l.side]
}

// TLS is the leg's annex, 0 for plaintext.
func (l *Leg) TLS() wire.TLSID {
	switch l.side {
	case Client:
		return l.Slot.ClientTLS
	case Backend:
		return l.Slot.BackendTLS
	}
	return 0
}

func (l *Leg) setTLS(id wire.TLSID) {
	if l.side == Client {
		l.Slot.ClientTLS = id
	} else {
		l.Slot.BackendTLS = id
	}
}

// pending is what was counted as sent and not taken by the kernel, in the form of the wire. A backend without TLS has none: its lines count when
// they are taken.
func (l *Leg) pending(lp *Loop) *wire.Queue {
	switch {
	case l.side == Client:
		return &l.Slot.ToClient
	case l.TLS() != 0:
		return &lp.Shard.TLS(l.TLS()).Unsent
	}
	return nil
}

// Waiting is how many bytes are counted as sent and not taken by the kernel.
func (l *Leg) Waiting(lp *Loop) int {
	if q := l.pending(lp); q != nil {
		return q.Len()
	}
	return 0
}

// count adds to the slot's count of what was sent to the peer, before it is sealed.
func (l *Leg) count(n int) {
	switch l.side {
	case Client:
		l.Slot.ClientOut += uint64(n)
	case Backend:
		l.Slot.BackendIn += uint64(n)
	}
}
