package backend

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ircferry/ircferry/internal/config"
)

func TestFirstCheckDecidesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.set(where("a"), accepts)
		s := w.newSet(t, "", one(relays(config.Linked, "a", "b")))
		settle()
		expect(t, "a", get(t, s, "a").Oper().String(), "up")
		expect(t, "b", get(t, s, "b").Oper().String(), "down")
		if st := get(t, s, "b").Status(); !st.Checked || st.Cause == "" {
			t.Errorf("b: %+v", st)
		}
	})
}

func TestRiseAndFall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.set(where("a"), accepts)
		s := w.newSet(t, "", one(relays(config.Linked, "a")))
		a := get(t, s, "a")
		settle()
		w.events()

		// Two bad, one good, three bad: only the three in a row count.
		w.set(where("a"), nil)
		after(4 * time.Second)
		expect(t, "after 2 bad", a.Oper().String(), "up")
		w.set(where("a"), accepts)
		after(2 * time.Second)
		w.set(where("a"), nil)
		after(4 * time.Second)
		expect(t, "after 2 bad again", a.Oper().String(), "up")
		after(2 * time.Second)
		expect(t, "after 3 bad", a.Oper().String(), "down")
		expect(t, "events", w.events(), "down main/a")

		w.set(where("a"), accepts)
		after(2 * time.Second)
		expect(t, "after 1 good", a.Oper().String(), "down")
		after(2 * time.Second)
		expect(t, "after 2 good", a.Oper().String(), "up")
		expect(t, "events", w.events(), "up main/a")
	})
}

// A host that says nothing is silent, one that refuses is not, and neither is one that answers again.
func TestSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.set(where("a"), accepts)
		a := get(t, w.newSet(t, "", one(relays(config.Linked, "a"))), "a")
		is := func(what string, want bool, d time.Duration) {
			t.Helper()
			if after(d); a.Silent() != want {
				t.Errorf("%s: silent %v", what, !want)
			}
		}
		is("up", false, 0)
		w.set(where("a"), hangs)
		is("after one check", false, 3*time.Second)
		is("after all", true, 20*time.Second)
		w.set(where("a"), nil)
		is("refused", false, 20*time.Second)
		w.set(where("a"), hangs)
		is("silent again", true, 20*time.Second)
		w.set(where("a"), accepts)
		is("up again", false, 20*time.Second)
	})
}

func TestInterAndTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.set(where("a"), accepts)
		s := w.newSet(t, "", one(relays(config.Linked, "a")))
		settle()
		after(20 * time.Second)
		if n := w.dialled(where("a")); n != 11 {
			t.Errorf("%d checks in 20s every 2s, want 11", n)
		}
		w.set(where("a"), hangs)
		after(2 * time.Second)
		before := time.Now()
		after(9 * time.Second) // each takes 1s and then 2s of rest
		a := get(t, s, "a")
		expect(t, "after three that hung", a.Oper().String(), "down")
		if st := a.Status(); st.CheckTook != time.Second || st.LastCheck.Before(before) {
			t.Errorf("last check took %s", st.CheckTook)
		}
	})
}

// Issue 10, 2 (inspircd/docker#66): ircds without the driver count connections from one address, UnrealIRCd no more than 3 a minute, and what
// goes beyond is a ban of the proxy. While nobody answers there is nobody who counts, and the pace is that of a failover.
func TestChecksEarnNoBanByDefault(t *testing.T) {
	for _, typ := range []config.CheckType{config.CheckTCP, config.CheckIRC} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld()
			w.set(where("a"), answers(":irc.test CAP * LS :"))
			p := relays(config.Linked, "a")
			p.Check.Type, p.Check.Inter = typ, 0
			s := w.newSet(t, "", one(p))
			after(59 * time.Second)
			if n := w.dialled(where("a")); n > 3 {
				t.Errorf("%s: %d checks in a minute, want 3 at most", typ, n)
			}
			w.set(where("a"), nil)
			after(31 * time.Second)
			expect(t, string(typ)+", half a minute after its end", get(t, s, "a").Oper().String(), "down")
			w.set(where("a"), answers(":irc.test CAP * LS :"))
			after(5 * time.Second)
			expect(t, string(typ)+", five seconds after it is back", get(t, s, "a").Oper().String(), "up")
			before := w.dialled(where("a"))
			w.set(where("a"), answers("ERROR :Closing Link: (throttled)"))
			after(10 * time.Minute)
			if n := w.dialled(where("a")) - before; typ == config.CheckIRC && n > 10 {
				t.Errorf("%s: %d checks in ten minutes at one that refuses them", typ, n)
			}
		})
	}
}

// answers is like accepts, and the answer to the first bytes is the line, to all others the end.
func answers(line string) func() (net.Conn, error) {
	return func() (net.Conn, error) {
		here, there := net.Pipe()
		go func() {
			defer there.Close()
			buf := make([]byte, 1024)
			if _, err := there.Read(buf); err == nil {
				there.Write([]byte(line + "\r\n"))
				there.Read(buf)
			}
		}()
		return here, nil
	}
}

