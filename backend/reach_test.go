package backend

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ircferry/ircferry/internal/config"
)

// names is a name server for one name.
type names struct {
	mu    sync.Mutex
	ips   []netip.Addr
	err   error
	hangs bool
}

func (n *names) set(ips ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ips, n.err, n.hangs = nil, nil, false
	for _, ip := range ips {
		n.ips = append(n.ips, netip.MustParseAddr(ip))
	}
}

func (n *names) resolve(ctx context.Context, _ string) ([]netip.Addr, error) {
	n.mu.Lock()
	hangs, ips, err := n.hangs, n.ips, n.err
	n.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return ips, err
}

// namedSet has one relay backend main/a at irc.example:6667, which n knows.
func namedSet(t *testing.T, w *world, n *names) *Set {
	t.Helper()
	s, err := NewSet(Options{Dial: w.dial, Resolve: n.resolve, Instance: "me"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	s.Subscribe(w.note)
	p := relays(config.Standalone, "a")
	p.Backends[0].Address = "irc.example:6667"
	p.Backends[0].Identity = config.IdentityProxyV2 // so that a check says something, and hears when nobody is there
	if err := s.Apply(one(p)); err != nil {
		t.Fatal(err)
	}
	return s
}

const (
	six   = "[::1]:6667"
	four  = "127.0.0.1:6667"
	third = "127.0.0.3:6667"
)

// stream is where the next client would be sent to.
func stream(t *testing.T, b *Backend) string {
	t.Helper()
	o, err := b.Open(alice)
	if err != nil {
		return err.Error()
	}
	return o.Addr.String()
}

// Issue 10, 1: a backend's name has several addresses, and the ircd answers at one of them only (portless#321, tinyproxy#392). It is up,
// whichever of them that is, and whatever is at the others.
func TestOneLivingAddressIsEnough(t *testing.T) {
	for name, dead := range map[string]func() (net.Conn, error){"refused": nil, "silent": hangs, "no such family": func() (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Err: syscall.EADDRNOTAVAIL}
	}, "closes": func() (net.Conn, error) { a, b := net.Pipe(); b.Close(); return a, nil }} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, n := newWorld(), &names{}
				n.set("::1", "127.0.0.3", "127.0.0.1")
				w.set(six, dead)
				w.set(third, dead)
				w.set(four, accepts)
				s := namedSet(t, w, n)
				a := get(t, s, "a")
				after(time.Second)
				expect(t, "oper", a.Oper().String(), "up")
				expect(t, "streams go to", stream(t, a), four)
				after(time.Minute)
				expect(t, "oper after a minute", a.Oper().String(), "up")
				if got := w.events(); strings.Contains(got, "down") {
					t.Errorf("events: %s", got)
				}
			})
		})
	}
}

// The one in use stays as long as it lives, also when one that stands before it comes back; when it dies, another takes its place
// before the backend counts as down; and a change of the name is followed.
func TestTheAddressInUseIsLeftWhenItDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, n := newWorld(), &names{}
		n.set("::1", "127.0.0.1")
		w.set(four, accepts)
		s := namedSet(t, w, n)
		a := get(t, s, "a")
		after(time.Second)
		expect(t, "at first", stream(t, a), four)
		w.set(six, accepts)
		after(10 * time.Second)
		expect(t, "when ::1 lives too", stream(t, a), four)
		w.events()
		w.set(four, nil)
		after(3 * time.Second)
		expect(t, "when 127.0.0.1 is dead", stream(t, a), six)
		expect(t, "events", w.events(), "address main/a")
		n.set("127.0.0.3")
		w.set(third, accepts)
		after(3 * time.Second)
		expect(t, "when the name leads elsewhere", stream(t, a), third)
		expect(t, "status", a.Status().Stream, third)
		w.set(third, nil)
		after(10 * time.Second)
		expect(t, "when nobody answers", a.Oper().String(), "down")
		if cause := a.Status().Cause; !strings.Contains(cause, "refused") {
			t.Errorf("cause %q", cause)
		}
		n.set("127.0.0.3", "::1")
		after(10 * time.Second)
		expect(t, "when ::1 is back", a.Oper().String()+" "+stream(t, a), "up "+six)
	})
}

