package admit

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/ircferry/ircferry/internal/config"
)

// What other proxies count of an address counts here, too, but for those who are exempt, and no longer than it is told.
func TestConnectionsElsewhereCount(t *testing.T) {
	l := newLimiter(config.Limits{PerIP: 4, Exempt: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}})
	now := time.Now()
	a, exempt := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.1")
	in := func(addr netip.Addr) bool {
		_, r := l.admit(0, addr, now)
		return r == Admitted
	}
	l.setElsewhere(map[netip.Addr]int{a: 3, exempt: 9})
	if first, second := in(a), in(a); !first || second {
		t.Error("with three elsewhere, not one alone is let in")
	}
	if !in(exempt) || !in(netip.MustParseAddr("192.0.2.2")) {
		t.Error("somebody else is refused")
	}
	if len(l.heavy()) != 0 {
		t.Errorf("heavy with one of four: %v", l.heavy())
	}
	l.setElsewhere(nil)
	for range 3 {
		if !in(a) {
			t.Error("alone again, not four are let in")
		}
	}
	if in(a) {
		t.Error("alone again, five are let in")
	}
	if h := l.heavy(); len(h) != 1 || h[a] != 4 {
		t.Errorf("heavy: %v", h)
	}
	l.limits.PerIP = 0
	if !in(a) || len(l.heavy()) != 0 {
		t.Error("without a limit there is one")
	}
}

// Of a flood the heaviest are told, and no more than the bound.
func TestHeavyIsBounded(t *testing.T) {
	l := newLimiter(config.Limits{PerIP: 2})
	addr := func(n uint32) netip.Addr { return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, n))) }
	for n := range uint32(maxHeavy + 500) {
		l.sources[addr(n)] = source{open: 2 + int32(n%2)}
	}
	h := l.heavy()
	if len(h) != maxHeavy {
		t.Fatalf("%d are told", len(h))
	}
	for n := range uint32(maxHeavy + 500) {
		if n%2 == 1 && h[addr(n)] != 3 {
			t.Fatalf("%v is not told", addr(n))
		}
	}
}
