package backend

import (
	"fmt"
	"time"

	"github.com/ircferry/ircferry/handoff/protocol"
)

// AdminState is what the operator wants of a backend. Each leads to each by SetAdmin, and all are remembered over restarts.
//
//	ready <-> drain <-> maint <-> ready
type AdminState string

const (
	Ready AdminState = "ready" // takes clients
	Drain AdminState = "drain" // takes no new clients, those that it has stay or are moved
	Maint AdminState = "maint" // out of service: takes nobody, is not checked
)

func (a AdminState) String() string { return string(a) }

// ParseAdmin reads an AdminState.
func ParseAdmin(s string) (AdminState, error) {
	switch a := AdminState(s); a {
	case Ready, Drain, Maint:
		return a, nil
	}
	return "", fmt.Errorf("admin state %q is not one of ready, drain, maint", s)
}

// adminStates in the order in which metrics list them.
var adminStates = []AdminState{Ready, Drain, Maint}

// OperState is what the checks say of a backend; health.go has the transitions.
type OperState string

const (
	Up   OperState = "up"
	Down OperState = "down"
)

func (o OperState) String() string { return string(o) }

// What an Event tells: fixed words.
const (
	EventUp        = "up"        // the checks succeed
	EventDown      = "down"      // the checks, or the connects of clients, fail
	EventAdmin     = "admin"     // an operator, or a move, changed what is wanted
	EventServing   = "serving"   // a standalone pool serves from here now
	EventHello     = "hello"     // a native backend is a new process (another epoch)
	EventAddress   = "address"   // clients' streams go to another address of the same name now
	EventIdentity  = "identity"  // the ircd does not believe who a client is, or does again
	EventRefusing  = "refusing"  // clients in a row were turned away before they were registered
	EventWelcoming = "welcoming" // after that one was let in
	EventAdded     = "added"     // a reload brought it
	EventRemoved   = "removed"   // a reload took it away; its sessions stay until they end
)

// Event is one change that an operator wants to see.
type Event struct {
	Time    time.Time
	Backend string // "pool/name"
	Kind    string // EventUp and the others
	Text    string // for a person; the cause
}

// Hello is what a native backend said of itself. Its SKey is a secret of the streams, never logged.
type Hello = protocol.Hello

// Status is a picture of a backend for listings.
type Status struct {
	Pool, Name  string
	Native      bool
	Where       string // the control address of a native backend, else its client address as configured
	Stream      string // where clients' streams go now; "" as long as that is not known
	Identity    string
	Admin       AdminState
	Oper        OperState
	Checked     bool   // false: no check has ended yet, Oper says nothing
	Cause       string // of Oper, for a person
	Since       time.Time
	Weight      int
	Backup      bool
	Serving     bool // only in standalone pools
	Removed     bool // not in the configuration any more, sessions are left
	Sessions    int
	LastCheck   time.Time
	CheckTook   time.Duration
	CheckError  string // of the last check
	Doubt       string // what shows that the ircd does not believe who a client is; "": nothing
	RefusedFrom int    // addresses of the clients that were turned away in the present row
	Refusing    string // that clients in a row were turned away, with the ircd's words; "": they were not
	Software    string // and version, from HELLO
	Epoch       string // from HELLO
	Users       int    // from HELLO
	Unmovable   int
	Channels    int
	Links       int
}
