package cluster

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

// A fifth of all packets is lost, and nobody is called lost: a connection is tried where packets do not come.
func TestLostPacketsLoseNobody(t *testing.T) {
	r := newRig(t)
	var all []*member
	for _, name := range []string{"a", "b", "c"} {
		m := r.start(r.config(name, all...))
		m.door.drop.Store(new(func() bool { return rand.IntN(5) == 0 }))
		all = append(all, m)
	}
	for _, m := range all {
		for _, o := range all {
			m.knows(o.name, Alive)
		}
	}
	time.Sleep(15 * time.Second) // fifteen rounds of probes of each
	for _, m := range all {
		for _, o := range all {
			if n := m.heard("lost", o.name); n > 0 {
				t.Errorf("%s has called %s lost %d times", m.name, o.name, n)
			}
		}
	}
}

func TestAllowed(t *testing.T) {
	var a allowed
	a.set(nil)
	if !a.has(netip.MustParseAddr("203.0.113.9")) {
		t.Error("without networks somebody is not let in")
	}
	a.set([]netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("fe80::/10")})
	for text, want := range map[string]bool{"192.0.2.7": true, "::ffff:192.0.2.7": true, "192.0.3.7": false, "fe80::1%eth0": true, "2001:db8::1": false} {
		if got := a.has(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}
