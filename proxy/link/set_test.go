package link

import (
	"context"
	"errors"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ircferry/ircferry/internal/config"
)

func (r *rig) pools(change func(*config.Pool)) map[string]config.Pool {
	p := r.pool
	p.Links = append([]config.Link(nil), p.Links...)
	change(&p)
	return map[string]config.Pool{"main": p}
}

// A reload opens and closes listeners, and links that are up stay so, whatever becomes of them.
func TestAReloadKeepsLinksThatAreUp(t *testing.T) {
	r := newRig(t)
	peer, ircd := r.linked(anope)
	old := r.door("services.example")
	check := func() {
		t.Helper()
		peer.say(":00S PRIVMSG #sea :on")
		ircd.expect(":00S PRIVMSG #sea :on")
	}
	if err := r.set.Apply(r.pools(func(p *config.Pool) { p.Links[0].Hold = 128 << 10; p.Links = append(p.Links, leafLink) })); err != nil {
		t.Fatal(err)
	}
	check()
	if i := r.set.Links(); len(i) != 2 || i[1].Hold != 128<<10 || i[1].Listen != old || i[0].State != Down {
		t.Errorf("%+v", i)
	}
	if err := r.set.Apply(r.pools(func(p *config.Pool) { p.Links = nil })); err != nil {
		t.Fatal(err)
	}
	check()
	if i := r.set.Links(); len(i) != 1 || !i[0].Removed || i[0].State != Raw {
		t.Errorf("%+v", i)
	}
	if c, err := net.Dial("tcp", old); err == nil {
		c.Close()
		t.Error("it listens still")
	}
	if of := r.set.Of("main/a"); len(of) != 1 || of[0].Proto != 1205 || of[0].Name != "services.example" {
		t.Errorf("%v", of)
	}
}

// What a move holds must not change under it; all else may.
func TestAReloadDoesNotChangeAHeldLink(t *testing.T) {
	r := newRig(t)
	_, ircd := r.linked(anope)
	h := r.hold(anope, ircd)
	for name, change := range map[string]func(*config.Pool){"removed": func(p *config.Pool) { p.Links = nil }, "other bound": func(p *config.Pool) { p.Links[0].Hold *= 2 }} {
		if err := r.set.Apply(r.pools(change)); err == nil || !strings.Contains(err.Error(), "main/services.example is held by a move") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := r.set.Apply(r.pools(func(p *config.Pool) { p.Links = append(p.Links, leafLink) })); err != nil {
		t.Error(err)
	}
	h.Resume()
	h.End(nil)
	r.until("raw again", func() bool { return r.state("services.example") == Raw })
	if err := r.set.Apply(r.pools(func(p *config.Pool) { p.Links[0].Hold *= 2 })); err != nil {
		t.Error(err)
	}
}

// A listener that cannot be opened changes nothing, and says what can be done.
func TestAnAddressThatIsTakenChangesNothing(t *testing.T) {
	r := newRig(t)
	taken := listen(t)
	before := r.door("services.example")
	err := r.set.Apply(r.pools(func(p *config.Pool) {
		p.Links = []config.Link{leafLink, {Name: "x.example", Listen: taken.Addr().String(), Hold: config.DefaultHold}}
	}))
	if err == nil || !strings.Contains(err.Error(), "main/x.example") || !strings.Contains(err.Error(), "ss -ltnp") {
		t.Errorf("%v", err)
	}
	if now := r.door("services.example"); now != before || len(r.set.Addrs()) != 1 {
		t.Errorf("%v", r.set.Addrs())
	}
}

// Goroutines and descriptors are all gone behind Close, whatever the links were doing.
func TestCloseLeavesNothing(t *testing.T) {
	descriptors := func() int {
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip(err)
		}
		return len(fds)
	}
	r := newRig(t, func(p *config.Pool) { p.Links = append(p.Links, leafLink) })
	goroutines, fds := runtime.NumGoroutine(), descriptors()
	for range 3 {
		peer, ircd := r.linked(anope)
		half, halfIrcd := r.dial("leaf.example"), r.accept("a")
		h := r.hold(anope, ircd) // and the half is closed
		r.cut(h, peer, ircd, "tx1")
		waits := r.dial("leaf.example")
		again := r.replay(anope, h, "tx2", "new")
		h.End(errors.New("over"))
		for _, e := range []*end{peer, ircd, half, halfIrcd, again} {
			e.Close()
		}
		r.accept("a").Close()
		waits.Close()
		r.until("no link is left", func() bool { return len(r.set.all()) == 0 })
	}
	peer, ircd := r.linked(anope)
	h := r.hold(anope, ircd)
	r.cut(h, peer, ircd, "tx1")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	closed := background(func() error { return r.set.Close(ctx) })
	peer.ended()
	peer.Close()
	ircd.Close()
	r.must("close", closed)
	if e := h.Ends(); e[0].Cause == nil {
		t.Error("a link that was held at the end has no cause")
	}
	h.End(nil)
	r.until("goroutines are gone", func() bool { return runtime.NumGoroutine() <= goroutines })
	r.until("descriptors are gone", func() bool { return descriptors() <= fds })
}

