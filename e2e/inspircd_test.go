//go:build e2e

package e2e

import (
	"testing"
)

// TestInspIRCdNative: the operator's first steps.
func TestInspIRCdNative(t *testing.T) { onBoth(t, inspIRCdNative) }

func inspIRCdNative(t *testing.T, v *inspVersion) {
	a := v.start(t, "a")
	firstSteps(t, a.backend(), a.restart)
}