// A name server that fails, or says nothing, takes nobody out of service that was found before.
func TestKnownAddressesOutlastTheNameServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, n := newWorld(), &names{}
		n.set("::1", "127.0.0.1")
		w.set(four, accepts)
		s := namedSet(t, w, n)
		a := get(t, s, "a")
		after(time.Second)
		n.mu.Lock()
		n.hangs = true
		n.mu.Unlock()
		after(20 * time.Second)
		expect(t, "while it is silent", a.Oper().String()+" "+stream(t, a), "up "+four)
		n.mu.Lock()
		n.hangs, n.err = false, &net.DNSError{Err: "server misbehaving", Name: "irc.example", IsTemporary: true}
		n.mu.Unlock()
		w.set(four, nil)
		w.set(six, accepts)
		after(20 * time.Second)
		expect(t, "and the other address still is an address", a.Oper().String()+" "+stream(t, a), "up "+six)
	})
}

// A client that could not connect does not wait for the next check: the one behind it is sent to the next address, and only when all have
// failed is it a failure of the backend.
func TestFailedConnectsGoRoundTheAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, n := newWorld(), &names{}
		n.set("::1", "127.0.0.1", "127.0.0.3")
		for _, at := range []string{six, four, third} {
			w.set(at, accepts) // for the checks
		}
		s := namedSet(t, w, n)
		a, p := get(t, s, "a"), mainPool(t, s)
		after(time.Second)
		for _, want := range []string{six, four, third} {
			expect(t, "chosen", chosen(t, p), "a")
			expect(t, "streams go to", stream(t, a), want)
			at := netip.MustParseAddrPort(want)
			a.DialFailedTo(at, refused())
			if want != third {
				a.DialFailedTo(at, refused()) // of another client, at the same moment
			}
		}
		expect(t, "after all three", chosen(t, p), "none")
		expect(t, "oper", a.Oper().String(), "up")
		for range 100 {
			a.DialFailedTo(netip.MustParseAddrPort(third), &net.OpError{Op: "dial", Err: syscall.EMFILE})
		}
		expect(t, "our own lack", a.Oper().String(), "up")
	})
}

func TestAddressesTakeTurns(t *testing.T) {
	for _, c := range []struct{ ips, now, want string }{
		{"::1 ::2 ::3 10.0.0.1 10.0.0.2", "", "[::1]:1 10.0.0.1:1 [::2]:1 10.0.0.2:1 [::3]:1"},
		{"10.0.0.1 ::1 ::2", "", "10.0.0.1:1 [::1]:1 [::2]:1"},
		{"::ffff:10.0.0.1 10.0.0.1 ::1", "[::1]:1", "[::1]:1 10.0.0.1:1"},
		{"10.0.0.1", "10.0.0.9:1", "10.0.0.1:1"},
	} {
		var ips []netip.Addr
		for ip := range strings.FieldsSeq(c.ips) {
			ips = append(ips, netip.MustParseAddr(ip))
		}
		now, _ := netip.ParseAddrPort(c.now)
		expect(t, c.ips, strings.Join(words(inOrder(ips, 1, now)), " "), c.want)
	}
}

// What is wrong with our own machine speaks for all addresses only if nothing else is wrong.
func TestReasonOfSeveralAddresses(t *testing.T) {
	local, no := &net.OpError{Op: "dial", Err: syscall.EADDRNOTAVAIL}, refused()
	for _, c := range []struct {
		errs []error
		want Reason
	}{{[]error{local, no}, ReasonRefused}, {[]error{no, local}, ReasonRefused}, {[]error{local, local}, ReasonLocal}} {
		var a attempts
		for _, err := range c.errs {
			a = append(a, attempt{"x", err})
		}
		if got := ReasonOf(errors.Join(errors.New("connect"), a)); got != c.want {
			t.Errorf("%v: %s, want %s", a, got, c.want)
		}
	}
}