// An ircd that does not read keeps the peer from saying more, and no memory grows.
func TestWhoDoesNotReadMakesTheOtherWait(t *testing.T) {
	r := newRig(t)
	peer, ircd := r.linked(anope)
	const much = 32 << 20
	line := []byte(":00S PRIVMSG #sea :" + strings.Repeat("x", 400) + "\n")
	said := background(func() error {
		for n := 0; n < much; n += len(line) {
			if _, err := peer.Write(line); err != nil {
				return err
			}
		}
		return nil
	})
	l := r.set.all()[0]
	r.until("it waits", func() bool { return l.ircd.waiting() > maxWaiting })
	select {
	case err := <-said:
		t.Fatalf("all was taken: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	if n := l.ircd.waiting(); n > maxWaiting+2*readSize {
		t.Errorf("%d bytes wait", n)
	}
	for n := 0; n < much; n += len(line) {
		if got := ircd.next(); got+"\n" != string(line) {
			t.Fatalf("got %q", got)
		}
	}
	r.must("say", said)
}

// Gauges and counters say what became of a link.
func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	r := newRig(t)
	r.set.Close(r.ctx())
	r.set = NewSet(Options{Backends: r.backends, Registerer: reg})
	t.Cleanup(func() { r.set.Close(context.Background()) })
	if err := r.set.Apply(map[string]config.Pool{"main": r.pool}); err != nil {
		t.Fatal(err)
	}
	peer, ircd := r.linked(anope)
	h := r.hold(anope, ircd)
	r.cut(h, peer, ircd, "tx1")
	peer.say(":00S X")
	r.until("it is kept", func() bool { return r.set.Links()[0].Kept == 7 })
	if got := value(t, reg, "ircferry_link_up", ""); got != 1 {
		t.Errorf("up: %v", got)
	}
	if got := value(t, reg, "ircferry_link_state", "cut"); got != 1 {
		t.Errorf("state: %v", got)
	}
	if got := value(t, reg, "ircferry_link_kept_bytes", ""); got != 7 {
		t.Errorf("kept: %v", got)
	}
	h.Part()
	ircd = r.replay(anope, h, "tx2", "new")
	h.End(errors.New("over"))
	for name, label := range map[string]string{"ircferry_link_given_up_total": "move", "ircferry_link_replays_total": "done", "ircferry_link_ends_total": "given_up"} {
		if got := value(t, reg, name, label); got != 1 {
			t.Errorf("%s: %v", name, got)
		}
	}
	if i := r.set.Links()[0]; i.GivenUp != 1 || i.State != Down {
		t.Errorf("%+v", i)
	}
	ircd.ended()
}

// value is that of the series of services.example that has a label of this value; "": any.
func value(t *testing.T, reg *prometheus.Registry, name, label string) float64 {
	t.Helper()
	all, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		for _, m := range f.GetMetric() {
			fits, mine := label == "", false
			for _, l := range m.GetLabel() {
				fits = fits || l.GetValue() == label
				mine = mine || l.GetValue() == "services.example"
			}
			if f.GetName() == name && fits && mine {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	t.Errorf("there is no %s", name)
	return 0
}

// A second connection of a link goes to the ircd, which refuses it itself; shown is the one that is up.
func TestASecondConnectionIsTheIrcdsToRefuse(t *testing.T) {
	r := newRig(t)
	peer, ircd := r.linked(anope)
	second := r.dial("services.example")
	again := r.accept("a")
	second.say(anope.hello()...)
	again.expect(anope.hello()...)
	if i := r.set.Links(); len(i) != 1 || i[0].State != Raw || i[0].From != peer.LocalAddr().String() {
		t.Errorf("%+v", i)
	}
	again.say("ERROR :Server services.example already exists")
	again.Close()
	second.expect("ERROR :Server services.example already exists")
	second.ended()
	peer.say(":00S PRIVMSG #sea :on")
	ircd.expect(":00S PRIVMSG #sea :on")
	var more []*end
	for range maxConnections - 1 {
		more = append(more, r.dial("services.example"))
		r.accept("a")
	}
	r.dial("services.example").ended()
	r.until("it is told", func() bool { return strings.Contains(r.log.String(), "reason=many") })
	if i := r.set.Links(); i[0].Refused != 1 {
		t.Errorf("%+v", i)
	}
	for _, e := range more {
		e.Close()
	}
}
