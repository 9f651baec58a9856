package backend

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ircferry/ircferry/internal/config"
)

// all puts somebody at each address.
func (w *world) all(names string) *world {
	for _, n := range strings.Fields(names) {
		w.set(where(n), accepts)
	}
	return w
}

func TestStandaloneServesFromOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld().all("a b c")
		s := w.newSet(t, "", one(relays(config.Standalone, "a:backup", "b", "c")))
		settle()
		p := mainPool(t, s)
		expect(t, "before anybody asked", p.Serving(), "")
		for range 10 {
			expect(t, "chosen", chosen(t, p), "b") // not a: that is a backup
		}
		expect(t, "serving", p.Serving(), "b")
	})
}

// C4.28: no change without a cause. The next one serves when the first is down, and goes on when the first is back.
func TestC4_28StandaloneNeverGoesBackByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld().all("a b c")
		s := w.newSet(t, "", one(relays(config.Standalone, "a", "b:backup", "c")))
		settle()
		p := mainPool(t, s)
		expect(t, "at first", chosen(t, p), "a")
		w.set(where("a"), nil)
		after(6 * time.Second)
		expect(t, "nobody asked yet", p.Serving(), "a")
		expect(t, "a is down", chosen(t, p), "c")
		w.set(where("a"), accepts)
		after(time.Hour)
		expect(t, "a is back", chosen(t, p), "c")
		w.set(where("a"), nil)
		w.set(where("c"), nil)
		after(6 * time.Second)
		expect(t, "only the backup", chosen(t, p), "b")
		w.set(where("b"), nil)
		after(6 * time.Second)
		expect(t, "nobody", chosen(t, p), "none")
		expect(t, "nobody, and who served last", p.Serving(), "b")
		w.set(where("b"), accepts)
		after(4 * time.Second)
		expect(t, "it comes back", chosen(t, p), "b")
	})
}

// A better one whose first check is not over yet is waited for: a start is no failover.
func TestStartIsNoFailover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld().all("b")
		w.set(where("a"), hangs)
		s := w.newSet(t, "", one(relays(config.Standalone, "a", "b")))
		settle()
		p := mainPool(t, s)
		expect(t, "first check under way", chosen(t, p), "none")
		after(time.Second)
		expect(t, "first check failed", chosen(t, p), "b")
	})
}

func TestStandaloneServingIsRememberedOverRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		w := newWorld().all("a b c")
		pools := one(relays(config.Standalone, "a", "b", "c"))

		s := w.newSet(t, dir, pools)
		settle()
		w.set(where("a"), nil)
		after(6 * time.Second)
		expect(t, "chosen by itself", chosen(t, mainPool(t, s)), "b")
		s.Close()
		w.all("a")

		s = w.newSet(t, dir, pools)
		settle()
		expect(t, "after a restart", chosen(t, mainPool(t, s)), "b")
		if err := mainPool(t, s).SetServing("c"); err != nil {
			t.Fatal(err)
		}
		expect(t, "as told", chosen(t, mainPool(t, s)), "c")
		s.Close()

		s = w.newSet(t, dir, pools)
		if got := chosen(t, mainPool(t, s)); got != "none" && got != "c" { // the first check may have been already
			t.Errorf("before the first check: got %q", got)
		}
		settle()
		expect(t, "after another restart", chosen(t, mainPool(t, s)), "c")
		s.Close()

		// The remembered one is down: the next in order.
		w.set(where("c"), nil)
		s = w.newSet(t, dir, pools)
		settle()
		expect(t, "c is down", chosen(t, mainPool(t, s)), "a")
		if err := mainPool(t, s).SetServing("nobody"); err == nil {
			t.Error("served from nobody")
		}
	})
}

