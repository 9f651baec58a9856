package backend

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ircferry/ircferry/internal/config"
)

func nothing(string) bool { return false }

// meet has two proxies tell each other, as they do when one has asked the other.
func meet(x, y *Set, back bool) (settled bool) {
	there := y.Merge("x", x.Acts(nothing), back, nothing)
	here := x.Merge("y", y.Acts(nothing), back, nothing)
	settle()
	return there && here
}

// twoProxies are x and y before the same ircds a, b and c.
func twoProxies(t *testing.T, w *world, dir string) (x, y *Set) {
	t.Helper()
	pools := one(relays(config.Standalone, "a", "b", "c"))
	x, y = w.newSet(t, dir, pools), w.newSet(t, "", pools)
	x.As("x")
	y.As("y")
	settle()
	return x, y
}

func setAdmin(t *testing.T, s *Set, name string, a AdminState) {
	t.Helper()
	if err := get(t, s, name).SetAdmin(a); err != nil {
		t.Fatal(err)
	}
}

func admins(t *testing.T, s *Set) string {
	t.Helper()
	var all []string
	for _, n := range []string{"a", "b", "c"} {
		all = append(all, string(get(t, s, n).Admin()))
	}
	return strings.Join(all, " ")
}

// What an operator makes of a backend at one proxy holds at the other, the newest act of either, and who was away hears of it.
func TestActsOfOneProxyHoldAtTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld().all("a b c")
		dir := t.TempDir()
		x, y := twoProxies(t, w, dir)
		meet(x, y, true)
		expect(t, "nobody has done anything", admins(t, x)+", "+admins(t, y), "ready ready ready, ready ready ready")
		setAdmin(t, x, "a", Drain)
		meet(x, y, false)
		expect(t, "y", admins(t, y), "drain ready ready")
		w.events()
		setAdmin(t, y, "a", Ready)
		setAdmin(t, y, "b", Maint)
		meet(x, y, false)
		expect(t, "x", admins(t, x), "ready maint ready")
		if oper := get(t, x, "b").Oper(); oper != Down {
			t.Errorf("a backend in maint is %s", oper)
		}
		expect(t, "events", w.events(), "admin main/a, admin main/b, admin main/a, admin main/b")
		meet(x, y, false)
		expect(t, "nothing is new", w.events(), "")
		// A restart knows it.
		x.Close()
		again := w.newSet(t, dir, one(relays(config.Standalone, "a", "b", "c")))
		again.As("x")
		settle()
		expect(t, "behind a restart", admins(t, again), "ready maint ready")
		setAdmin(t, y, "b", Ready)
		meet(again, y, true)
		expect(t, "who was away", admins(t, again), "ready ready ready")
	})
}

// Two who have acted on two sides of a split come to the same, whoever begins: the higher number, and of equals the more careful state.
func TestActsOnTwoSidesOfASplit(t *testing.T) {
	for _, c := range []struct {
		name string
		x, y []AdminState
		want AdminState
	}{
		{"more acts", []AdminState{Drain, Ready, Drain, Ready}, []AdminState{Maint}, Ready},
		{"as many", []AdminState{Drain}, []AdminState{Maint}, Maint},
		{"as many, of which one let in", []AdminState{Drain, Ready}, []AdminState{Maint, Drain}, Drain},
		{"one alone", nil, []AdminState{Drain}, Drain},
		{"back to where it was", []AdminState{Drain, Ready}, nil, Ready},
	} {
		for _, first := range []bool{true, false} {
			t.Run(fmt.Sprint(c.name, first), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld().all("a b c")
					x, y := twoProxies(t, w, "")
					for _, a := range c.x {
						setAdmin(t, x, "a", a)
					}
					for _, a := range c.y {
						setAdmin(t, y, "a", a)
					}
					if first {
						meet(x, y, true)
					} else {
						meet(y, x, true)
					}
					if ax, ay := get(t, x, "a").Admin(), get(t, y, "a").Admin(); ax != c.want || ay != c.want {
						t.Errorf("%s and %s, want %s", ax, ay, c.want)
					}
				})
			})
		}
	}
}

