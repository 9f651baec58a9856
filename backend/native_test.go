package backend

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ircferry/ircferry/handoff/protocol"
	"github.com/ircferry/ircferry/internal/config"
)

var alice = Client{U: "me.1", Addr: netip.MustParseAddrPort("198.51.100.7:4711"), Local: netip.MustParseAddrPort("192.0.2.80:6667")}

func TestNativeBackendIsOpenedAsItsHelloSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d := newWorld(), newIrcd("e1")
		s := w.newSet(t, "", one(natives("a")))
		settle()
		a := get(t, s, "a")
		if _, err := a.Open(alice); err == nil {
			t.Error("opened without HELLO")
		}
		w.set("/a", d.accept)
		after(4 * time.Second)
		o, err := a.Open(alice)
		if err != nil {
			t.Fatal(err)
		}
		if !o.Native || o.HoldForUser || o.Addr != netip.MustParseAddrPort("127.0.0.1:7001") {
			t.Errorf("%+v", o)
		}
		m, err := protocol.Parse([]byte(strings.TrimSuffix(string(o.Preface), "\n")))
		if err != nil {
			t.Fatal(err)
		}
		open, err := protocol.OpenOf(m)
		if want := (protocol.Open{SKey: "k-e1", U: "me.1", Remote: alice.Addr, Local: alice.Local}); err != nil || open != want {
			t.Errorf("got %+v, %v, want %+v", open, err, want)
		}
		h, at, ok := a.Hello()
		if !ok || h.Epoch != "e1" || time.Since(at) > 3*time.Second {
			t.Errorf("Hello: %v %v %v", h, at, ok)
		}
	})
}

// One control connection is kept, and every check asks HELLO over it: counts are fresh.
func TestControlConnectionIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d := newWorld(), newIrcd("e1")
		w.set("/a", d.accept)
		s := w.newSet(t, "", one(natives("a")))
		settle()
		d.mu.Lock()
		d.hello.Users = 42
		d.mu.Unlock()
		after(time.Minute)
		if n := w.dialled("/a"); n != 1 {
			t.Errorf("%d connections in a minute", n)
		}
		if st := get(t, s, "a").Status(); st.Users != 42 {
			t.Errorf("%d users are known", st.Users)
		}
	})
}

// The end of a process is seen at once by the end of its connection, and its successor too.
func TestDeathOfANativeBackendIsSeenAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d := newWorld(), newIrcd("e1")
		w.set("/a", d.accept)
		s := w.newSet(t, "", one(natives("a")))
		after(time.Second)
		w.events()
		before := w.dialled("/a")
		w.set("/a", newIrcd("e2").accept)
		d.die()
		settle()
		if n := w.dialled("/a"); n != before+1 {
			t.Errorf("%d connects after the end", n-before)
		}
		expect(t, "events", w.events(), "hello main/a")
		h, _, _ := get(t, s, "a").Hello()
		expect(t, "epoch", h.Epoch, "e2")
		expect(t, "oper", get(t, s, "a").Oper().String(), "up")
	})
}

// An OPEN that is answered with ERROR asks for a new HELLO over a new connection: the key may be another.
func TestOpenRefusedAsksHelloAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d := newWorld(), newIrcd("e1")
		w.set("/a", d.accept)
		s := w.newSet(t, "", one(natives("a")))
		after(time.Second)
		a := get(t, s, "a")
		d2 := newIrcd("e2")
		w.set("/a", d2.accept) // the old connection is still there
		a.OpenRefused(string(protocol.CodeDenied))
		expect(t, "while it asks", chosen(t, mainPool(t, s)), "none")
		after(100 * time.Millisecond)
		o, err := a.Open(alice)
		if err != nil || !strings.Contains(string(o.Preface), "k=k-e2 ") {
			t.Errorf("opened with %v", err)
		}
		expect(t, "afterwards", chosen(t, mainPool(t, s)), "a")
	})
}

// A full ircd is not a dead one, and a stream id in use says nothing of the others.
func TestOpenRefusedByAFullIrcdIsNoFall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d := newWorld(), newIrcd("e1")
		w.set("/a", d.accept)
		s := w.newSet(t, "", one(natives("a")))
		after(time.Second)
		a := get(t, s, "a")
		for range 20 {
			a.OpenRefused(string(protocol.CodeRefused))
			a.OpenRefused(string(protocol.CodeUInUse))
			after(5 * time.Second)
		}
		expect(t, "oper", a.Oper().String(), "up")
		a.OpenRefused(string(protocol.CodeRefused))
		expect(t, "clients wait", chosen(t, mainPool(t, s)), "none")
	})
}