// A native backend that is drained while its users are there is waited for: the other ircd is another network.
func TestNobodyIsSentElsewhereWhileANativeBackendIsDrained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.set("/a", newIrcd("ea").accept)
		db := newIrcd("eb")
		w.set("/b", db.accept)
		s := w.newSet(t, "", one(natives("a", "b")))
		settle()
		a, p := get(t, s, "a"), mainPool(t, s)
		expect(t, "at first", chosen(t, p), "a")
		a.SessionDelta(3)
		if err := a.SetAdmin(Drain); err != nil {
			t.Fatal(err)
		}
		expect(t, "drained with users", chosen(t, p), "none")
		expect(t, "serving", p.Serving(), "a")
		if err := a.SetAdmin(Ready); err != nil { // the move was reverted
			t.Fatal(err)
		}
		expect(t, "reverted", chosen(t, p), "a")
		if err := a.SetAdmin(Drain); err != nil {
			t.Fatal(err)
		}
		a.SessionDelta(-3)
		expect(t, "drained and empty", chosen(t, p), "b")
	})
}

// A relay backend that is drained keeps its sessions and takes no new ones.
func TestDrainOfARelayBackendSendsNewClientsElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld().all("a b")
		s := w.newSet(t, "", one(relays(config.Standalone, "a", "b")))
		settle()
		a, p := get(t, s, "a"), mainPool(t, s)
		expect(t, "at first", chosen(t, p), "a")
		a.SessionDelta(3)
		if err := a.SetAdmin(Drain); err != nil {
			t.Fatal(err)
		}
		expect(t, "drained", chosen(t, p), "b")
	})
}

func TestAdminStatesAreRememberedOverRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		w := newWorld().all("a b c")
		pools := one(relays(config.Linked, "a", "b", "c"))
		s := w.newSet(t, dir, pools)
		for name, a := range map[string]AdminState{"a": Drain, "b": Maint} {
			if err := get(t, s, name).SetAdmin(a); err != nil {
				t.Fatal(err)
			}
		}
		s.Close()
		if info, err := os.Stat(filepath.Join(dir, memoryFile)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("file: %v, %v", info.Mode(), err)
		}

		// b is taken out of the configuration by mistake, and comes back.
		s = w.newSet(t, dir, one(relays(config.Linked, "a", "c")))
		if err := get(t, s, "a").SetAdmin(Ready); err != nil {
			t.Fatal(err)
		}
		s.Close()
		s = w.newSet(t, dir, pools)
		for name, a := range map[string]AdminState{"a": Ready, "b": Maint, "c": Ready} {
			expect(t, name, string(get(t, s, name).Admin()), string(a))
		}
		if err := get(t, s, "a").SetAdmin("off"); err == nil {
			t.Error("an admin state that is none was taken")
		}
	})
}

// A state that cannot be written holds all the same, and the caller hears of it.
func TestStateThatCannotBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		w := newWorld().all("a b")
		s := w.newSet(t, dir, one(relays(config.Standalone, "a", "b")))
		settle()
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if err := get(t, s, "a").SetAdmin(Drain); err == nil || !strings.Contains(err.Error(), "a restart will not know it") {
			t.Errorf("got %v", err)
		}
		expect(t, "admin", string(get(t, s, "a").Admin()), "drain")
		if err := mainPool(t, s).SetServing("b"); err == nil {
			t.Error("serving was written")
		}
		expect(t, "chosen", chosen(t, mainPool(t, s)), "b")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := mainPool(t, s).SetServing("b"); err != nil {
			t.Errorf("the next write fails too: %v", err)
		}
	})
}

func TestMemoryThatMakesNoSenseStopsTheStart(t *testing.T) {
	for _, text := range []string{"", "{", `{"version":2}`, `{"version":1,"admin":{"main/a":"off"}}`, "null"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, memoryFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := NewSet(Options{State: dir}); err == nil || !strings.Contains(err.Error(), "move the file away") {
			t.Errorf("%q: got %v", text, err)
			if s != nil {
				s.Close()
			}
		}
	}
}

