package admit

import (
	"encoding/binary"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/ircferry/ircferry/internal/config"
)

func addr4(n int) netip.Addr {
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], 0x0a000000+uint32(n))
	return netip.AddrFrom4(a)
}

func mustAdmit(t *testing.T, l *limiter, a netip.Addr, now time.Time, want Refusal) {
	t.Helper()
	if got := l.admit(a, now); got != want {
		t.Errorf("admit %v: %v, want %v", a, got, want)
	}
}

func TestLimitConnections(t *testing.T) {
	l := newLimiter(config.Limits{Connections: 2})
	now := time.Now()
	for i, want := range []Refusal{Admitted, Admitted, RefusedConnections} {
		if got := l.enter(); got != want {
			t.Errorf("connection %d: %v, want %v", i, got, want)
		}
	}
	l.leave()
	if got := l.enter(); got != Admitted {
		t.Errorf("after one left: %v", got)
	}
	l.set(config.Limits{}, now)
	if got := l.enter(); got != Admitted {
		t.Errorf("without a limit: %v", got)
	}
	l.set(config.Limits{Connections: 3}, now)
	if got := l.enter(); got != RefusedConnections {
		t.Errorf("the counts did not survive two reloads: %v", got)
	}
}

func TestLimitPerIP(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		name string
		in   []string
		want []Refusal
	}{
		{"equal", []string{"192.0.2.1", "192.0.2.1", "192.0.2.1"}, []Refusal{Admitted, Admitted, RefusedPerIP}},
		{"different", []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"}, []Refusal{Admitted, Admitted, Admitted}},
		{"v4-mapped", []string{"192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1"}, []Refusal{Admitted, Admitted, RefusedPerIP}},
		{"one /64", []string{"2001:db8::1", "2001:db8::2", "2001:db8:0:0:ffff::3"}, []Refusal{Admitted, Admitted, RefusedPerIP}},
		{"other /64", []string{"2001:db8::1", "2001:db8::2", "2001:db8:0:1::3"}, []Refusal{Admitted, Admitted, Admitted}},
		{"zones", []string{"fe80::1%eth0", "fe80::1%eth1", "fe80::1"}, []Refusal{Admitted, Admitted, RefusedPerIP}},
		{"exempt", []string{"127.0.0.1", "127.0.0.1", "127.0.0.1"}, []Refusal{Admitted, Admitted, Admitted}},
		{"exempt and v4-mapped", []string{"::ffff:127.0.0.1", "127.0.0.1", "::ffff:127.0.0.1"}, []Refusal{Admitted, Admitted, Admitted}},
		{"exempt /64", []string{"2001:db8:1::1", "2001:db8:1::1", "2001:db8:1::1"}, []Refusal{Admitted, Admitted, Admitted}},
	} {
		l := newLimiter(config.Limits{PerIP: 2, Exempt: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("2001:db8:1::/48")}})
		for i, a := range c.in {
			if got := l.admit(netip.MustParseAddr(a), now); got != c.want[i] {
				t.Errorf("%s: %s: %v, want %v", c.name, a, got, c.want[i])
			}
		}
		for i, a := range c.in {
			if c.want[i] == Admitted {
				l.release(netip.MustParseAddr(a))
			}
		}
		if len(l.sources) != 0 {
			t.Errorf("%s: %d sources after all have left", c.name, len(l.sources))
		}
	}
}

