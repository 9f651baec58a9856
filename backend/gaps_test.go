package backend

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ircferry/ircferry/handoff/protocol"
	"github.com/ircferry/ircferry/internal/config"
)

// The tests of this file are for mistakes that no other test noticed (make mutate).

// Each way not to reach a backend has its severity and its way out.
func TestProbeSaysWhyNobodyIsReached(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{syscall.EACCES, "error: k: unix:/run/x may not be used by uid"},
		{syscall.ENOENT, "warning: k: unix:/run/x is not there"},
		{syscall.ECONNREFUSED, "warning: k: nobody listens at unix:/run/x"},
		{ErrTLS, "error: k: unix:/run/x: "},
		{errors.New("something else"), "warning: k: unix:/run/x cannot be reached: dial: something else"},
	} {
		var found []config.Finding
		prober{key: "k", found: &found}.unreached("unix:/run/x", fmt.Errorf("dial: %w", c.err))
		if len(found) != 1 || !strings.HasPrefix(found[0].String(), c.want) {
			t.Errorf("%v: %v, want %s", c.err, found, c.want)
		}
	}
}

// What cannot be a backend is told by the check of the configuration, and not asked.
func TestProbePassesOverWhatCannotBe(t *testing.T) {
	found := Probe(t.Context(), config.Config{Pools: one(config.Pool{Backends: []config.Backend{{Name: "a", Handoff: "nonsense"}}})})
	if len(found) != 0 {
		t.Errorf("%v", found)
	}
}

// An address of the name that leads nowhere is told with its error, and the one that is used.
func TestProbeTellsOfAddressesThatLeadNowhere(t *testing.T) {
	a := attempts{{"[::1]:1", &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}}, {"192.0.2.1:1", syscall.EHOSTUNREACH}}
	const want = "[::1]:1: connection refused; 192.0.2.1:1: no route to host"
	if a.Error() != want || a.each() != want {
		t.Errorf("%q", a.Error())
	}
	if text := a[:1].Error(); text != "dial tcp: connection refused" {
		t.Errorf("one alone: %q", text)
	}
	var found []config.Finding
	prober{found: &found}.elsewhere(withFailed(a))
	if len(found) != 1 || !strings.Contains(found[0].Text, want) || found[0].Severity != config.SeverityWarning {
		t.Errorf("%v", found)
	}
	found = nil
	if (prober{found: &found}).elsewhere(withFailed(nil)); len(found) != 0 {
		t.Errorf("%v", found)
	}
}

func withFailed(failed attempts) (f found) {
	f.failed = failed
	return f
}

// What a native backend cannot prove.
func TestWhatANativeBackendCannotProve(t *testing.T) {
	proves, not := protocol.Hello{Feat: []string{protocol.FeatProof}}, protocol.Hello{}
	for _, c := range []struct {
		pl   plan
		h    protocol.Hello
		want string
	}{
		{plan{network: "unix"}, proves, ""},
		{plan{network: "unix"}, not, "does not prove"},
		{plan{network: "tcp"}, proves, "is believed without a secret"},
		{plan{network: "tcp"}, not, "does not prove"},
		{plan{network: "tcp", password: "pw"}, proves, ""},
	} {
		if got := c.pl.unproven(c.h); c.want == "" && got != "" || !strings.HasPrefix(got, c.want) {
			t.Errorf("%+v: %q, want %q", c.pl, got, c.want)
		}
	}
}

// A backend that comes back with its sessions is checked anew before anybody is sent there.
func TestRevivedBackendIsNotBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld().all("a b")
		s := w.newSet(t, "", one(relays(config.Linked, "a", "b")))
		settle()
		b := get(t, s, "b")
		b.SessionDelta(1)
		apply(t, s, one(relays(config.Linked, "a")))
		w.set(where("b"), nil)
		apply(t, s, one(relays(config.Linked, "a", "b")))
		settle()
		if get(t, s, "b") != b || b.Oper() != Down {
			t.Errorf("%+v", b.Status())
		}
	})
}