// A late success of one that was overtaken is given back.
func TestRaceGivesBackWhatComesLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.set(six, accepts)
		w.set(four, accepts)
		var mu sync.Mutex
		var dropped []string
		use := func(_ context.Context, c net.Conn) (string, error) { // asks nobody whether it is still wanted
			mu.Lock()
			first := len(dropped) == 0 && w.dialled(four) == 0
			mu.Unlock()
			if first {
				time.Sleep(time.Second)
				return "slow", c.Close()
			}
			return "fast", c.Close()
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		got, at, failed, err := race(ctx, reach{dial: w.dial}, "tcp", []string{six, four}, use, func(s string) {
			mu.Lock()
			defer mu.Unlock()
			dropped = append(dropped, s)
		})
		if got != "fast" || at != 1 || len(failed) != 0 || err != nil {
			t.Errorf("%s %d %v %v", got, at, failed, err)
		}
		after(2 * time.Second)
		mu.Lock()
		defer mu.Unlock()
		if !slices.Equal(dropped, []string{"slow"}) {
			t.Errorf("dropped %v", dropped)
		}
	})
}

// One that is slow is waited for when all others have failed; when it fails too, each is named.
func TestTheLastOfARaceIsWaitedFor(t *testing.T) {
	for name, lives := range map[string]bool{"it lives": true, "it does not": false} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld() // nobody else is there
			w.set(six, func() (net.Conn, error) {
				time.Sleep(5 * time.Second)
				if !lives {
					return nil, refused()
				}
				return accepts()
			})
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			got, at, failed, err := race(ctx, reach{dial: w.dial}, "tcp", []string{six, four, third}, func(_ context.Context, c net.Conn) (string, error) {
				return "it", c.Close()
			}, func(string) {})
			if lives && (got != "it" || at != 0 || err != nil || len(failed) != 2) {
				t.Errorf("%s: %q %d %v %v", name, got, at, failed, err)
			}
			if !lives && (at != -1 || err == nil || len(failed) != 3 || !strings.Contains(err.Error(), six) || !strings.Contains(err.Error(), third)) {
				t.Errorf("%s: %q %d %v %v", name, got, at, failed, err)
			}
		})
	}
}

// What is wrong on our own machine sends nobody to another address; an address that this machine cannot use does.
func TestLocalFailuresAndTheOtherAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, n := newWorld(), &names{}
		n.set("::1", "127.0.0.1")
		w.set(six, accepts)
		w.set(four, accepts)
		s := namedSet(t, w, n)
		a, p := get(t, s, "a"), mainPool(t, s)
		after(time.Second)
		expect(t, "chosen", chosen(t, p), "a")
		settle()
		w.events()
		before := w.dialled(six) + w.dialled(four)
		local := func(at string, errno syscall.Errno) {
			a.DialFailedTo(netip.MustParseAddrPort(at), &net.OpError{Op: "dial", Err: errno})
			settle()
		}
		for range 10 {
			local(six, syscall.EMFILE)
		}
		expect(t, "no descriptors", stream(t, a)+" "+chosen(t, p)+" "+w.events(), six+" a ")
		if n := w.dialled(six) + w.dialled(four); n != before {
			t.Errorf("%d checks by what is wrong here", n-before)
		}
		local("192.0.2.99:6667", syscall.EADDRNOTAVAIL) // not of the name any more
		expect(t, "an address of before", stream(t, a)+" "+w.events(), six+" ")
		w.set(six, nil) // so that the check that is asked for does not find it either
		local(six, syscall.EADDRNOTAVAIL)
		expect(t, "no such family", stream(t, a)+" "+chosen(t, p)+" "+w.events(), four+" a address main/a")
		after(minGap)
		if n := w.dialled(six) + w.dialled(four); n == before {
			t.Error("no check was asked for")
		}
		w.set(four, nil)
		for range 10 {
			local(four, syscall.EADDRNOTAVAIL)
			local(six, syscall.EADDRNOTAVAIL)
		}
		expect(t, "none of them can be used from here", a.Oper().String(), "up")
	})
}

