//go:build e2e

package e2e

import (
	"testing"
)

// TestInspIRCdNative: the operator's first steps.
func TestInspIRCdNative(t *testing.T) {
	a := startInspIRCd(t, "a")
	firstSteps(t, a.backend(), a.restart)
}