// What a doubt becomes is told once.
func TestIdentityIsToldWhenItChanges(t *testing.T) {
	b := &Backend{}
	b.plan.check.Type = config.CheckIRC
	b.plan.check.Register = config.Duration(time.Hour)
	asked := func(doubt string) outcome {
		return outcome{asked: true, at: time.Now(), opinion: opinion{doubt: doubt}}
	}
	for i, c := range []struct {
		out  outcome
		want string
	}{
		{asked(""), ""},
		{asked("another address"), "not believed: another address"},
		{asked("another address"), ""},
		{asked("a third"), ""},
		{outcome{}, ""},
		{outcome{err: errors.New("no")}, ""},
		{asked(""), "is believed now"},
		{asked(""), ""},
	} {
		if got := b.weighLocked(c.out); got != c.want {
			t.Errorf("%d: %q, want %q", i, got, c.want)
		}
	}
}

// What an ircd has proven counts until it is another one.
func TestReloadKeepsWhatIsProven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		pool := func(address string, weight int) map[string]config.Pool {
			p := relays(config.Linked, "a")
			p.Check.Type = config.CheckHandoff
			p.Backends[0] = config.Backend{Name: "a", Handoff: address, Weight: weight}
			return one(p)
		}
		s := w.newSet(t, "", pool("tcp:127.0.0.1:7000", 100))
		b := get(t, s, "a")
		proven := func() bool {
			b.mu.Lock()
			defer b.mu.Unlock()
			return b.plan.proven.Load()
		}
		if proven() {
			t.Fatal("nothing was proven")
		}
		b.plan.proven.Store(true)
		apply(t, s, pool("tcp:127.0.0.1:7000", 50))
		if !proven() {
			t.Error("a reload has forgotten it")
		}
		apply(t, s, pool("tcp:127.0.0.2:7000", 50))
		if proven() {
			t.Error("another address has proven nothing")
		}
	})
}

func TestServingIsOfAStandalonePool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld().all("a b")
		s := w.newSet(t, "", one(relays(config.Standalone, "a", "b")))
		settle()
		p := mainPool(t, s)
		w.events()
		for _, told := range []string{"serving main/b", ""} { // once
			if err := p.SetServing("b"); err != nil || p.Serving() != "b" {
				t.Errorf("%q, %v", p.Serving(), err)
			}
			settle()
			expect(t, "told", w.events(), told)
		}
		if err := p.SetServing("nobody"); err == nil || p.Serving() != "b" {
			t.Errorf("%q, %v", p.Serving(), err)
		}
		apply(t, s, one(relays(config.Linked, "a", "b")))
		if got := p.Serving(); got != "" {
			t.Errorf("a linked pool serves from %q", got)
		}
	})
}

// Who served before is in what is told, also if it was nobody.
func TestServingTellsWhoServedBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld().all("a b")
		s := w.newSet(t, "", one(relays(config.Standalone, "a", "b")))
		settle()
		if err := mainPool(t, s).SetServing("a"); err != nil {
			t.Fatal(err)
		}
		settle()
		expect(t, "a", w.last().Text, "in the place of none")
		w.set(where("a"), nil)
		after(time.Minute)
		expect(t, "chosen", chosen(t, mainPool(t, s)), "b")
		settle()
		expect(t, "b", w.last().Text, "in the place of a")
	})
}

// last is what was told last.
func (w *world) last() Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen[len(w.seen)-1]
}

