package backend

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ircferry/ircferry/internal/config"
)

func apply(t *testing.T, s *Set, pools map[string]config.Pool) {
	t.Helper()
	if err := s.Apply(pools); err != nil {
		t.Fatal(err)
	}
	settle()
}

func TestReloadKeepsBackendsByName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld().all("a b c")
		s := w.newSet(t, "", one(relays(config.Linked, "a", "b")))
		settle()
		a, b := get(t, s, "a"), get(t, s, "b")
		a.SessionDelta(5)
		if err := a.SetAdmin(Drain); err != nil {
			t.Fatal(err)
		}
		settle()
		w.events()

		apply(t, s, one(relays(config.Linked, "c", "b:10", "a")))
		expect(t, "events", w.events(), "added main/c, up main/c")
		if get(t, s, "a") != a || get(t, s, "b") != b || a.Sessions() != 5 || a.Admin() != Drain || b.Oper() != Up {
			t.Error("a backend is another one after the reload")
		}
		if b.Config().Weight != 10 {
			t.Error("the weight did not change")
		}
		var order []string
		for _, x := range mainPool(t, s).Backends() {
			order = append(order, x.Name())
		}
		expect(t, "order", strings.Join(order, " "), "c b a")
	})
}

// The same name at another address is checked anew, before anybody is sent there.
func TestReloadToAnotherAddressChecksAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld().all("a")
		conf := relays(config.Linked, "a")
		s := w.newSet(t, "", one(conf))
		settle()
		a := get(t, s, "a")
		a.SessionDelta(2)
		conf.Backends = relays(config.Linked, "z").Backends
		conf.Backends[0].Name = "a"
		if err := s.Apply(one(conf)); err != nil {
			t.Fatal(err)
		}
		expect(t, "before the check", chosen(t, mainPool(t, s)), "none")
		after(time.Second)
		expect(t, "nobody is there", a.Oper().String(), "down")
		w.set(where("z"), accepts)
		after(4 * time.Second)
		expect(t, "somebody is there", chosen(t, mainPool(t, s)), "a")
		if o, err := a.Open(alice); err != nil || o.Addr.String() != where("z") || a.Sessions() != 2 {
			t.Errorf("%v %v, %d sessions", o.Addr, err, a.Sessions())
		}
	})
}

// A check that began before the reload says nothing of the new address.
func TestCheckThatIsOutOfDateIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		answer := make(chan struct{})
		w.set(where("a"), func() (net.Conn, error) {
			<-answer
			return accepts()
		})
		conf := relays(config.Linked, "a")
		s := w.newSet(t, "", one(conf))
		settle()
		conf.Backends = relays(config.Linked, "z").Backends
		conf.Backends[0].Name = "a"
		w.set(where("z"), hangs)
		apply(t, s, one(conf))
		close(answer)
		settle()
		if st := get(t, s, "a").Status(); st.Checked || st.Oper == Up {
			t.Errorf("%s although nobody answered at %s", st.Oper, st.Where)
		}
		expect(t, "chosen", chosen(t, mainPool(t, s)), "none")
	})
}

// A native backend at another control socket: nothing that the old ircd told holds, and the kept connection to it is given up.
func TestReloadToAnotherControlSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.set("/a", newIrcd("old").accept)
		conf := natives("a")
		s := w.newSet(t, "", one(conf))
		after(time.Second)
		a := get(t, s, "a")
		conf.Backends = natives("b").Backends
		conf.Backends[0].Name = "a"
		if err := s.Apply(one(conf)); err != nil {
			t.Fatal(err)
		}
		if _, _, ok := a.Hello(); ok {
			t.Error("the HELLO of the old ircd is still believed")
		}
		after(10 * time.Second)
		expect(t, "nobody is there", a.Oper().String(), "down")
		w.set("/b", newIrcd("new").accept)
		after(10 * time.Second)
		if h, _, ok := a.Hello(); !ok || h.Epoch != "new" {
			t.Errorf("HELLO of %q", h.Epoch)
		}
	})
}

