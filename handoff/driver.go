package handoff

import (
	"context"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff/protocol"
)

// Driver is how the users of a kind of backend are pulled and pushed.
type Driver interface {
	// Connect opens a conversation with the backend's ircd. The caller closes it.
	Connect(ctx context.Context, b *backend.Backend) (Party, error)
}

// Party is one ircd in a move, as source or destination (it can be both). Its questions are those of protocol.Control, which see.
// Not safe for concurrent use. After an error that is no *protocol.Error the conversation is broken: close it, connect
// again and ask Status.
type Party interface {
	Info() protocol.Hello // what it said of itself at the begin

	// As source. Export gives the records of the selected users to emit, in order, with count and sum checked.
	Export(ctx context.Context, r protocol.ExportRequest, emit func(protocol.Message) error) (protocol.End, error)
	Release(ctx context.Context, tx, quit string) error
	Resume(ctx context.Context, tx string) error

	// As destination.
	// Import with links is that of a transaction in which links are replayed (protocol.FeatLinks); Greet is for these.
	Import(ctx context.Context, tx, tok string, lease time.Duration, kick string, links bool) error
	Greet(ctx context.Context, tx string, l protocol.LinkSelection) (protocol.Greeting, error)
	Record(ctx context.Context, rec protocol.Message) error
	Prepare(ctx context.Context, tx string) (protocol.Prepared, error)
	// Commit with quit lets users without a stream quit (protocol.FeatMissing); without it there are none missing. With quiet, which goes
	// with quit only, no LIVE comes on the streams (protocol.FeatQuiet).
	Commit(ctx context.Context, tx string, quit, quiet bool) (protocol.Committed, error)
	Abort(ctx context.Context, tx string) error

	// Process holds the process at the other end, if the kernel knows it; else NoProcess. It outlives the conversation.
	Process() Process

	Status(ctx context.Context, tx string) (protocol.Status, error)
	Close() error
}

// Maker is a Party that makes users again on streams of its own, which it gives to the proxy at Commit. Nothing is attached for it.
type Maker interface {
	Party
	MakesStreams()
}

// Process is an ircd's process as our kernel knows it. The holder calls Release once.
type Process interface {
	Ended() bool // it has certainly ended
	Release()
}

// NoProcess is one that is not known.
var NoProcess Process = noProcess{}

type noProcess struct{}

func (noProcess) Ended() bool { return false }
func (noProcess) Release()    {}

// warnings turns a destination's notes into what a report says.
func warnings(notes []protocol.Note) []Warning {
	out := make([]Warning, len(notes))
	for i, n := range notes {
		out[i] = Warning{Session: n.U, Channel: n.C, Link: n.L, Code: n.Code, Key: n.Key, Text: n.Text}
	}
	return out
}
