package backend

import (
	"net/netip"
	"time"

	"github.com/ircferry/ircferry/handoff/protocol"
)

// What the coordinator of a move and the proxy say to each other about streams. Sessions are named by their stream id U,
// which lasts from accept to close, across backends.

// SessionRef is one session that has a stream at a backend.
type SessionRef struct {
	U          string
	Registered bool // 001 was seen on the stream
}

// AttachTo is where new streams for a move go to.
type AttachTo struct {
	Backend string         // "pool/name" of the destination
	Stream  netip.AddrPort // its stream address, from HELLO
	SKey    string         // its stream secret, from HELLO; never logged
	Proof   bool           // the secret is proven and not said, and the ircd's answer has to prove it too (HANDOFF/1, feat proof)
	Tx      string
	Tok     string // the transaction's secret; never logged
}

// Line is the ATTACH line of a session, and the proof that its answer must have if it is not "". It holds secrets: never log it.
func (to AttachTo) Line(u string) (line []byte, proof string) {
	a := protocol.Attach{SKey: to.SKey, Tx: to.Tx, U: u, Tok: to.Tok}
	if to.Proof {
		a.Nonce = protocol.NewSecret()
		proof = protocol.AttachedProof(a)
	}
	return protocol.AppendAttach(nil, a), proof
}

// Frozen is what a stream had carried when its session froze. Both counts begin after the LF of the OPEN or LIVE line
// (handoff/protocol/HANDOFF.md, in and out).
type Frozen struct {
	U          string
	In         uint64 // bytes written to the backend and accepted by the kernel
	Out        uint64 // bytes read from the backend so far
	Registered bool
}

// Streams is what the kernel knows of streams of sessions in a move, whether they were read to there or not. Streams that we have closed
// ourselves are in neither count.
type Streams struct {
	Ended int // at EOF, or reset, by the other end
	Open  int
}

// Held is a session that a move had when the process ended that carried it out, as the next one finds it.
type Held struct {
	U          string
	From       string // "pool/name" of the backend whose move it is
	Parked     bool   // it has no stream; else it is frozen on the one that it had
	Registered bool
	Attached   bool   // a new stream is there, beside
	At         string // "pool/name" if that has the old one's place already, and LIVE is awaited
}

// Cut says up to where the old stream must be read.
type Cut struct {
	U   string
	Out uint64
}

// Splice puts a session's attached stream in the place of the old one.
type Splice struct {
	U    string
	RQ   []byte // input that the old ircd had read and not run: first thing on the new stream after LIVE
	Live bool   // the ircd has said for all that they are live (COMMIT quiet): the stream is raw already, there is no LIVE line
	SQ   []byte // output that the old ircd had not written: goes to the client before anything of the new stream
}

// Moved is the outcome of one session in one step of a move. Cause is a fixed word, empty if the step was taken.
type Moved struct {
	U         string
	Cause     Cause
	Pause     time.Duration // freeze to thaw; set by Splice, Thaw and Reopen
	HeldLines int           // client lines that waited here and went out after the thaw
	HeldBytes int
}

// Cause is why a session did not take a step: a fixed word for reports, logs and metrics.
type Cause string

const (
	CauseGone         Cause = "gone"         // the session ended before the step (client or ircd closed it)
	CauseAttach       Cause = "attach"       // the new stream could not be attached
	CauseBehind       Cause = "behind"       // the old stream ended before the count that its ircd told
	CauseCount        Cause = "count"        // more was read from the old stream than its ircd says it wrote
	CauseOverflow     Cause = "sendq"        // over 1 MiB that the client has not read: closed at the splice
	CauseNoLive       Cause = "no-live"      // no LIVE on the new stream in time
	CauseRegistration Cause = "registration" // not registered and cannot be opened anew: closed, asked to reconnect
	CauseTimeout      Cause = "timeout"      // the step's time was over
	CauseBackendGone  Cause = "backend-gone" // nobody took the users within the park time
	CauseNotExported  Cause = "not-exported" // registered, but the source's records do not have it
	CauseConflict     Cause = "conflict"     // the destination cannot take the user, and there is nothing to go back to
	CauseOperator     Cause = "operator"     // no move: an operator closes it, because its ircd has no driver
	CauseDetached     Cause = "detached"     // the attached stream was lost before the splice
)
