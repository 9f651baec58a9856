package handoff

import (
	"context"

	"github.com/ircferry/ircferry/backend"
)

// Sessions is what a move asks of the proxy, which implements it; cmd wires the two.
//
// Each call is one batch per event loop and returns when every loop has answered or ctx is over (then the sessions that had not
// taken the step are in the result with CauseTimeout, unless said otherwise). A session that ended meanwhile is answered with
// CauseGone. All may be called from any goroutine; the coordinator calls them one after the other for one move, but does not wait for one
// that hangs: a loop does what it is asked for in the order in which it was asked, and one that comes to Freeze, Attach or Splice when ctx is over does
// not take that step (a session that cannot be spliced in time is closed).
type Sessions interface {
	// Gate makes clients for whom no backend was chosen yet wait; sessions still connecting to a backend of the pool go back
	// and wait too. Ungate lets them all go on. Both are idempotent.
	Gate(pool string)
	Ungate(pool string)

	// On lists the sessions that have a stream at the backend ("pool/name").
	On(ctx context.Context, backendName string) ([]backend.SessionRef, error)

	// AwaitRegistered returns when no session at the backend is about to be registered any more, or when ctx is over; it answers how
	// many still are. One whose ircd has refused what its client said last (433, 461, 410 and the like), or whose client has been silent for 2 s, is
	// not: it has to say more first, and Reopen takes it along.
	AwaitRegistered(ctx context.Context, backendName string) int

	// Attach dials a new stream for each session, sends ATTACH and waits for ATTACHED; at most 64 in flight, a refused or
	// unanswered connect is retried until ctx is over. The stream is kept beside the old one, which goes on.
	// A session that has an attached stream of this transaction already is done.
	Attach(ctx context.Context, us []string, to backend.AttachTo) []backend.Moved

	// Detach closes the attached streams of these sessions, if any.
	Detach(us []string)

	// Freeze stops reading the clients of a backend, writes out what it has of them as far as the kernel takes it, and tells the
	// counts. Nothing is written to these streams until Thaw, Splice or Reopen. Output of the old ircd goes on to the clients.
	// A session whose client has left is still one of the backend until the ircd has closed its side (at most some seconds; the
	// stream gets a FIN, never a bare close, so that the ircd's QUIT is read by all or moves along): else others would keep a
	// member of which no ircd knows. It is frozen and moved like the others, and its FIN is written after LIVE.
	Freeze(ctx context.Context, backendName string) ([]backend.Frozen, error)

	// ReadUp reads each old stream up to its cut; what a client does not take is kept, up to 1 MiB a session.
	ReadUp(ctx context.Context, cuts []backend.Cut) []backend.Moved

	// Park closes the old streams: the sessions have no backend from here on. After 10 s of freeze clients are read again: untagged
	// PINGs are answered with serverName as source, PONGs are dropped, lines are held up to 64 KiB, then they stay in the kernel.
	Park(us []string, serverName string)

	// Await is for frozen sessions that keep their stream for longer than a move: as when parked, clients are read again after 10 s, untagged
	// PINGs are answered with serverName as source, and lines are held up to 64 KiB; PONGs are held too, the ircd may want them. With
	// serverName "" nothing is read and nothing answered. Thaw ends it; what was held goes out slowly.
	Await(us []string, serverName string)

	// Splice closes the old stream if it is still there, waits for LIVE on the attached one, and thaws. A session with
	// CauseOverflow, CauseNoLive or CauseDetached was closed with an ERROR line.
	Splice(ctx context.Context, to string, sessions []backend.Splice) []backend.Moved

	// Thaw goes on with the old backend as if nothing had been, and closes attached streams.
	Thaw(us []string) []backend.Moved

	// Reopen gives sessions that were not registered at the freeze an entirely new stream at the backend: OPEN, their recorded lines,
	// and the same answers, which are swallowed; other answers go to the client. One whose capabilities or login are answered otherwise now, whose
	// ircd had said ERROR, or that has said or heard over 8 KiB is closed with an ERROR line that asks to reconnect (CauseRegistration).
	Reopen(ctx context.Context, us []string, to string) []backend.Moved

	// End closes sessions with an ERROR line; cause is the close reason of the session.
	End(us []string, cause backend.Cause, text string)

	// Streams tells of the old streams of these sessions (next: of the attached ones) whether the ircd's process still holds them, by
	// asking the kernel; nothing is read. It is the evidence that an ircd has ended: see Streams.
	Streams(ctx context.Context, us []string, next bool) backend.Streams

	// Descriptors answers how many descriptors the process has in use and how many it may have.
	Descriptors() (used, limit int)
}