func TestRemovedBackendStaysUntilItIsEmpty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld().all("a b")
		s := w.newSet(t, "", one(relays(config.Linked, "a", "b")))
		settle()
		b := get(t, s, "b")
		b.SessionDelta(2)
		apply(t, s, one(relays(config.Linked, "a")))
		before := w.dialled(where("b"))
		after(time.Minute)
		if n := w.dialled(where("b")); n != before {
			t.Errorf("%d checks of a removed backend", n-before)
		}
		if got, ok := s.Backend("main/b"); !ok || got != b || !b.Status().Removed {
			t.Error("it is not there any more, or not removed")
		}
		for range 20 {
			expect(t, "chosen", chosen(t, mainPool(t, s)), "a")
		}
		b.SessionDelta(-1)
		if len(s.Backends()) != 2 {
			t.Error("it went before its last session")
		}
		b.SessionDelta(-1)
		if _, ok := s.Backend("main/b"); ok || len(s.Backends()) != 1 {
			t.Error("it is still there")
		}
	})
}

func TestRemovedBackendComesBackWithItsSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld().all("a b")
		s := w.newSet(t, "", one(relays(config.Linked, "a", "b")))
		settle()
		b := get(t, s, "b")
		b.SessionDelta(2)
		apply(t, s, map[string]config.Pool{}) // the whole pool goes
		if _, ok := s.Backend("main/b"); !ok {
			t.Fatal("its sessions have no backend")
		}
		apply(t, s, one(relays(config.Linked, "a", "b")))
		if get(t, s, "b") != b || b.Sessions() != 2 || b.Pool() != mainPool(t, s) || b.Oper() != Up || b.Status().Removed {
			t.Errorf("%+v", b.Status())
		}
		if n := len(s.Backends()); n != 2 {
			t.Errorf("%d backends are listed", n)
		}
		b.SessionDelta(-2)
		if _, ok := s.Backend("main/b"); !ok {
			t.Error("a configured backend went with its last session")
		}
	})
}

// A pool that is taken away is the same when it comes back, as long as one of its backends has sessions, and is forgotten with the last one.
func TestRemovedPoolStaysAsLongAsOneOfItsBackends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld().all("a b")
		conf := one(relays(config.Linked, "a", "b"))
		s := w.newSet(t, "", conf)
		settle()
		p, a, b := mainPool(t, s), get(t, s, "a"), get(t, s, "b")
		a.SessionDelta(1)
		b.SessionDelta(1)
		apply(t, s, nil)
		a.SessionDelta(-1)
		apply(t, s, conf)
		if mainPool(t, s) != p || get(t, s, "b") != b || get(t, s, "a") == a || get(t, s, "a").Pool() != p {
			t.Error("the sessions of b are in another pool")
		}
		apply(t, s, nil)
		b.SessionDelta(-1)
		if len(s.past) > 0 || len(s.old) > 0 {
			t.Errorf("kept for ever: %v, %v", s.past, s.old)
		}
		apply(t, s, conf)
		b.SessionDelta(-1) // counted down once more: whoever has its name now is somebody else
		if got := get(t, s, "b"); got == b || got.Sessions() != 0 {
			t.Errorf("it came back with %d sessions", got.Sessions())
		}
	})
}

// A session that was chosen for just before the reload finds its backend counted.
func TestSessionThatComesAfterItsBackendWasRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld().all("a b")
		s := w.newSet(t, "", one(relays(config.Linked, "a", "b")))
		settle()
		b := get(t, s, "b")
		apply(t, s, one(relays(config.Linked, "a")))
		b.SessionDelta(1)
		if got, ok := s.Backend("main/b"); !ok || got != b {
			t.Error("a live session has no backend")
		}
		b.SessionDelta(-1)
		if _, ok := s.Backend("main/b"); ok {
			t.Error("it stays for ever")
		}
	})
}

