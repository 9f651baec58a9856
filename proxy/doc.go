// Package proxy holds the clients: listeners, sessions, and the bytes between a client and its backend.
//
// # Who owns what
//
// Each event loop is a worker, and a session belongs to one worker from accept to close: only its goroutine touches the session,
// its legs, its slot in the wire arena and everything else that hangs on it. There is no lock on the way of a byte.
// Everybody else posts work to the loops and waits for the answer; what comes back are copies.
//
// A session has two legs (package leg), the client's and the backend's, and while a move attaches a new stream a third one. A leg reads and writes,
// opens and seals, and answers how its peer ended; it knows no states. What the session does with what it answers is the phase's: the
// states with their diagram are in state.go, each has a file phase_<state>.go, and the table is in phase.go. The data path (relay.go) asks
// the phase. Lines are cut by package lines, where lines matter; else whole lines pass as bytes.
//
// Who ends a session only marks it (finish). What it has is given back when the turn of the loop is over (bury), so nobody can take a session away
// from a caller. What a move has stays until the move lets it go, whatever its client does (fail, cutOff).
//
// The goroutines: one for each loop (worker.run), one that writes what the loops log (endLog.write), one that checks the loops and gives memory
// back (Proxy.keepBooks), one that makes room in a full arena (relief.run); Close waits for these. Each TLS handshake under way has one
// of its own, which owns nothing of the session and ends with it (package handshake).
//
// # The way of a line
//
// From a client over TLS to its backend, function by function:
//
//	worker.Ready            an event of the loop, by its key
//	session.clientEvent     the leg notes the edge
//	session.pullClient      how much may be read, by the phase; once, or to the end
//	Leg.Read                the kernel's bytes, into the staging buffer
//	Shard.Open              the TLS records that are whole
//	relaying.fromClient     is there anything that an ircd must not see?
//	Framer.Filter           only if there may be, or a half line waits
//	session.toBackend       whole lines go, a half line waits in the queue
//	Leg.Offer               to the kernel; a backend with TLS gets records
//	session.flushBackend    what waited, when the kernel has room
//
// And back:
//
//	worker.Ready
//	session.backendEvent
//	session.pullBackend
//	Leg.Read
//	relaying.fromBackend
//	session.relay           counts; is it an ERROR line, is it 001?
//	session.toClient
//	Leg.Send                all of it, behind what waits
//	Shard.Seal              into records, once
//	session.flushClient     what waited, when the kernel has room
//
// The way of a session before that: bind, accept and limits (package admit), arrived (accept.go), header, handshake, waiting, dialing, backend_handshake, opening; and in a
// move, which package handoff drives through the methods of Proxy in moves.go: frozen, parked, splicing, reopening. Each method is one batch for
// each loop (batch.go), and each session of it gets exactly one outcome.
//
// # What is promised
//
//   - Client bytes reach the backend as whole lines, unchanged and in order; a half line waits here. Backend bytes reach the client
//     as they come.
//   - STARTTLS never reaches a backend, also not behind a bare CR, and nothing else is kept from it.
//   - What is queued for a TLS client is records, sealed once and sent in order or never; a client gets close_notify before the FIN.
//   - Memory per session is bounded: a client is not read while either side has not taken 64 KiB, a backend not while the client has not, and what
//     we say ourselves counts (say.go). No queue has more than maxQueue, in the arena itself. A full arena ends the session that holds most
//     (relief.go), never the one that asks next.
//   - Each session ends with one CloseReason: log field and metric label alike.
//   - The counts given by Freeze are exact to the byte.
package proxy
