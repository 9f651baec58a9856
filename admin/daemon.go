package admin

import (
	"context"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff"
)

// What the API asks of the daemon. Every method may be called from many goroutines at a time; what is returned is the
// caller's to keep.

// Moves is the coordinator.
type Moves interface {
	// Drain begins a replace and answers its id. A guard answers *handoff.Refused, and nothing was changed.
	Drain(handoff.Request) (id string, err error)
	// Hold begins to pull and park a backend's users (Kind hold or restart).
	Hold(handoff.Request) (id string, err error)
	// Pause begins to hold the clients of a backend for r.Timeout.
	Pause(r handoff.Request) (id string, err error)
	// Resume ends the pause of a backend.
	Resume(pool, name string) (id string, err error)
	// Release pushes the users of a parked move into to, "" is where they came from; the same move goes on.
	Release(pool, name, to, actor string) (id string, err error)
	// Cancel reverts a move before its point of no return, and pushes back the users of a parked one.
	Cancel(id string) error
	// DryRun says what a move would do, and changes nothing.
	DryRun(ctx context.Context, r handoff.Request) (handoff.Plan, error)
	// Moves lists what is known of moves, newest first.
	Moves() []handoff.Report
	// Watch answers a move's present report and a channel that is closed at its next change.
	Watch(id string) (r handoff.Report, changed <-chan struct{}, ok bool)
}

// Pools is the backends.
type Pools interface {
	// Pools lists the pools in the order of their names, with their backends in configuration order.
	Pools() []Pool
	// SetAdmin sets what the operator wants of a backend, and remembers it over restarts.
	SetAdmin(pool, name string, state backend.AdminState) error
}

// Sessions is the proxy.
type Sessions interface {
	Listeners() []Listener
	Counts() Counts
	// Sessions lists the sessions with a stream at a backend ("pool/name"), "" lists all; in no particular order.
	Sessions(ctx context.Context, backendName string) ([]Session, error)
	Session(ctx context.Context, id string) (Session, bool, error)
}

// Finder asks the native backends who has a nick. Backends that could not be asked are in err; found holds what the others know.
type Finder interface {
	Find(ctx context.Context, nick string) (found []Found, err error)
}

// Process is the daemon as a whole.
type Process interface {
	// Info fills Version, Instance, PID, State, Started, Config and Descriptors, and what the process itself has to warn of.
	Info() Status
	// Reload builds a new configuration and swaps it in whole, or changes nothing.
	Reload(ctx context.Context) (Reloaded, error)
}
