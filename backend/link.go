package backend

import (
	"iter"
	"time"
)

// Link is one server link that is held here: both its connections, the peer's and the ircd's, end in the proxy.
type Link struct {
	Name    string // of the server at its other end, as it introduced itself
	SID     string // its id in the network
	Proto   int    // the number of the server protocol that the peer said: 1202, 1205, 1206
	Backend string // whose link it is, "pool/name"
}

// Replay is how one held link comes into a process that does not know it. All lines are of the server protocol.
type Replay struct {
	Link  string // Link.Name
	To    string // the backend, "pool/name"; its port for servers is dialled
	Tx    string // of the marker that COMMIT there writes (HANDOFF/1, section 14)
	Open  []byte // lines by which the peer would introduce itself now, each with its LF. They hold a password: never log or keep them
	Close []byte // lines that end its burst, likewise
	// Burst gives the lines between the two, in order and without their end. It may be walked more than once, up to the end of the
	// move. What it gives must not be changed.
	Burst iter.Seq[string]
}

// Quit is a user of the old process who is not in the new one: the peers are told.
type Quit struct {
	ID     string // the ircd's own id of the user
	Reason string // one line
}

// LinkEnd is how it stands with one link of a move, at its end: how it went.
type LinkEnd struct {
	Link  Link
	Cause error         // why it was given up; nil: it is held still, or live, or as before
	Away  time.Duration // from the cut until it was live again or given up; 0: it was not cut
	Kept  int64         // bytes that the peer said meanwhile
}
