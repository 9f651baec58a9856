package backend

import "time"

// AdminState is what the operator wants of a backend.
type AdminState string

const (
	Ready AdminState = "ready" // takes clients
	Drain AdminState = "drain" // takes no new clients, those it has stay or are moved
	Maint AdminState = "maint" // out of service: takes nobody, is not checked
)

func (a AdminState) String() string { return string(a) }

// OperState is what the checks say of a backend.
type OperState string

const (
	Up   OperState = "up"
	Down OperState = "down"
)

func (o OperState) String() string { return string(o) }

// Event is one change that an operator wants to see.
type Event struct {
	Time    time.Time
	Backend string // "pool/name"
	Kind    string // up | down | admin | serving | hello
	Text    string // the cause, for a person
}