// Whatever three proxies do and whoever meets whom, once all have met they have the same; and who has met all before an act is not overruled by an older one.
func TestActsConverge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld().all("a b c")
		pools := one(relays(config.Standalone, "a", "b", "c"))
		var all []*Set
		for _, name := range []string{"x", "y", "z"} {
			s := w.newSet(t, "", pools)
			s.As(name)
			all = append(all, s)
		}
		settle()
		r := rand.New(rand.NewPCG(13, 13))
		for round := range 60 {
			for range r.IntN(6) {
				s := all[r.IntN(3)]
				if r.IntN(4) == 0 {
					if err := mainPool(t, s).SetServing([]string{"a", "b", "c"}[r.IntN(3)]); err != nil {
						t.Fatal(err)
					}
				} else {
					setAdmin(t, s, []string{"a", "b", "c"}[r.IntN(3)], adminStates[r.IntN(3)])
				}
				if i := r.IntN(3); r.IntN(2) == 0 && all[i] != s {
					meet(s, all[i], false)
				}
			}
			for range 2 {
				meet(all[0], all[1], false)
				meet(all[1], all[2], false)
				meet(all[2], all[0], false)
			}
			for _, s := range all[1:] {
				if admins(t, s) != admins(t, all[0]) || mainPool(t, s).Serving() != mainPool(t, all[0]).Serving() {
					t.Fatalf("round %d: %s serving %s, and %s serving %s", round, admins(t, s), mainPool(t, s).Serving(), admins(t, all[0]), mainPool(t, all[0]).Serving())
				}
			}
			last := all[r.IntN(3)]
			was := get(t, last, "a").Admin()
			want := adminStates[(slices.Index(adminStates, was)+1)%3]
			setAdmin(t, last, "a", want)
			meet(all[0], all[1], false)
			meet(all[1], all[2], false)
			meet(all[2], all[0], false)
			for _, s := range all {
				if got := get(t, s, "a").Admin(); got != want {
					t.Fatalf("round %d: the newest act is %s, %s holds", round, want, got)
				}
			}
		}
	})
}

// What is hidden is neither told nor taken, and is told later.
func TestHiddenPoolsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld().all("a b c")
		x, y := twoProxies(t, w, "")
		setAdmin(t, x, "a", Drain)
		hidden := func(pool string) bool { return pool == "main" }
		if a := x.Acts(hidden); len(a.Admin) != 0 || len(a.Now) != 0 {
			t.Errorf("told %+v", a)
		}
		if y.Merge("x", x.Acts(nothing), false, hidden) {
			t.Error("a merge that took nothing is settled")
		}
		expect(t, "y", admins(t, y), "ready ready ready")
		if !y.Merge("x", x.Acts(nothing), false, nothing) {
			t.Error("not settled")
		}
		expect(t, "y", admins(t, y), "drain ready ready")
	})
}

// What cannot be is not taken: unknown states, backends that are not configured here.
func TestActsThatCannotBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld().all("a b c")
		x, _ := twoProxies(t, w, "")
		x.Merge("y", Acts{Admin: map[string]Act{"main/a": {Value: "off", N: 9}, "main/z": {Value: "drain", N: 9}, "z/z": {Value: "drain", N: 9}},
			Serving: map[string]Act{"main": {Value: "z", N: 9}}, Now: map[string]string{"main": "z"}}, false, nothing)
		settle()
		expect(t, "x", admins(t, x), "ready ready ready")
		expect(t, "serving", mainPool(t, x).Serving(), "")
	})
}

// twoNatives are x and y before the ircds a and b.
func twoNatives(t *testing.T, w *world, a, b int) (x, y *Set, ircds [2]*ircd) {
	t.Helper()
	for i, name := range []string{"a", "b"} {
		ircds[i] = newIrcd("e" + name)
		w.set("/"+name, ircds[i].accept)
	}
	x, y = w.newSet(t, "", one(natives("a", "b"))), w.newSet(t, "", one(natives("a", "b")))
	x.As("x")
	y.As("y")
	users(ircds[0], a)
	users(ircds[1], b)
	after(5 * time.Second)
	return x, y, ircds
}

