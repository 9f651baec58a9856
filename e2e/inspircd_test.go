//go:build e2e

package e2e

import (
	"testing"
)

// TestInspIRCdNative: the operator's first steps.
func TestInspIRCdNative(t *testing.T) {
	t.Parallel() // most of it is waiting for InspIRCd's tick of a second
	a := startInspIRCd(t, "a")
	firstSteps(t, a.backend(), a.restart)
}
