package handoff

import (
	"context"

	"github.com/ircferry/ircferry/backend"
)

// Links is what a move asks of those who hold the server links (HANDOFF/1, section 14); cmd wires the two, as it does Sessions. All may be
// called from any goroutine.
type Links interface {
	// Of lists the links of the backend ("pool/name") that are up: what either side says is passed, or, behind a move, what was kept still goes in.
	Of(backend string) []backend.Link

	// Hold keeps what the peers of all links of the backend say, each from a line's end on, as soon as what was kept in a move before has gone in, and
	// returns when its ircd has read all that was passed (a fence on each link, at once). What the ircd says is still passed. Until the HeldLinks are at their
	// end nobody new is linked through here with the backend: who dials waits or is closed, and so is a link whose handshake is under way.
	// An error names the link, and nothing has changed then; ctx is the time for all. A backend without links has HeldLinks that are empty.
	Hold(ctx context.Context, backend string) (HeldLinks, error)
}

// HeldLinks are the server links of one move. Peers are read all the time, up to the bound of each link, and their PINGs answered whenever the
// ircd cannot; a link that ends or fills its bound is given up by itself, which Links and Ends show. Only the move's goroutine calls it,
// but a call that has not ended with its ctx is left alone.
//
//	held --Cut--> cut --Part--> parted --Replay, for each--> replayed --Live--> live
//	  |            |               ^                            |
//	  +---Resume---+--> as before  +----------Unplay------------+
//
// A replace replays before Part: the old process's side stays untouched until it is known that it has let its users go.
type HeldLinks interface {
	// Links lists them in the order in which they are to be replayed, without those that were given up.
	Links() []backend.Link

	// Cut returns when the marker of tx, the EXPORT's, has come on each link. What stands before it was passed to the peer. What the old process
	// says behind it is neither read nor passed: a Resume needs it, since a world whose freeze is over goes on unasked. An error names the
	// link; Resume is the way back then.
	Cut(ctx context.Context, tx string) error

	// Resume makes all links raw again with the old process: the marker is dropped, what it has said behind it is passed, what was kept of the peers
	// goes in. Sides of a replay are closed. Only before the old process has let its users go. Idempotent.
	Resume()

	// Part closes the old process's side of all links, unread: it has let its users go (RELEASED), or has ended. Idempotent.
	Part()

	// Replay dials the servers' port of r.To, plays one link into the process there and returns when its last fence was answered. All that
	// the process says on it is dropped, up to the marker of r.Tx, for which it waits from here on. An error says that the link is not up there;
	// the peer is held on, and it may be asked again.
	Replay(ctx context.Context, r backend.Replay) error

	// Unplay closes the replayed sides, of a try that has failed; the peers are held on. Idempotent.
	Unplay()

	// Live is behind COMMITTED. On each link that was replayed it waits for the marker, tells the peer of links that were given up (a split) and
	// of quits, passes what the process has said behind the marker, gives the process what was kept of the peer, and is raw from then on. A link
	// whose marker does not come until ctx is over, or that was not replayed, is given up. It answers for every link that was ever held.
	Live(ctx context.Context, quits []backend.Quit) []backend.LinkEnd

	// GiveUp closes both sides of that one link, without a word on it; the other peers are told at Live. One that is not held any more is left alone.
	GiveUp(name string, cause error)

	// Ends tells how it stands with every link that was ever held.
	Ends() []backend.LinkEnd

	// End is the end of the move, whatever became of it: links that are neither live nor resumed are given up with the cause, and new ones
	// may come. Idempotent; the move calls it always.
	End(cause error)
}
