package protocol

import (
	"context"
	"net"
)

// Ircd is what an ircd in Go fills in to speak HANDOFF/1; a Server does the rest. All methods may be called from several goroutines
// at once, but for what is said below; none may call the Server. An error that is an *Error is told to the coordinator as it is, any
// other as CodeInternal without its text.
type Ircd interface {
	// Hello tells the ircd's facts. Unmovable counts the registered users whose stream id does not begin with the coordinator's
	// name and one of . - _ (Movable says so); V, Stream, SKey, Feat and the limits are the Server's.
	Hello(coordinator string) Hello

	// Find returns the stream id and the exact nick of a local user, by the ircd's casemapping.
	Find(nick string) (u, exact string, ok bool)

	// Open takes in a new client, whose stream id must be new (CodeUInUse). It may refuse by an error. The Server then writes OPENED
	// and calls serve, which owns conn and must not keep the Server's goroutine longer than the ircd likes: rest is what was read of the
	// client already. The byte counts begin with rest.
	Open(o Open) (serve func(conn net.Conn, rest []byte), err error)

	Source
	Destination
}

// Source gives users away. Freeze is called when no other Freeze is open; after one that returned nil, exactly one Resume or Release
// follows, perhaps from another goroutine.
type Source interface {
	// Freeze stops the world: when it returns nil no client, link, timer or signal is served, and each selected stream that the ircd
	// knows was read up to In (ctx is over after the time that the standard gives for it: CodeBehind with the U). Bytes read by it
	// are not run. Output was written as far as the sockets take it. On error the world goes on.
	Freeze(ctx context.Context, sel []Selection) error

	// Export emits CHAN, LIST, USER and MEMB records of the selected users that are registered, a CHAN before its LISTs, and both a
	// CHAN and a USER before their MEMBs. After Freeze, USER records have in, out, rq and sq. If x.Peek, the world was not stopped: Export holds it
	// for itself while it emits (emit does not block then), and leaves the four out. An error of emit ends it.
	Export(x ExportScope, emit func(Message) error) (unmovable int, err error)

	// Resume lets the world go on as if nothing had been.
	Resume()

	// Release forgets the users that Freeze selected, registered or not, closes their streams, and lets the world go on. With quit
	// they quit visibly, with "" nobody is told and nothing is written to them.
	Release(quit string)
}

// ExportScope says what Export tells.
type ExportScope struct {
	Coordinator string
	Select      []Selection
	Links       []LinkSelection // held: LINK, BURST and REMOTE are told too, see Linker
	Peek        bool
}

// Destination takes users in, one transaction at a time: Begin, perhaps Prepare, and then Commit or Abort. A Commit that returned an
// error has changed nothing.
type Destination interface {
	// Begin opens a transaction, or refuses it. With kick, a channel that lives here and is younger than its record is no conflict: it is
	// warned of (code replaced), and in the turn of Commit its members are visibly kicked by the server, with that reason, before the
	// record's channel takes its place. With "" it is a conflict. An Ircd may leave kick alone.
	Begin(tx, kick string) error

	// Prepare builds all, with nothing visible or live, and reserves the nicks. The records have passed Validate, their names are
	// unique and refer to each other; they have no in, out, rq or sq. Conflicts are told, not returned as an error.
	Prepare(records []Message) (Prepared, error)

	// Commit makes the prepared users live on their streams in one turn; it owns the connections if it returns nil. The first bytes that
	// it writes to each are AppendLive's, and the byte counts begin after them. A user who has no stream in the map is made live too
	// and quits in the same turn, visibly, when all are live (COMMIT missing=quit). If it is quiet no LIVE is written, and the counts begin
	// at once.
	Commit(streams map[string]net.Conn, quiet bool) error

	// Abort drops what Begin and Prepare made.
	Abort()
}

// Holder is implemented by an Ircd that wants to put attached streams into a form of its own as they come, and not all at once in the
// pause of COMMIT. Hold owns conn if it returns nil. What it returns is given to Commit; until then the Server writes ATTACHED to it, looks
// whether it is open (by syscall.Conn), or closes it.
type Holder interface {
	Hold(conn net.Conn) (net.Conn, error)
}

// Remainer is implemented by an Ircd that can tell who would be left alone: feat "remain". Remain is called between Export and
// Resume or Release. It counts the registered users who are not exported, share a channel with one who is, and are Movable for the coordinator.
type Remainer interface {
	Remain(coordinator string) int
}

// Movable reports whether the stream id is one of this coordinator's. A coordinator without a name is asked for everybody.
func Movable(u, coordinator string) bool {
	if u == "" || coordinator == "" {
		return u != ""
	}
	if len(u) <= len(coordinator) || u[:len(coordinator)] != coordinator {
		return false
	}
	c := u[len(coordinator)]
	return c == '.' || c == '-' || c == '_'
}