// A reload that cannot be made changes nothing at all.
func TestReloadChangesAllOrNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		secret := filepath.Join(t.TempDir(), "p")
		if err := os.WriteFile(secret, []byte("geheim\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		w := newWorld().all("a b")
		good := relays(config.Linked, "a", "b")
		good.Backends[1].Identity, good.Backends[1].WebIRCPasswordFile = config.IdentityWebIRC, secret
		s := w.newSet(t, "", one(good))
		settle()
		w.events()
		for name, spoil := range map[string]func(*config.Pool){
			"no password file": func(p *config.Pool) { p.Backends[1].WebIRCPasswordFile = secret + "x" },
			"no address":       func(p *config.Pool) { p.Backends[1].Address = "" },
			"twice":            func(p *config.Pool) { p.Backends[1].Name = "c" },
			"no name":          func(p *config.Pool) { p.Backends[1].Name = "" },
			"control leaves":   func(p *config.Pool) { p.Backends[1].Address, p.Backends[1].Handoff = "", "tcp:192.0.2.1:1" },
			"control nonsense": func(p *config.Pool) { p.Backends[1].Address, p.Backends[1].Handoff = "", "x" },
			"no port":          func(p *config.Pool) { p.Backends[1].Address = "localhost" },
		} {
			bad := relays(config.Standalone, "c", "d")
			spoil(&bad)
			if name == "no password file" {
				bad.Backends[1].Identity = config.IdentityWebIRC
			}
			err := s.Apply(map[string]config.Pool{"main": bad, "other": good})
			if err == nil || !strings.Contains(err.Error(), "main/") {
				t.Errorf("%s: got %v", name, err)
			}
		}
		settle()
		expect(t, "events", w.events(), "")
		if len(s.Pools()) != 1 || len(s.Backends()) != 2 || mainPool(t, s).Config().Topology != config.Linked {
			t.Error("something changed")
		}
		o, err := get(t, s, "b").Open(alice)
		if err != nil || string(o.Preface) != "WEBIRC geheim ircferry 198.51.100.7 198.51.100.7\r\n" {
			t.Errorf("%q %v", o.Preface, err)
		}

		// A good one reads the password again.
		if err := os.WriteFile(secret, []byte("neu"), 0o600); err != nil {
			t.Fatal(err)
		}
		apply(t, s, one(good))
		if o, _ := get(t, s, "b").Open(alice); !strings.HasPrefix(string(o.Preface), "WEBIRC neu ") {
			t.Errorf("%q", o.Preface)
		}
	})
}

func TestNothingHappensAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld().all("a")
		s := w.newSet(t, "", one(relays(config.Linked, "a")))
		settle()
		s.Close()
		s.Close()
		before := w.dialled(where("a"))
		if err := s.Apply(one(relays(config.Linked, "a"))); err == nil {
			t.Error("a closed set was changed")
		}
		get(t, s, "a").DialFailed(refused())
		get(t, s, "a").SessionDelta(-1)
		after(time.Minute)
		if n := w.dialled(where("a")); n != before {
			t.Error("it is still checked")
		}
	})
}

// Close is over when no check is under way any more, and a reload when none of those that it took away is.
func TestChecksAreWaitedFor(t *testing.T) {
	for name, end := range map[string]func(*Set){"close": (*Set).Close, "reload": func(s *Set) { s.Apply(nil) }} {
		synctest.Test(t, func(t *testing.T) {
			w, answer := newWorld(), make(chan struct{})
			for _, b := range []string{"a", "b"} {
				w.set(where(b), func() (net.Conn, error) {
					<-answer // deaf to the end of its context
					return nil, refused()
				})
			}
			s := w.newSet(t, "", one(relays(config.Linked, "a", "b")))
			settle()
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				end(s)
			}()
			after(time.Hour)
			select {
			case <-ended:
				t.Errorf("%s: over, and checks are under way", name)
			default:
			}
			close(answer)
			<-ended
		})
	}
}

// C8.61: backends that flap and are drained and undrained a thousand times leave the choice working and no goroutine behind (the
// bubble would not end with one).
func TestC8_61AThousandDrainsWithFlappingBackends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld().all("a b")
		w.set("/n", newIrcd("e").accept)
		conf := relays(config.Linked, "a", "b")
		conf.Backends = append(conf.Backends, natives("n").Backends...)
		s := w.newSet(t, "", one(conf))
		settle()
		for i := range 1000 {
			b := mainPool(t, s).Backends()[i%3]
			if err := b.SetAdmin(Drain); err != nil {
				t.Fatal(err)
			}
			d := newIrcd("e")
			switch i % 4 {
			case 0:
				w.set(where("a"), nil)
			case 1:
				w.set(where("a"), accepts)
			case 2:
				w.set("/n", nil)
			case 3:
				w.set("/n", d.accept)
			}
			b.DialFailed(refused())
			after(300 * time.Millisecond)
			if err := b.SetAdmin(Ready); err != nil {
				t.Fatal(err)
			}
			if i%100 == 0 {
				apply(t, s, one(conf))
			}
		}
		w.all("a b")
		w.set("/n", newIrcd("last").accept)
		after(time.Minute)
		for _, b := range s.Backends() {
			expect(t, b.FullName(), b.Oper().String()+" "+string(b.Admin()), "up ready")
		}
	})
}
