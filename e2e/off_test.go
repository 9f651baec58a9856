//go:build !e2e

package e2e

import "testing"

func TestEndToEnd(t *testing.T) {
	t.Skip("end-to-end tests run real clients and ircds: make e2e")
}