func users(d *ircd, n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hello.Users = n
}

// talkUntilSettled is what daemons do: every 5 s, as one that was back, until it is settled.
func talkUntilSettled(t *testing.T, x, y *Set) (rounds int) {
	t.Helper()
	for rounds = 1; rounds < 20; rounds++ {
		if meet(x, y, true) {
			return rounds
		}
		after(5 * time.Second)
	}
	t.Error("it is never settled")
	return rounds
}

// Which backend serves, when a split heals: the ircd's word first, which is where users are, then the newer act.
func TestWhoServesBehindASplit(t *testing.T) {
	for _, c := range []struct {
		name string
		a, b int // users
		x, y string
		acts int // of y more than of x
		want string
	}{
		{"y has moved all, x was away", 0, 500, "a", "b", 1, "b"},
		{"the newer act leads to nobody", 500, 0, "a", "b", 3, "a"},
		{"the older act has the users", 0, 500, "b", "a", 3, "b"},
		{"both have users", 20, 500, "a", "b", 1, "b"},
		{"both have users, the other way", 20, 500, "b", "a", 1, "a"},
		{"nobody has users", 0, 0, "a", "b", 1, "b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				x, y, _ := twoNatives(t, w, c.a, c.b)
				serve := func(s *Set, name string) {
					if err := mainPool(t, s).SetServing(name); err != nil {
						t.Fatal(err)
					}
				}
				serve(x, c.x)
				for range c.acts / 2 {
					serve(y, c.y)
					serve(y, c.x)
				}
				serve(y, c.y)
				if c.acts == 1 {
					serve(y, c.x)
					serve(y, c.y)
				}
				talkUntilSettled(t, x, y)
				meet(x, y, false)
				if px, py := mainPool(t, x).Serving(), mainPool(t, y).Serving(); px != c.want || py != c.want {
					t.Errorf("served from %s and %s, want %s", px, py, c.want)
				}
				w.events()
				for range 3 {
					after(5 * time.Second)
					meet(x, y, true)
				}
				expect(t, "and it stays so", w.events(), "")
			})
		})
	}
}

// A word that is old, of before users were moved, decides nothing.
func TestAnOldWordDecidesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		x, y, ircds := twoNatives(t, w, 500, 0)
		if err := mainPool(t, x).SetServing("a"); err != nil {
			t.Fatal(err)
		}
		meet(x, y, true)
		users(ircds[0], 0)
		users(ircds[1], 500)
		if err := mainPool(t, y).SetServing("b"); err != nil { // y has moved them just now, and no check was since
			t.Fatal(err)
		}
		if meet(x, y, true) {
			t.Error("settled by the word of before")
		}
		expect(t, "x as yet", mainPool(t, x).Serving(), "a")
		talkUntilSettled(t, x, y)
		expect(t, "x", mainPool(t, x).Serving(), "b")
		expect(t, "y", mainPool(t, y).Serving(), "b")
	})
}

// An election is nobody's act: it is not told, but one that has the users holds when the split is over.
func TestElectionsBehindASplit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		x, y, ircds := twoNatives(t, w, 500, 0)
		chosen(t, mainPool(t, x))
		chosen(t, mainPool(t, y))
		expect(t, "both", mainPool(t, x).Serving()+mainPool(t, y).Serving(), "aa")
		mainPool(t, y).mu.Lock() // y was cut off from a, and has taken b
		mainPool(t, y).serving = "b"
		mainPool(t, y).mu.Unlock()
		meet(x, y, false)
		expect(t, "not told", mainPool(t, x).Serving()+mainPool(t, y).Serving(), "ab")
		talkUntilSettled(t, x, y)
		meet(x, y, false)
		expect(t, "where the users are", mainPool(t, x).Serving()+mainPool(t, y).Serving(), "aa")
		// With users on both sides nothing is decided: that is for an operator, whom the status tells.
		users(ircds[1], 3)
		mainPool(t, y).mu.Lock()
		mainPool(t, y).serving = "b"
		mainPool(t, y).mu.Unlock()
		x.memory.mu.Lock()
		x.memory.known.ServingActs = map[string]Act{}
		x.memory.mu.Unlock()
		y.memory.mu.Lock()
		y.memory.known.ServingActs = map[string]Act{}
		y.memory.mu.Unlock()
		talkUntilSettled(t, x, y)
		expect(t, "both have users", mainPool(t, x).Serving()+mainPool(t, y).Serving(), "ab")
	})
}

