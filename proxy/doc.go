// Package proxy holds the clients: listeners, sessions, and the bytes between a client and its backend.
//
// The way of a session, and of the reading: SetListeners binds (listener.go), a loop accepts and applies limits (accept.go), reads
// the PROXY header (header.go), shakes hands with clients of TLS listeners (secure.go, with package handshake), chooses a backend or
// waits (choose.go), connects, by TLS where that is configured (securebackend.go), and says who the client is (connect.go), watches
// the registration (register.go), relays (relay.go: events; tobackend.go and toclient.go: bytes; records.go: TLS), and ends the
// session with one reason (ends.go; clientend.go and backendend.go where one side began it). A move takes the session off its backend
// and puts it onto another: freeze.go, attach.go, park.go, splice.go, reopen.go, driven by package handoff through the methods of
// Proxy in moves.go, each of which is one batch for each loop (batch.go).
//
// # Who owns what
//
// Each event loop is a worker, and a session belongs to one worker from accept to close: only its goroutine touches the session,
// both its descriptors, its slot in the wire arena and everything else that hangs on it. There is no lock on the way of a byte.
// Everybody else posts work to the loops and waits for the answer; what comes back are copies.
//
// The goroutines: one for each loop (worker.run), one that writes the log of ended sessions (endLog.write), one that checks the
// loops and gives memory back (Proxy.keepBooks); Close waits for these. Each TLS handshake under way has one of its own, which owns
// nothing of the session and ends with it (package handshake).
//
// # What is promised
//
//   - Client bytes reach the backend as whole lines, unchanged and in order; a half line waits here. Backend bytes reach the client
//     as they come.
//   - STARTTLS never reaches a backend (starttls.go).
//   - What is queued for a TLS client is records, sealed once and sent in order or never; a client gets close_notify before the FIN.
//   - Memory per session is bounded: a side is not read while the other has not taken 64 KiB.
//   - Each session ends with one CloseReason: log field and metric label alike.
//   - The counts given by Freeze are exact to the byte.
package proxy
