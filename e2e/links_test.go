//go:build e2e

package e2e

import (
	"testing"
)

// TestLinksDirect tries networks without ircferry, so that a red test elsewhere is known to be about ircferry.
func TestLinksDirect(t *testing.T) {
	onBoth(t, func(t *testing.T, v *inspVersion) {
		for _, p := range peers() {
			t.Run(p.name, func(t *testing.T) {
				t.Parallel()
				n := newNet(t, v, p, 1, true)
				t.Log(n.root.ask("LINKS"))
			})
		}
	})
}

// peers are all that is linked in a test.
func peers() []peer {
	all := []peer{{name: "leaf", leaf: true}}
	for _, k := range allServices() {
		all = append(all, peer{name: k.String(), services: k})
	}
	return all
}