// One side alone decides as both do, and not before both ircds have said it twice.
func TestTheWordOfTheIrcds(t *testing.T) {
	for _, c := range []struct {
		name     string
		a, b     int
		told     Act
		want     string
		wantActN uint64
	}{
		{"ours has users, theirs none", 5, 0, Act{Value: "b", N: 7, By: "y"}, "a", 8},
		{"theirs has users, ours none", 0, 5, Act{Value: "b", N: 0}, "b", 2},
		{"theirs has users and the newer act", 0, 5, Act{Value: "b", N: 7, By: "y"}, "b", 8},
		{"both have", 5, 5, Act{Value: "b", N: 7, By: "y"}, "b", 7},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				x, _, _ := twoNatives(t, w, c.a, c.b)
				p := mainPool(t, x)
				if err := p.SetServing("a"); err != nil {
					t.Fatal(err)
				}
				told := Acts{Serving: map[string]Act{"main": c.told}, Now: map[string]string{"main": "b"}}
				began, words := time.Now(), 0
				for ; !x.Merge("y", told, true, nothing); words++ {
					if time.Since(began) > time.Minute {
						t.Fatal("never settled")
					}
					expect(t, "as long as it is open", p.Serving(), "a")
					after(100 * time.Millisecond)
				}
				if took := time.Since(began); took < wordTime || took > 3*wordTime {
					t.Errorf("settled after %v", took)
				}
				expect(t, "serving", p.Serving(), c.want)
				if a := x.memory.servingAct("main"); a.N != c.wantActN || a.Value != c.want {
					t.Errorf("the act is %+v", a)
				}
			})
		})
	}
}

// A word that changes is no word, and an ircd that is down has none.
func TestWordsThatChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		x, _, ircds := twoNatives(t, w, 5, 0)
		p := mainPool(t, x)
		if err := p.SetServing("a"); err != nil {
			t.Fatal(err)
		}
		told := Acts{Serving: map[string]Act{"main": {Value: "b", N: 7, By: "y"}}}
		x.Merge("y", told, true, nothing)
		after(3 * time.Second)
		x.Merge("y", told, true, nothing) // the first word: a
		users(ircds[0], 0)
		users(ircds[1], 5)
		after(wordTime)
		if x.Merge("y", told, true, nothing) {
			t.Error("two words that are not the same have decided")
		}
		after(wordTime + 3*time.Second)
		if !x.Merge("y", told, true, nothing) || p.Serving() != "b" {
			t.Errorf("served from %s", p.Serving())
		}
		// b goes down: who says a now is believed by the number alone, after a while.
		w.set("/b", nil)
		ircds[1].die()
		after(10 * time.Second)
		told = Acts{Serving: map[string]Act{"main": {Value: "a", N: 20, By: "y"}}}
		rounds := 0
		for ; !x.Merge("y", told, true, nothing) && rounds < 100; rounds++ {
			after(time.Second)
		}
		if p.Serving() != "a" || rounds < 10 {
			t.Errorf("served from %s after %d s", p.Serving(), rounds)
		}
	})
}

// Whose backend was elected since the last act makes a new one when he sets it back.
func TestServingSetBackIsAnAct(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld().all("b c")
		x, y := twoProxies(t, w, "")
		if err := mainPool(t, x).SetServing("a"); err != nil {
			t.Fatal(err)
		}
		meet(x, y, false)
		after(20 * time.Second)
		expect(t, "a is down", chosen(t, mainPool(t, x))+chosen(t, mainPool(t, y)), "bb")
		settle()
		if err := mainPool(t, x).SetServing("a"); err != nil {
			t.Fatal(err)
		}
		meet(x, y, false)
		expect(t, "y hears of it", mainPool(t, y).Serving(), "a")
	})
}