// An error of a control connection names what was tried once: the address as configured, and for a name with several all that it leads to.
func TestErrorOfAControlConnection(t *testing.T) {
	for _, c := range []struct{ ips, want string }{
		{"::1 127.0.0.1", "dial handoff tcp:irc.example:6667: [::1]:6667: connection refused; 127.0.0.1:6667: connection refused"},
		{"127.0.0.1", "dial handoff tcp:irc.example:6667: connection refused"},
	} {
		n := &names{}
		n.set(strings.Fields(c.ips)...)
		pl := plan{conf: config.Backend{Handoff: "tcp:irc.example:6667"}, network: "tcp", host: "irc.example", port: "6667"}
		_, f, err := pl.dialControl(t.Context(), reach{dial: newWorld().dial, resolve: n.resolve}, nil, "me")
		expect(t, c.ips, errText(err), c.want)
		if f.at.IsValid() || len(f.known) != len(strings.Fields(c.ips)) || len(f.failed) != len(f.known) {
			t.Errorf("%s: %+v", c.ips, f)
		}
	}
}

// Where an ircd was found is told as it is configured, and what a name stands for.
func TestWhereAnIrcdWasFound(t *testing.T) {
	at := netip.MustParseAddrPort(four)
	for _, c := range []struct {
		pl   plan
		at   netip.AddrPort
		want string
	}{
		{plan{conf: config.Backend{Handoff: "unix:/run/x"}}, netip.AddrPort{}, "unix:/run/x"},
		{plan{conf: config.Backend{Address: four}, literal: at}, at, four},
		{plan{conf: config.Backend{Address: "irc.example:6667"}}, at, "irc.example:6667 (" + four + ")"},
		{plan{conf: config.Backend{Address: "irc.example:6667"}}, netip.AddrPort{}, "irc.example:6667"},
	} {
		expect(t, "where", c.pl.where(found{at: c.at}), c.want)
	}
}

// Every address has its turn again when all have had it, and when a client was let in by one.
func TestAddressesHaveTheirTurnAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, n := newWorld(), &names{}
		n.set("::1", "127.0.0.1")
		w.set(six, accepts) // for the checks
		w.set(four, accepts)
		s := namedSet(t, w, n)
		a, p := get(t, s, "a"), mainPool(t, s)
		after(time.Second)
		fail := func(at, want string) {
			t.Helper()
			a.DialFailedTo(netip.MustParseAddrPort(at), refused())
			expect(t, "behind "+at, chosen(t, p)+" "+stream(t, a), want)
		}
		fail(six, "a "+four)
		fail(four, "none "+four)
		time.Sleep(firstWait)
		fail(four, "a "+six)
		a.DialOK()
		fail(six, "a "+four)
		a.DialOK()
		fail(four, "a "+six)
		after(3 * time.Second) // and when a check was good
		fail(six, "a "+four)
		fail(four, "none "+four)
	})
}

// One that is connected and says nothing has half of the time before the next is asked beside it; one that is not connected has a moment.
func TestWhoIsConnectedIsGivenMoreTime(t *testing.T) {
	for name, c := range map[string]struct {
		first  func() (net.Conn, error)
		second time.Duration // when the second is asked
	}{
		"connected, and silent": {accepts, 5 * time.Second},
		"not connected":         {hangs, attemptDelay},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld()
			w.set(six, c.first)
			began, asked := time.Now(), time.Duration(0)
			w.set(four, func() (net.Conn, error) {
				asked = time.Since(began)
				return accepts()
			})
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			got, at, _, err := race(ctx, reach{dial: w.dial}, "tcp", []string{six, four}, func(ctx context.Context, conn net.Conn) (string, error) {
				defer conn.Close()
				if w.dialled(four) > 0 {
					return "second", nil
				}
				<-ctx.Done()
				return "", ctx.Err()
			}, func(string) {})
			if got != "second" || at != 1 || err != nil || asked != c.second {
				t.Errorf("%s: %q at %d, %v; the second was asked after %v, want %v", name, got, at, err, asked, c.second)
			}
		})
	}
}