func TestLimitRate(t *testing.T) {
	a, exempt := addr4(1), netip.MustParseAddr("127.0.0.1")
	l := newLimiter(config.Limits{PerIPRate: config.Rate{N: 32, Per: 10 * time.Minute}, Exempt: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	now := l.epoch
	for i := range 40 {
		want := Admitted
		if i >= 32 {
			want = RefusedRate
		}
		mustAdmit(t, l, a, now, want)
		if want == Admitted {
			l.release(a)
		}
		mustAdmit(t, l, exempt, now, Admitted)
		l.release(exempt)
	}
	mustAdmit(t, l, addr4(2), now, Admitted)
	now = now.Add(10*time.Minute/32 + time.Millisecond)
	mustAdmit(t, l, a, now, Admitted)
	mustAdmit(t, l, a, now, RefusedRate)
	now = now.Add(11 * time.Minute)
	for range 32 {
		mustAdmit(t, l, a, now, Admitted)
	}
	mustAdmit(t, l, a, now, RefusedRate)

	// A shorter period takes effect for those who had used up a longer one.
	l.set(config.Limits{PerIPRate: config.Rate{N: 10, Per: 10 * time.Second}}, now)
	mustAdmit(t, l, a, now, RefusedRate)
	now = now.Add(time.Second)
	mustAdmit(t, l, a, now, Admitted)
}

func TestReloadKeepsCounts(t *testing.T) {
	now := time.Now()
	a := netip.MustParseAddr("192.0.2.1")
	exempt := []netip.Prefix{netip.PrefixFrom(a, 32)}
	l := newLimiter(config.Limits{Exempt: exempt})
	for range 5 {
		mustAdmit(t, l, a, now, Admitted)
	}
	l.set(config.Limits{PerIP: 5}, now)
	mustAdmit(t, l, a, now, RefusedPerIP)
	l.release(a)
	mustAdmit(t, l, a, now, Admitted)
	l.set(config.Limits{PerIP: 1, Exempt: exempt}, now)
	mustAdmit(t, l, a, now, Admitted)
	for range 6 {
		l.release(a)
	}
	l.set(config.Limits{PerIP: 1}, now)
	mustAdmit(t, l, a, now, Admitted)
	mustAdmit(t, l, a, now, RefusedPerIP)
}

// Memory stays flat under a flood from one address, from ten thousand, and from ever new ones.
func TestFloodsAreForgotten(t *testing.T) {
	l := newLimiter(config.Limits{PerIP: 16, PerIPRate: config.Rate{N: 32, Per: 10 * time.Minute}})
	now := l.epoch
	for range 10_000 {
		if l.admit(addr4(1), now) == Admitted {
			l.release(addr4(1))
		}
	}
	if n := len(l.sources); n != 1 {
		t.Errorf("%d sources after a flood from one", n)
	}
	for i := range 10_000 {
		mustAdmit(t, l, addr4(i+2), now, Admitted)
		l.release(addr4(i + 2))
	}
	now = now.Add(11 * time.Minute)
	mustAdmit(t, l, addr4(1), now, Admitted)
	if n := len(l.sources); n > 1 {
		t.Errorf("%d sources 11 minutes after a flood from ten thousand", n)
	}

	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	most := 0
	for i := range 300_000 {
		mustAdmit(t, l, addr4(100_000+i), now, Admitted)
		l.release(addr4(100_000 + i))
		most = max(most, len(l.sources))
	}
	if most > 2*maxSources {
		t.Errorf("%d sources in a flood from 300,000", most)
	}
	now = now.Add(11 * time.Minute)
	mustAdmit(t, l, addr4(2), now, Admitted)
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 1<<20 {
		t.Errorf("%d bytes more after the flood", grown)
	}
	if s := l.sources[addr4(1)]; s.open != 1 {
		t.Errorf("who is connected was forgotten: %+v", s)
	}
}

func TestLimiterFromSeveralLoops(t *testing.T) {
	l := newLimiter(config.Limits{Connections: 50, PerIP: 3})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := range 5000 {
				a := addr4((n + i) % 7)
				if l.enter() != Admitted {
					continue
				}
				if l.admit(a, time.Now()) == Admitted {
					l.release(a)
				}
				l.leave()
			}
		})
	}
	wg.Wait()
	if l.open != 0 || len(l.sources) != 0 {
		t.Errorf("%d open, %d sources left", l.open, len(l.sources))
	}
}

func BenchmarkAdmit(b *testing.B) {
	l := newLimiter(config.Limits{Connections: 20_000, PerIP: 16, PerIPRate: config.Rate{N: 1 << 30, Per: 10 * time.Minute},
		Exempt: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	for i := 0; b.Loop(); i++ {
		a := addr4(i & 4095)
		l.enter()
		l.admit(a, time.Now())
		l.release(a)
		l.leave()
	}
}