// Nothing is written as long as there is nothing to remember.
func TestNoFileWithoutAnythingToRemember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		w := newWorld().all("a")
		s := w.newSet(t, dir, one(relays(config.Linked, "a", "b")))
		settle()
		expect(t, "chosen", chosen(t, mainPool(t, s)), "a")
		w.set(where("a"), nil)
		after(time.Minute)
		if all, err := os.ReadDir(dir); err != nil || len(all) != 0 || w.events() == "" {
			t.Errorf("%v, %v", all, err)
		}
	})
}

// A write that fails leaves the old text, and nothing beside it.
func TestFileThatCannotBeReplaced(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, memoryFile)
	if err := os.MkdirAll(filepath.Join(path, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := replaceFile(path, []byte("text")); err == nil {
		t.Error("a directory was replaced")
	}
	if all, err := os.ReadDir(dir); err != nil || len(all) != 1 {
		t.Errorf("%v, %v", all, err)
	}
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"one", "another"} {
		if err := replaceFile(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Errorf("%q, %v", got, err)
		}
	}
	if all, err := os.ReadDir(dir); err != nil || len(all) != 1 {
		t.Errorf("%v, %v", all, err)
	}
}

// tally counts whom n clients get; each becomes a session.
func tally(t *testing.T, p *Pool, n int, client func(i int) netip.Addr) map[string]int {
	t.Helper()
	got := map[string]int{}
	for i := range n {
		b, err := p.Choose(client(i))
		if err != nil {
			t.Fatal(err)
		}
		got[b.Name()]++
		b.SessionDelta(1)
	}
	return got
}

func nth(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}) }

func TestLinkedChoiceByWeight(t *testing.T) {
	for _, c := range []struct {
		balance config.Balance
		slack   int
	}{{config.LeastConn, 1}, {config.RoundRobin, 0}, {config.Source, 60}} {
		t.Run(string(c.balance), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld().all("a b c d e")
				conf := relays(config.Linked, "a:100", "b:200", "c:300", "d:0", "e:backup")
				conf.Balance = c.balance
				s := w.newSet(t, "", one(conf))
				settle()
				got := tally(t, mainPool(t, s), 1200, nth)
				for name, want := range map[string]int{"a": 200, "b": 400, "c": 600, "d": 0, "e": 0} {
					if d := got[name] - want; d > c.slack || d < -c.slack {
						t.Errorf("%s got %d clients, want %d (+-%d): %v", name, got[name], want, c.slack, got)
					}
				}
			})
		})
	}
}

// A storm of clients that are chosen for before any of them is connected is spread too.
func TestLeastConnSpreadsAStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld().all("a b")
		s := w.newSet(t, "", one(relays(config.Linked, "a", "b")))
		settle()
		got := map[string]int{}
		for range 1000 {
			got[chosen(t, mainPool(t, s))]++
		}
		if got["a"] != 500 || got["b"] != 500 {
			t.Errorf("%v", got)
		}
		// Those that never became sessions do not count for ever.
		a, b := get(t, s, "a"), get(t, s, "b")
		b.SessionDelta(500)
		after(time.Minute)
		if a.load() != 0 || b.load() != 500 {
			t.Errorf("load %d and %d", a.load(), b.load())
		}
	})
}

func TestLeastConnPrefersWhoHasFewer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld().all("a b c")
		s := w.newSet(t, "", one(relays(config.Linked, "a", "b", "c:300")))
		settle()
		get(t, s, "a").SessionDelta(10)
		get(t, s, "b").SessionDelta(9)
		get(t, s, "c").SessionDelta(28)
		expect(t, "chosen", chosen(t, mainPool(t, s)), "b")
		get(t, s, "b").SessionDelta(3)
		expect(t, "by weight", chosen(t, mainPool(t, s)), "c")
	})
}

