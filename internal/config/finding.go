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
}

func (f Finding) String() string { return fmt.Sprintf("%s: %s: %s", f.Severity, f.Key, f.Text) }

// HasErrors reports whether any of the findings stops a start or a reload.
func HasErrors(fs []Finding) bool {
	return slices.ContainsFunc(fs, func(f Finding) bool { return f.Severity == SeverityError })
}