// C5.35: a local EMFILE, ENFILE or EADDRNOTAVAIL is never interpreted as "backend down" and never triggers failover.
func TestC5_35LocalErrorsAreNoFall(t *testing.T) {
	for _, local := range []int{24, 23, 99} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld()
			w.set(where("a"), accepts)
			w.set(where("b"), accepts)
			s := w.newSet(t, "", one(relays(config.Standalone, "a", "b")))
			settle()
			a, p := get(t, s, "a"), mainPool(t, s)
			expect(t, "serving", chosen(t, p), "a")
			broken := &net.OpError{Op: "dial", Net: "tcp", Err: errno(local)}
			w.set(where("a"), func() (net.Conn, error) { return nil, broken })
			for range 20 {
				a.DialFailed(broken)
				after(2 * time.Second)
			}
			expect(t, "oper", a.Oper().String(), "up")
			expect(t, "chosen", chosen(t, p), "a")
			if st := a.Status(); st.CheckError == "" {
				t.Error("the failed check is not shown")
			}

			// What is really wrong afterwards counts from zero.
			w.set(where("a"), nil)
			after(4 * time.Second)
			expect(t, "after 2 bad", a.Oper().String(), "up")
			after(2 * time.Second)
			expect(t, "after 3 bad", a.Oper().String(), "down")
			expect(t, "failed over", chosen(t, p), "b")
		})
	}
}

// A local failure at the very first check leaves the backend unchecked: it is not down.
func TestC5_35LocalErrorAtStartDecidesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.set(where("a"), func() (net.Conn, error) { return nil, errno(24) })
		w.set(where("b"), accepts)
		s := w.newSet(t, "", one(relays(config.Standalone, "a", "b")))
		settle()
		expect(t, "chosen", chosen(t, mainPool(t, s)), "none")
		w.set(where("a"), accepts)
		after(2 * time.Second)
		expect(t, "chosen", chosen(t, mainPool(t, s)), "a")
	})
}

// Connects of clients that fail feed fall, one for each wait, and every one asks for a check; between them clients wait.
func TestDialFailuresFeedFall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.set(where("a"), accepts) // the checks go on to be good
		s := w.newSet(t, "", one(relays(config.Linked, "a")))
		settle()
		a, p := get(t, s, "a"), mainPool(t, s)
		for range 1000 {
			a.DialFailed(refused()) // a thousand clients in one moment are one failure
		}
		expect(t, "after one moment", a.Oper().String(), "up")
		expect(t, "in the wait", chosen(t, p), "none")
		after(100 * time.Millisecond)
		expect(t, "after the wait", chosen(t, p), "a")
		a.DialFailed(refused())
		after(100 * time.Millisecond)
		expect(t, "in the longer wait", chosen(t, p), "none")
		after(100 * time.Millisecond)
		expect(t, "after the longer wait", chosen(t, p), "a")
		a.DialFailed(refused())
		expect(t, "after three", a.Oper().String(), "down")
		settle()
		expect(t, "events", w.events(), "added main/a, up main/a, down main/a")
	})
}

func TestDialOKEndsTheWaitAndTheCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.set(where("a"), accepts)
		s := w.newSet(t, "", one(relays(config.Linked, "a")))
		settle()
		a, p := get(t, s, "a"), mainPool(t, s)
		for range 10 {
			a.DialFailed(refused())
			a.DialOK()
		}
		expect(t, "oper", a.Oper().String(), "up")
		expect(t, "chosen", chosen(t, p), "a")
	})
}

// The wait between tries doubles up to four seconds.
func TestBackoffIsBounded(t *testing.T) {
	var b backoff
	now := time.Now()
	var waits []time.Duration
	for range 9 {
		b.failed(now)
		waits = append(waits, b.wait)
	}
	if waits[0] != firstWait || waits[1] != 2*firstWait || waits[8] != lastWait {
		t.Errorf("waits %v", waits)
	}
}

// However often somebody asks, at most ten checks a second are made.
func TestRecheckIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.set(where("a"), accepts)
		s := w.newSet(t, "", one(relays(config.Linked, "a")))
		settle()
		a, before := get(t, s, "a"), w.dialled(where("a"))
		for range 1000 {
			a.Recheck()
			time.Sleep(time.Millisecond)
		}
		settle()
		if n := w.dialled(where("a")) - before; n < 5 || n > 11 {
			t.Errorf("%d checks in a second", n)
		}
	})
}

func TestMaintIsNotChecked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.set(where("a"), accepts)
		s := w.newSet(t, "", one(relays(config.Linked, "a")))
		settle()
		a := get(t, s, "a")
		if err := a.SetAdmin(Maint); err != nil {
			t.Fatal(err)
		}
		after(time.Second)
		before := w.dialled(where("a"))
		after(time.Minute)
		if n := w.dialled(where("a")); n != before {
			t.Errorf("%d checks in maint", n-before)
		}
		expect(t, "chosen in maint", chosen(t, mainPool(t, s)), "none")
		if err := a.SetAdmin(Ready); err != nil {
			t.Fatal(err)
		}
		settle()
		expect(t, "chosen when ready again, at once", chosen(t, mainPool(t, s)), "a")
	})
}
