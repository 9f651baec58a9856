package config

import (
	"fmt"
	"slices"
)

// Severity says whether a finding stops a start or a reload.
type Severity string

const (
	SeverityError   Severity = "error"
	SeverityWarning Severity = "warning"
	SeverityOK      Severity = "ok" // nothing wrong: what was found there
)

// Finding is one thing about a configuration that cannot be, or should not be.
type Finding struct {
	Severity Severity `json:"severity"`
	Key      string   `json:"key"` // "pools.main.backends[1].weight"
	Text     string   `json:"text"`

	// Bearable errors stop a check, and no daemon: it runs with them, worse than it was meant to, which is better than not at all.
	Bearable bool `json:"-"`
}

func (f Finding) String() string { return fmt.Sprintf("%s: %s: %s", f.Severity, f.Key, f.Text) }

// Stops reports whether a daemon cannot run with it.
func (f Finding) Stops() bool { return f.Severity == SeverityError && !f.Bearable }

// HasErrors reports whether any of the findings stops a start or a reload.
func HasErrors(fs []Finding) bool {
	return slices.ContainsFunc(fs, func(f Finding) bool { return f.Severity == SeverityError })
}