func TestCapsOfALine(t *testing.T) {
	for line, want := range map[string]string{
		":irc CAP * LS :multi-prefix sasl=PLAIN tls": "multi-prefix sasl tls",
		":irc CAP * LS * :multi-prefix":              "multi-prefix",
		":irc cap * ls :multi-prefix":                "multi-prefix",
		":irc CAP * LS":                              "",
		":irc CAP * ACK :multi-prefix":               "",
		":irc NOTICE * LS :multi-prefix":             "",
		"CAP":                                        "",
		"":                                           "",
	} {
		if got := strings.Join(capsOf(parseSaid(line)), " "); got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}

// A refusal that is about the user is not one of the gateway's, in whatever case it is written.
func TestWhatARefusalIsAbout(t *testing.T) {
	for words, want := range map[string][2]bool{ // about WEBIRC, about a login
		"ERROR :Closing link: WEBIRC: bad password":  {true, false},
		"ERROR :CGI:IRC host not allowed":            {true, false},
		"cgiirc password":                            {true, false},
		"464 Password Incorrect":                     {false, true},
		"You need to identify via SASL":              {false, true},
		"YOU NEED AN ACCOUNT":                        {false, true},
		"Please Log In":                              {false, true},
		"A client CERTIFICATE is required":           {false, true},
		"465 You are banned":                         {false, false},
		"ERROR :Closing link: (x) [Too many clones]": {false, false},
	} {
		if aboutWebIRC(words) != want[0] || wantsLogin(words) != want[1] {
			t.Errorf("%q: about WEBIRC %v, about a login %v", words, aboutWebIRC(words), wantsLogin(words))
		}
	}
}

// Nicks that an ircd does not take are given up after some; a password that it asks for is no refusal by itself.
func TestChecksWhoseNickIsNotTaken(t *testing.T) {
	for _, numeric := range []string{"432", "433", "436", "437"} {
		ircd := script{ls: caps, user: strings.Repeat(":irc.test "+numeric+" * %n :No\n", 4)}
		b := config.Backend{Name: "a", Weight: 1, Address: ircd.play(t, nil).String(), Identity: config.IdentityNone}
		check := config.Check{Type: config.CheckIRC, Inter: seconds(3600), Register: seconds(3600), Timeout: seconds(2), Rise: 1, Fall: 1}
		var all []string
		for _, f := range Probe(t.Context(), config.Config{Pools: one(config.Pool{Check: check, Backends: []config.Backend{b}})}) {
			all = append(all, f.String())
		}
		if text := strings.Join(all, "\n"); !strings.Contains(text, "it took no nick: "+numeric) || !strings.HasPrefix(text, "ok: ") {
			t.Errorf("%s: %s", numeric, text)
		}
	}
}

// What a backend was found to be is forgotten where it is not checked, and by no other wish of the operator's.
func TestMaintForgetsTheChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld().all("a b")
		s := w.newSet(t, "", one(relays(config.Linked, "a", "b")))
		settle()
		b := get(t, s, "b")
		for _, c := range []struct {
			to AdminState
			up bool // before the next check
		}{{Drain, true}, {Drain, true}, {Ready, true}, {Maint, false}} {
			if err := b.SetAdmin(c.to); err != nil {
				t.Fatal(err)
			}
			if up := b.Oper() == Up; up != c.up {
				t.Errorf("in %s it is %s", c.to, b.Oper())
			}
		}
		w.set(where("b"), nil)
		if err := b.SetAdmin(Ready); err != nil {
			t.Fatal(err)
		}
		settle()
		if b.Oper() != Down {
			t.Error("up without a check")
		}
		if err := b.SetAdmin("nonsense"); err == nil || b.Admin() != Ready {
			t.Errorf("%v, %s", err, b.Admin())
		}
	})
}

// The order of addresses is a copy's.
func TestOrderOfAddressesIsACopy(t *testing.T) {
	a, b := netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.2:1")
	known := []netip.AddrPort{a, b}
	if got := firstOf(known, b); got[0] != b || got[1] != a || known[0] != a || known[1] != b {
		t.Errorf("%v of %v", got, known)
	}
	if got := firstOf(known, netip.AddrPort{}); got[0] != a || len(got) != 2 {
		t.Errorf("%v", got)
	}
}

