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
	had, got := l.admit(0, a, now)
	if got != want || (had == clientHas) != (want == Admitted) {
		t.Errorf("admit %v: %v, has %b, want %v", a, got, had, want)
	}
}

// clientHas is what a client has that was admitted.
const clientHas = heldConnection | heldAddress

func leave(l *limiter, a netip.Addr) { l.release(clientHas, a) }

func TestLimitConnections(t *testing.T) {
	l := newLimiter(config.Limits{Connections: 2, PerIPRate: config.Rate{N: 1, Per: time.Hour}})
	now := time.Now()
	for i, want := range []Refusal{Admitted, Admitted, RefusedConnections} {
		mustAdmit(t, l, addr4(i), now, want)
	}
	leave(l, addr4(0))
	mustAdmit(t, l, addr4(2), now, Admitted) // what was refused has not counted for the rate
	l.set(config.Limits{}, now)
	mustAdmit(t, l, addr4(3), now, Admitted)
	l.set(config.Limits{Connections: 3}, now)
	mustAdmit(t, l, addr4(4), now, RefusedConnections) // the counts survive two reloads
}

// Connections whose header is to come, or that are about no client, take no client's place, up to a bound; then they count as clients do.
func TestConnectionsBesideTheLimit(t *testing.T) {
	l := newLimiter(config.Limits{Connections: 2})
	now := time.Now()
	var all []held
	for i := range config.SpareConnections + 3 {
		had, got := l.await()
		want, has := Admitted, heldSpare
		if i >= config.SpareConnections {
			has = heldConnection
		}
		if i == config.SpareConnections+2 {
			want, has = RefusedConnections, 0
		}
		if got != want || had != has {
			t.Errorf("connection %d: %v, has %b, want %v, %b", i, got, had, want, has)
		}
		all = append(all, had)
	}
	if had, got := l.admit(all[0], addr4(1), now); got != RefusedConnections || had != heldSpare {
		t.Errorf("a client over the limit: %v, has %b", got, had)
	}
	if had, got := l.admit(all[config.SpareConnections], addr4(1), now); got != Admitted || had != clientHas {
		t.Errorf("a client that has its place: %v, has %b", got, had)
	}
	l.release(all[config.SpareConnections+1], addr4(9))
	had, got := l.admit(all[0], addr4(2), now)
	if got != Admitted || had != clientHas {
		t.Errorf("a client for which there is room: %v, has %b", got, had)
	}
	if open, spare := l.counts(); open != 2 || spare != config.SpareConnections-1 {
		t.Errorf("%d connections and %d beside", open, spare)
	}
	for _, has := range all[1:config.SpareConnections] {
		l.release(has, addr4(9))
	}
	leave(l, addr4(1))
	leave(l, addr4(2))
	if open, spare := l.counts(); open != 0 || spare != 0 || len(l.sources) != 0 {
		t.Errorf("%d connections, %d beside and %d sources are left", open, spare, len(l.sources))
	}
}

// What was never granted cannot be given back in silence.
func TestLimiterReleasesNothingTwice(t *testing.T) {
	for _, had := range []held{heldSpare, heldConnection, heldAddress, clientHas} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%b is given back, and was never granted", had)
				}
			}()
			newLimiter(config.Limits{}).release(had, addr4(1))
		}()
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
			if _, got := l.admit(0, netip.MustParseAddr(a), now); got != c.want[i] {
				t.Errorf("%s: %s: %v, want %v", c.name, a, got, c.want[i])
			}
		}
		for i, a := range c.in {
			if c.want[i] == Admitted {
				leave(l, netip.MustParseAddr(a))
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
			leave(l, a)
		}
		mustAdmit(t, l, exempt, now, Admitted)
		leave(l, exempt)
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
	leave(l, a)
	mustAdmit(t, l, a, now, Admitted)
	l.set(config.Limits{PerIP: 1, Exempt: exempt}, now)
	mustAdmit(t, l, a, now, Admitted)
	for range 6 {
		leave(l, a)
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
		if had, r := l.admit(0, addr4(1), now); r == Admitted {
			l.release(had, addr4(1))
		}
	}
	if n := len(l.sources); n != 1 {
		t.Errorf("%d sources after a flood from one", n)
	}
	for i := range 10_000 {
		mustAdmit(t, l, addr4(i+2), now, Admitted)
		leave(l, addr4(i+2))
	}
	now = now.Add(11 * time.Minute)
	mustAdmit(t, l, addr4(1), now, Admitted)
	if n := len(l.sources); n > 1 {
		t.Errorf("%d sources 11 minutes after a flood from ten thousand", n)
	}

	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	greedy := addr4(99_999)
	for range 32 {
		mustAdmit(t, l, greedy, now, Admitted)
		leave(l, greedy)
	}
	most := 0
	for i := range 300_000 {
		mustAdmit(t, l, addr4(100_000+i), now, Admitted)
		leave(l, addr4(100_000+i))
		most = max(most, len(l.sources))
	}
	mustAdmit(t, l, greedy, now, RefusedRate) // who has used the most of its rate is forgotten last
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

// What is expired in a small map is no reason to make another for each client.
func TestSweepOfFewAllocatesNothing(t *testing.T) {
	l := newLimiter(config.Limits{PerIPRate: config.Rate{N: 60, Per: time.Minute}})
	now := l.epoch
	mustAdmit(t, l, addr4(1), now, Admitted)
	if n := testing.AllocsPerRun(100, func() {
		now = now.Add(sweepEvery)
		leave(l, addr4(1))
		mustAdmit(t, l, addr4(1), now, Admitted)
	}); n > 0 {
		t.Errorf("%v allocations for each", n)
	}
}

func TestLimiterFromSeveralLoops(t *testing.T) {
	l := newLimiter(config.Limits{Connections: 50, PerIP: 3})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := range 5000 {
				a := addr4((n + i) % 7)
				var had held
				if n%2 == 0 {
					had, _ = l.await()
				}
				had, _ = l.admit(had, a, time.Now())
				l.release(had, a)
			}
		})
	}
	wg.Wait()
	if l.open != 0 || l.spare != 0 || len(l.sources) != 0 {
		t.Errorf("%d open, %d beside, %d sources left", l.open, l.spare, len(l.sources))
	}
}

func BenchmarkAdmit(b *testing.B) {
	l := newLimiter(config.Limits{Connections: 20_000, PerIP: 16, PerIPRate: config.Rate{N: 1 << 30, Per: 10 * time.Minute},
		Exempt: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	for i := 0; b.Loop(); i++ {
		a := addr4(i & 4095)
		had, _ := l.admit(0, a, time.Now())
		l.release(had, a)
	}
}
