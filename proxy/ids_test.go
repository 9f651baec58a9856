package proxy

import (
	"testing"

	"github.com/ircferry/ircferry/internal/config"
)

// A stream id is never used again, also not by another process.
func TestStreamIDsAreNotUsedAgainByASuccessor(t *testing.T) {
	plaintextOnly(t)
	a := newNative(t, "a")
	r := newRig(t, rigOptions{backends: []config.Backend{a.config()}, loops: 1})
	r.up("main/a")
	seen := map[string]bool{}
	come := func() {
		t.Helper()
		x := r.user(a, "ann")
		if seen[x.u] {
			t.Errorf("%s twice", x.u)
		}
		seen[x.u] = true
		x.client.Close()
		x.server.Close()
		r.eventually("nobody", func() bool { return r.Counts().Sessions == 0 })
	}
	for range 3 {
		come()
	}
	for range 2 { // the second without a session since the first
		r.handOver(nil)
	}
	for range 3 {
		come()
	}
}