// An ircd that was full and takes a client is full no more.
func TestOpenThatIsTakenEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d := newWorld(), newIrcd("e1")
		w.set("/a", d.accept)
		s := w.newSet(t, "", one(natives("a")))
		after(time.Second)
		a := get(t, s, "a")
		a.OpenRefused(string(protocol.CodeRefused))
		expect(t, "clients wait", chosen(t, mainPool(t, s)), "none")
		a.DialOK()
		expect(t, "clients come", chosen(t, mainPool(t, s)), "a")
	})
}

// Each of the operator's wishes alone keeps clients away.
func TestWhoIsUnfit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld().all("a b")
		s := w.newSet(t, "", one(relays(config.Linked, "a", "b")))
		settle()
		b := get(t, s, "b")
		now := time.Now()
		for name, c := range map[string]struct{ spoil, mend func() }{
			"admin":   {func() { b.admin = Drain }, func() { b.admin = Ready }},
			"removed": {func() { b.removed.Store(true) }, func() { b.removed.Store(false) }},
			"weight":  {func() { b.plan.conf.Weight = 0 }, func() { b.plan.conf.Weight = 100 }},
			"down":    {func() { b.health.oper = Down }, func() { b.health.oper = Up }},
		} {
			if b.fitness(now) != fit {
				t.Errorf("%s: unfit before", name)
			}
			c.spoil()
			if b.fitness(now) != unfit {
				t.Errorf("%s: fit", name)
			}
			c.mend()
		}
		b.health.checked = false
		if b.fitness(now) != waiting {
			t.Error("not checked, and not waited for")
		}
		b.health.checked = true
	})
}

func TestPortThatIsNone(t *testing.T) {
	r := reach{resolve: func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil
	}}
	known := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.9:6667")}
	if got, err := r.addresses(t.Context(), plan{host: "irc.test", port: "ircd"}, known); err == nil || !strings.Contains(err.Error(), `"ircd"`) || len(got) != 1 || got[0] != known[0] {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := r.addresses(t.Context(), plan{host: "irc.test", port: "6667"}, nil); err != nil || len(got) != 1 || got[0].String() != "192.0.2.1:6667" {
		t.Errorf("%v, %v", got, err)
	}
}

// An ircd that does not close when it is told QUIT is reset; one that does has an end in order.
func TestGoodbye(t *testing.T) {
	for _, closes := range []bool{true, false} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		us, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		ircd, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer ircd.Close()
		ircd.SetDeadline(time.Now().Add(10 * time.Second))
		if closes {
			ircd.(*net.TCPConn).CloseWrite()
		}
		goodbye(us)
		us.Close()
		if _, err := ircd.Read(make([]byte, 1)); errors.Is(err, syscall.ECONNRESET) == closes {
			t.Errorf("closes %v: it sees %v", closes, err)
		}
	}
}

// What an ircd says comes into a log cut short and without anything that a terminal would obey.
func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		" words \r\n":                "words",
		"\x1b[31mred\x07\x7f":        "?[31mred??",
		"caf\xe9":                    "caf?",
		strings.Repeat("x", 500):     strings.Repeat("x", 120),
		strings.Repeat("\x00", 1000): strings.Repeat("?", 120),
	} {
		if got := printable([]byte(in)); got != want {
			t.Errorf("%.20q: %q", in, got)
		}
	}
}

// Who has taken back his subscription hears of nothing more, and the others do.
func TestSubscriptionThatIsTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld().all("a")
		s := w.newSet(t, "", one(relays(config.Linked, "a")))
		heard := 0
		cancel := s.Subscribe(func(Event) { heard++ })
		settle()
		before := heard
		cancel()
		w.events()
		if err := get(t, s, "a").SetAdmin(Drain); err != nil {
			t.Fatal(err)
		}
		settle()
		if heard != before || before == 0 || w.events() == "" {
			t.Errorf("heard %d, and then %d", before, heard)
		}
	})
}