// An answer to OPEN that is about one client, or says that the ircd is full, is no reason to ask who is there.
func TestOpenRefusedForOneClient(t *testing.T) {
	for code, want := range map[protocol.Code]string{protocol.CodeUInUse: "a", protocol.CodeBadValue: "a", protocol.CodeRefused: "none"} {
		synctest.Test(t, func(t *testing.T) {
			w, d := newWorld(), newIrcd("e1")
			w.set("/a", d.accept)
			s, reg := w.metered(t, one(natives("a")))
			after(time.Second)
			a := get(t, s, "a")
			expect(t, "before", chosen(t, mainPool(t, s)), "a")
			a.OpenRefused(string(code))
			expect(t, "load", fmt.Sprint(a.load()), "0")
			expect(t, string(code), chosen(t, mainPool(t, s)), want)
			after(time.Minute)
			if n := w.dialled("/a"); n != 1 {
				t.Errorf("%s: %d connections", code, n)
			}
			if got := scrape(t, reg); !slices.Contains(got, "backend_dial_failures_total{backend=a,pool=main,reason=answer} 1") {
				t.Errorf("%s is not counted", code)
			}
		})
	}
}

// An ircd that takes no OPEN goes down by that, with the code as the cause, or that there was no answer.
func TestIrcdThatTakesNoOpenGoesDown(t *testing.T) {
	for code, want := range map[string]string{"": "OPEN: no answer", "denied": "OPEN: denied"} {
		synctest.Test(t, func(t *testing.T) {
			w, d := newWorld(), newIrcd("e1")
			w.set("/a", d.accept)
			conf := natives("a")
			conf.Check.Fall = 1
			s := w.newSet(t, "", one(conf))
			after(time.Second)
			w.events()
			a := get(t, s, "a")
			d.setMute(true)
			a.OpenRefused(code)
			settle()
			expect(t, "events", w.events(), "down main/a")
			expect(t, "cause", a.Status().Cause, want)
		})
	}
}

// Who was chosen counts once: as chosen, then as a session, and as neither when the connect fails.
func TestWhoWasChosenCountsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld().all("a")
		s := w.newSet(t, "", one(relays(config.Linked, "a")))
		settle()
		a, p := get(t, s, "a"), mainPool(t, s)
		for i, c := range []struct {
			does func()
			load int64
		}{
			{func() { chosen(t, p) }, 1},
			{func() { chosen(t, p) }, 2},
			{func() { a.SessionDelta(1) }, 2},
			{func() { a.DialFailed(&net.OpError{Op: "dial", Err: syscall.EMFILE}) }, 1},
			{func() { a.SessionDelta(3) }, 4}, // moved in, chosen by nobody
			{func() { a.SessionDelta(-4) }, 0},
		} {
			c.does()
			if a.load() != c.load {
				t.Errorf("%d: load %d, want %d", i, a.load(), c.load)
			}
		}
	})
}

// While a move stops an ircd's world on purpose, checks that get no answer count for nothing; a refused connect does.
func TestPausedChecksForgiveSilenceOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d := newWorld(), newIrcd("e1")
		w.set("/a", d.accept)
		s := w.newSet(t, "", one(natives("a")))
		after(time.Second)
		a := get(t, s, "a")
		resume := a.PauseChecks()
		d.setMute(true)
		after(time.Minute)
		expect(t, "silent and paused", a.Oper().String(), "up")
		resume()
		resume() // a second call does nothing
		after(time.Minute)
		expect(t, "silent", a.Oper().String(), "down")
		d.setMute(false)
		after(10 * time.Second)
		expect(t, "answers again", a.Oper().String(), "up")
		defer a.PauseChecks()()
		w.set("/a", nil)
		d.die()
		after(10 * time.Second)
		expect(t, "gone and paused", a.Oper().String(), "down")
	})
}

func TestHelloThatMakesNoSenseIsNoGoodCheck(t *testing.T) {
	for name, spoil := range map[string]func(*protocol.Hello){
		"no stream":     func(h *protocol.Hello) { h.Stream = "" },
		"stream a name": func(h *protocol.Hello) { h.Stream = "localhost:7001" },
		"port 0":        func(h *protocol.Hello) { h.Stream = "127.0.0.1:0" },
		"no secret":     func(h *protocol.Hello) { h.SKey = "" },
		"version":       func(h *protocol.Hello) { h.V = "2" },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, d := newWorld(), newIrcd("e1")
				spoil(&d.hello)
				w.set("/a", d.accept)
				s := w.newSet(t, "", one(natives("a")))
				settle()
				st := get(t, s, "a").Status()
				if st.Oper != Down || !st.Checked || strings.Contains(st.Cause, "k-e1") {
					t.Errorf("%s, %q", st.Oper, st.Cause)
				}
				if _, err := get(t, s, "a").Open(alice); err == nil {
					t.Error("opened")
				}
			})
		})
	}
}

// C6.47: what an ircd cannot do is told when it is first seen, not when somebody wants it.
func TestC6_47WhatAnIrcdCannotDoIsToldAtItsHello(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d := newWorld(), newIrcd("e1")
		d.hello.Feat, d.hello.Caps = []string{"open"}, []string{"tls"}
		w.set("/a", d.accept)
		w.newSet(t, "", one(natives("a")))
		settle()
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, e := range w.seen {
			if e.Kind == EventHello {
				expect(t, "introduction", e.Text, "testd 1, epoch e1; cannot export, import: its users cannot be moved freely; does not prove itself on its streams; offers capability tls, which clients behind us cannot use")
				return
			}
		}
		t.Error("no introduction")
	})
}