// A client stays where it was when another backend goes, and an IPv6 user is its /64.
func TestSourceIsSticky(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld().all("a b c d")
		conf := relays(config.Linked, "a", "b", "c", "d")
		conf.Balance = config.Source
		s := w.newSet(t, "", one(conf))
		settle()
		p := mainPool(t, s)
		before := map[int]string{}
		for i := range 400 {
			b, err := p.Choose(nth(i))
			if err != nil {
				t.Fatal(err)
			}
			before[i] = b.Name()
		}
		if err := get(t, s, "b").SetAdmin(Drain); err != nil {
			t.Fatal(err)
		}
		for i := range 400 {
			b, err := p.Choose(nth(i))
			if err != nil {
				t.Fatal(err)
			}
			if before[i] != "b" && b.Name() != before[i] {
				t.Fatalf("client %d went from %s to %s although only b left", i, before[i], b.Name())
			}
		}
		x, _ := p.Choose(netip.MustParseAddr("2001:db8:0:1::1"))
		for i := range 50 {
			if y, _ := p.Choose(netip.MustParseAddr(fmt.Sprintf("2001:db8:0:1::%x", i+2))); y != x {
				t.Fatal("two addresses of one /64 are two users")
			}
		}
		v4, _ := p.Choose(netip.MustParseAddr("192.0.2.9"))
		if mapped, _ := p.Choose(netip.MustParseAddr("::ffff:192.0.2.9")); mapped != v4 {
			t.Error("an IPv4 client is another one in IPv6 clothes")
		}
	})
}

func TestBackupOnlyIfNobodyElseIsUsable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld().all("a b c d")
		s := w.newSet(t, "", one(relays(config.Linked, "a:backup", "b", "c", "d:backup")))
		settle()
		p := mainPool(t, s)
		if err := get(t, s, "b").SetAdmin(Drain); err != nil {
			t.Fatal(err)
		}
		get(t, s, "c").SessionDelta(1000)
		expect(t, "one is left", chosen(t, p), "c")
		if err := get(t, s, "c").SetAdmin(Maint); err != nil {
			t.Fatal(err)
		}
		got := tally(t, p, 10, nth)
		if got["a"] != 5 || got["d"] != 5 {
			t.Errorf("backups got %v", got)
		}
		w.set(where("a"), nil)
		w.set(where("d"), nil)
		after(6 * time.Second)
		expect(t, "nobody", chosen(t, p), "none")
	})
}

func TestRoundRobinTakesTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld().all("a b c")
		conf := relays(config.Linked, "a:5", "b:1", "c:1")
		conf.Balance = config.RoundRobin
		s := w.newSet(t, "", one(conf))
		settle()
		var turns string
		for range 14 {
			turns += chosen(t, mainPool(t, s))
		}
		expect(t, "turns", turns, "aabacaaaabacaa")
	})
}

func TestCandidatesForADrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld().all("x")
		conf := natives("a", "b:50", "c:backup", "d:200", "e", "f", "g:50", "h:1000")
		conf.Backends = append(conf.Backends, relays(config.Standalone, "x").Backends...)
		for _, n := range []string{"a", "b", "c", "d", "e", "g", "h"} { // not f
			d := newIrcd(n)
			if n == "h" {
				d.hello.Feat = []string{"open", "export"}
			}
			w.set("/"+n, d.accept)
		}
		s := w.newSet(t, "", one(conf))
		settle()
		if err := get(t, s, "e").SetAdmin(Maint); err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, b := range mainPool(t, s).Candidates("a") {
			names = append(names, b.Name())
		}
		expect(t, "candidates", strings.Join(names, " "), "d b g c")
	})
}

// A removed pool is no pool, and an unknown one neither.
func TestUnknownNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld().all("a")
		s := w.newSet(t, "", one(relays(config.Linked, "a")))
		if _, ok := s.Pool("x"); ok {
			t.Error("pool x")
		}
		for _, full := range []string{"", "main", "main/", "main/x", "x/a", "/a"} {
			if _, ok := s.Backend(full); ok {
				t.Errorf("backend %q", full)
			}
		}
		if err := s.Apply(nil); err != nil {
			t.Fatal(err)
		}
		if _, ok := s.Pool("main"); ok || len(s.Pools()) > 0 || len(s.Backends()) > 0 {
			t.Error("the pool is still there")
		}
	})
}
