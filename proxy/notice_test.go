package proxy

import (
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/internal/config"
	"github.com/ircferry/ircferry/proxy/leg"
)

// Mistakes that were made here by `make mutate` and that no test had noticed.

// The books are checked whenever the loops are asked, and each count of theirs is.
func TestBooksThatDoNotAddUp(t *testing.T) {
	r, a, _ := moves(t, config.Listener{})
	r.user(a, "ann")
	for _, spoil := range []func(w *worker, by int){
		func(w *worker, by int) { w.sessions += by },
		func(w *worker, by int) { w.counts.states[StateParked].Add(int64(by)) },
		func(w *worker, by int) { w.peerOf(r.backendOf("main/a")).live.Add(int64(by)) },
	} {
		before := r.violations
		r.onAll(ctxOf(t), func(w *worker) { spoil(w, 1) })
		r.lag()
		r.onAll(ctxOf(t), func(w *worker) { spoil(w, -1) })
		r.violations++
		r.lag()
		for i, w := range r.workers {
			if n := w.counts.violations.Load(); n != before+1 {
				t.Errorf("loop %d: %d violations, want %d", i, n, before+1)
			}
		}
	}
	r.eventually("a word of it", func() bool { return strings.Contains(r.logs.String(), "sessions do not add up") })
}

func (r *rig) backendOf(name string) *backend.Backend {
	b, _ := r.set.Backend(name)
	return b
}

// An ircd that turns clients away is told of, with its words; a client who leaves by himself was not turned away.
func TestClientsThatAreTurnedAwayAreReported(t *testing.T) {
	const ban = "ERROR :Closing link: [You are banned]\r\n"
	for name, c := range map[string]struct {
		say   string // the client
		tells string // the ircd
		leave bool   // the client first
		want  string // status; "": nothing
	}{
		"told before it has said who it is": {"CAP LS\r\n", ban, false, "You are banned"},
		"without a word":                    {"NICK ann\r\nUSER ann 0 * :ann\r\n", "", false, "no word"},
		"before it has said who it is":      {"NICK ann\r\n", "", false, ""},
		"who has said QUIT":                 {"NICK ann\r\nUSER ann 0 * :ann\r\nQUIT\r\n", "ERROR :Closing link: (ann) [Quit]\r\n", false, ""},
		"who has left":                      {"NICK ann\r\nUSER ann 0 * :ann\r\n", "ERROR :Closing link: (ann) [EOF]\r\n", true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r, d := relay(t, config.Listener{})
			for range 3 {
				client := r.dial()
				client.send(c.say)
				server := d.next()
				server.expect(c.say)
				if c.leave {
					client.CloseWrite()
					server.expectEnd()
				}
				server.send(c.tells)
				server.Close()
				client.expectGone()
				client.Close()
			}
			r.eventually("nobody", func() bool { return r.Counts().Sessions == 0 })
			if got := r.backendOf("main/a").Status().Refusing; c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("status %q, want %q", got, c.want)
			}
		})
	}
}

// Of a proxy that is closed each session has one outcome, and nobody waits for it.
func TestStepsOfAClosedProxy(t *testing.T) {
	r, a, _ := moves(t, config.Listener{})
	x := r.user(a, "ann")
	if err := r.Proxy.Close(); err != nil {
		t.Fatal(err)
	}
	if ms := r.Reopen(ctxOf(t), []string{x.u, "other.1", x.u}, "main/b"); len(ms) != 2 || ms[0].Cause != backend.CauseGone || ms[1].Cause != backend.CauseGone {
		t.Errorf("%+v", ms)
	}
	one(t, r.Thaw([]string{x.u}), backend.CauseGone)
}

// What may be the beginning of a PROXY header, and is none, is the client's first line.
func TestFirstLineInPiecesLikeAHeader(t *testing.T) {
	for _, pieces := range [][]string{{"P", "ASS x\r\nNICK ann\r\n"}, {"PROX", "IMITY", " x\r\nNICK ann\r\n"}, {"\r\n\r\n", "NICK ann\r\n"}} {
		r, d := relay(t, config.Listener{})
		client, said := r.dial(), 0
		for i, p := range pieces {
			client.send(p)
			if said += len(p); i < len(pieces)-1 {
				r.eventually("what was read", func() bool {
					seen := uint64(0)
					r.onAll(ctxOf(t), func(w *worker) { w.each(func(s *session) { seen = s.slot().ClientIn }) })
					return seen == uint64(said)
				})
			}
		}
		all := strings.Join(pieces, "")
		d.next().expect(all)
	}
}

// A client for whom there is no place is let go, and counts nowhere.
func TestClientWithoutAPlace(t *testing.T) {
	d := newIRCd(t)
	r := newRig(t, rigOptions{loops: 1, sessions: 2, backends: []config.Backend{{Name: "a", Address: d.addr(), Identity: config.IdentityNone}}})
	r.up("main/a")
	r.joined(d, "ann")
	client, server := r.joined(d, "ben")
	third := r.dialPlain()
	third.expectGone()
	r.eventually("two connections", func() bool { return r.listeners.Connections()["irc"] == 2 })
	if got := r.scrape(); got["sessions_ended_total{listener=irc,reason=memory}"] != 1 || got["listener_connections_total{listener=irc}"] != 3 {
		t.Errorf("%v ended, of %v", got["sessions_ended_total{listener=irc,reason=memory}"], got["listener_connections_total{listener=irc}"])
	}
	client.Close()
	server.Close()
	r.eventually("one session", func() bool { return r.Counts().Sessions == 1 })
	r.joined(d, "cid")
}

// A client that has ended its side has the usual time on the ircd that it was moved to, too.
func TestBoundsGoOnAfterASplice(t *testing.T) {
	for name, c := range map[string]struct {
		leave func(x *user)
		bound time.Duration
	}{
		"half closed": {func(x *user) { x.client.CloseWrite() }, halfClosedTime},
		"gone":        {func(x *user) { x.client.reset() }, leaveTime},
	} {
		t.Run(name, func(t *testing.T) {
			r, a, b := moves(t, config.Listener{})
			x := r.user(a, "ann")
			r.freeze(x)
			c.leave(x)
			r.splice(x, b, "", "")
			x.server.expectEnd()
			r.turnTime(t, c.bound)
			x.server.expectGone()
			r.eventually("the end", func() bool { return r.Counts().Sessions == 0 })
		})
	}
}

// A stream that is opened ends the count of those that were not: who fails now and then is not down.
func TestOpenedStreamEndsTheCountOfFailures(t *testing.T) {
	a := newNative(t, "a")
	r := newRig(t, rigOptions{backends: []config.Backend{a.config()}, fall: 2})
	r.up("main/a")
	var down atomic.Bool
	defer r.set.Subscribe(func(e backend.Event) {
		if e.Kind == backend.EventDown {
			down.Store(true)
		}
	})()
	for range 3 {
		client := r.dial()
		server := a.next()
		server.expectLine("OPEN ")
		server.Close()
		server, _ = a.opened()
		client.send("NICK ann\r\n")
		server.expect("NICK ann\r\n")
	}
	r.onAll(ctxOf(t), func(*worker) {})
	if down.Load() || r.backendOf("main/a").Oper() != backend.Up {
		t.Error("down by streams that failed one at a time")
	}
}

// What a dismissed client says is read away, and counted all the same.
func TestWhatADismissedClientSaysIsCounted(t *testing.T) {
	plaintextOnly(t)
	r, a, _ := moves(t, config.Listener{})
	x := r.user(a, "ann")
	before := r.scrape()["bytes_total{from=client}"]
	r.End([]string{x.u}, backend.CauseBackendGone, "bye")
	x.client.expectLine("ERROR ")
	const talk = 100_000
	x.client.send(strings.Repeat("x", talk))
	x.client.CloseWrite()
	x.server.expectEnd()
	x.server.Close()
	r.eventually("the end", func() bool { return r.Counts().Sessions == 0 })
	if n := r.scrape()["bytes_total{from=client}"] - before; n != talk {
		t.Errorf("%v bytes are counted of %d", n, talk)
	}
}

// Streams that were left are closed before another process goes on: it has no descriptor of them.
func TestStreamsThatWereLeftAreClosedByACut(t *testing.T) {
	r, _, _ := moves(t, config.Listener{})
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	r.onAll(ctxOf(t), func(w *worker) {
		for range oldBatch + 1 {
			fd, err := unix.FcntlInt(write.Fd(), unix.F_DUPFD_CLOEXEC, 0)
			if err != nil {
				t.Error(err)
				return
			}
			w.old = append(w.old, int32(fd))
		}
	})
	write.Close()
	cut, err := r.Cut(ctxOf(t))
	if err != nil {
		t.Fatal(err)
	}
	defer cut.GoOn()
	read.SetReadDeadline(time.Now().Add(patience))
	if _, err := read.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("some are open: %v", err)
	}
}

// What the kernel says of a connection that broke is kept: a host that has vanished is no reset.
func TestErrnoOfABrokenConnection(t *testing.T) {
	for _, c := range []struct {
		err  error
		want CloseReason
	}{
		{fmt.Errorf("%w: %w", leg.ErrBroken, unix.ETIMEDOUT), ReasonClientTimeout},
		{fmt.Errorf("%w: %w", leg.ErrBroken, unix.EHOSTUNREACH), ReasonClientTimeout},
		{fmt.Errorf("%w: %w", leg.ErrBroken, unix.ENETUNREACH), ReasonClientTimeout},
		{fmt.Errorf("%w: %w", leg.ErrBroken, unix.ENOMEM), ReasonMemory},
		{fmt.Errorf("%w: %w", leg.ErrBroken, unix.EPIPE), ReasonClientReset},
		{leg.ErrBroken, ReasonClientReset},
	} {
		if got := resetOrTimeout(errnoOf(c.err)); got != c.want {
			t.Errorf("%v: %s, want %s", c.err, got, c.want)
		}
	}
}

// A backend that refuses clients is told so at once, long before its next check.
func TestBackendHearsOfConnectsThatFail(t *testing.T) {
	d := newIRCd(t)
	r := newRig(t, rigOptions{fall: 1, inter: time.Hour, backends: []config.Backend{{Name: "a", Address: d.addr(), Identity: config.IdentityNone}}})
	r.up("main/a")
	down := make(chan string, 10)
	defer r.set.Subscribe(func(e backend.Event) {
		if e.Kind == backend.EventDown {
			down <- e.Text
		}
	})()
	d.l.Close()
	r.dial()
	select {
	case text := <-down:
		if !strings.HasPrefix(text, "connect: ") {
			t.Errorf("down: %s", text)
		}
	case <-time.After(patience):
		t.Error("it is up still")
	}
}

// A log that does not keep up loses lines, which are counted, and holds no loop up.
func TestLogThatDoesNotKeepUp(t *testing.T) {
	r, a, _ := moves(t, config.Listener{})
	r.user(a, "ann")
	l := newEndLog(r.log) // nobody writes
	r.onAll(ctxOf(t), func(w *worker) {
		w.each(func(s *session) {
			for range cap(l.lines) + 3 {
				l.add(s)
			}
		})
	})
	if n := l.drops.Load(); n != 3 {
		t.Errorf("%d ends were dropped, want 3", n)
	}
	for range cap(l.notes) + 4 {
		l.say(slog.LevelError, "x")
	}
	if n := l.drops.Load(); n != 7 {
		t.Errorf("%d lines were dropped, want 7", n)
	}
}

// Handshakes are counted by their outcome.
func TestHandshakesAreCountedByOutcome(t *testing.T) {
	r, d := secureRelay(t, config.Listener{})
	cache := &tls.Config{InsecureSkipVerify: true, ServerName: "irc.test", ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	for range 2 {
		c := r.dialPlain()
		c.secure(cache)
		c.send("NICK ann\r\n")
		server := d.next()
		server.expect("NICK ann\r\n")
		server.send(":irc 001 ann :hello\r\n")
		c.expect(":irc 001 ann :hello\r\n") // the ticket has come by then
		c.Close()
		server.Close()
	}
	bad := r.dialPlain()
	bad.send("GET / HTTP/1.1\r\n\r\n")
	bad.expectGone()
	r.eventually("nobody", func() bool { return r.Counts().Sessions == 0 })
	got := r.scrape()
	for outcome, want := range map[string]float64{"full": 1, "resumed": 1} {
		if n := got["tls_handshakes_total{listener=irc,outcome="+outcome+"}"]; n != want {
			t.Errorf("%s: %v, want %v", outcome, n, want)
		}
	}
}

// An ircd that refuses OPEN is told so to who counts: with its code, and long before the next check.
func TestBackendHearsOfOpensThatAreRefused(t *testing.T) {
	a := newNative(t, "a")
	r := newRig(t, rigOptions{backends: []config.Backend{a.config()}, fall: 1, inter: time.Hour})
	r.up("main/a")
	down := make(chan string, 10)
	defer r.set.Subscribe(func(e backend.Event) {
		if e.Kind == backend.EventDown {
			down <- e.Text
		}
	})()
	r.dial()
	server := a.next()
	server.expectLine("OPEN ")
	server.send("ERROR code=denied text=no\n")
	select {
	case text := <-down:
		if text != "OPEN: denied" {
			t.Errorf("down: %s", text)
		}
	case <-time.After(patience):
		t.Error("it is up still")
	}
}

// A detach takes the attached stream away, and nothing else: who relays has no move any more, who is frozen has all of it still.
func TestDetachLeavesTheRest(t *testing.T) {
	r, a, b := moves(t, config.Listener{})
	x := r.user(a, "ann")
	inMove := func() (held bool) {
		r.onAll(ctxOf(t), func(w *worker) { w.each(func(s *session) { held = s.mv != nil }) })
		return held
	}
	server := r.attach(x, b)
	r.Detach([]string{x.u})
	server.expectGone()
	if inMove() {
		t.Error("a move has a session that only was attached")
	}
	r.freeze(x)
	server = r.attach(x, b)
	x.client.send("PRIVMSG #x :held\r\n")
	r.arrived(len("PRIVMSG #x :held\r\n"))
	r.Detach([]string{x.u})
	server.expectGone()
	if !inMove() {
		t.Error("nobody has a session that is frozen")
	}
	if m := one(t, r.Thaw([]string{x.u}), ""); m.Pause <= 0 || m.HeldLines != 1 {
		t.Errorf("%+v", m)
	}
	x.server.expect("PRIVMSG #x :held\r\n")
	if inMove() {
		t.Error("a move has a session that was thawed")
	}
}

// Only who is frozen waits as if parked, and only if it is known in whose name it is answered.
func TestAwaitOfWhoCannot(t *testing.T) {
	r, a, _ := moves(t, config.Listener{})
	x := r.user(a, "ann")
	awaits := func() (yes bool) {
		r.onAll(ctxOf(t), func(w *worker) { w.each(func(s *session) { yes = s.mv != nil && s.mv.awaits }) })
		return yes
	}
	r.Await([]string{x.u}, "irc.a")
	x.toServer("PING relays\r\n")
	if awaits() {
		t.Error("who relays waits")
	}
	r.freeze(x)
	r.Await([]string{x.u}, "")
	if awaits() {
		t.Error("answers have no name to come from")
	}
	r.Await([]string{x.u}, "irc.a")
	if !awaits() {
		t.Error("who is frozen does not wait")
	}
	one(t, r.Thaw([]string{x.u}), "")
	x.toServer("PING x\r\n")
}

// All sessions of a large move are attached, though not all at once.
func TestMoreAreAttachedThanTogether(t *testing.T) {
	a, b := newNative(t, "a"), newNative(t, "b")
	r := newRig(t, rigOptions{backends: []config.Backend{a.config(), b.config()}, loops: 1})
	r.up("main/a")
	r.up("main/b")
	const n = attachTogether + 5
	us := make([]string, n)
	for i := range us {
		us[i] = r.user(a, "ann").u
	}
	go func() {
		for range n {
			b.attached()
		}
	}()
	ms := r.Attach(ctxOf(t), us, r.to(b))
	for _, m := range ms {
		if m.Cause != "" {
			t.Fatalf("%+v", m)
		}
	}
	if got := r.Streams(ctxOf(t), us, true); len(ms) != n || got.Open != n {
		t.Errorf("%d outcomes, %+v", len(ms), got)
	}
}

// Counts of handshakes go along to another process.
func TestHandshakesAreCountedOnByASuccessor(t *testing.T) {
	d, secure := newIRCd(t), map[string]*tls.Config{"irc": serverTLS(t, 0)}
	r := newRig(t, rigOptions{backends: []config.Backend{{Name: "a", Address: d.addr(), Identity: config.IdentityNone}},
		listener: config.Listener{TLS: &config.ListenerTLS{}}, secure: secure})
	r.up("main/a")
	r.secureJoined(d, nil)
	before := r.scrape()
	r.handOver(secure)
	after, some := r.scrape(), 0.0
	for name, n := range before {
		if strings.HasPrefix(name, "tls_handshakes_total") {
			if some += n; after[name] != n {
				t.Errorf("%s was %v and is %v", name, n, after[name])
			}
		}
	}
	if some < 1 {
		t.Errorf("%v handshakes in all", some)
	}
}

// A client whose backend refuses it goes to the next one, with what it has said.
func TestClientGoesToTheNextBackend(t *testing.T) {
	d, e := newIRCd(t), newIRCd(t)
	r := newRig(t, rigOptions{fall: 1, inter: time.Hour, backends: []config.Backend{
		{Name: "a", Address: d.addr(), Identity: config.IdentityNone}, {Name: "b", Address: e.addr(), Identity: config.IdentityNone}}})
	r.up("main/a")
	r.up("main/b")
	d.l.Close()
	client := r.dial()
	client.send("NICK ann\r\n")
	server := e.next()
	server.expect("NICK ann\r\n")
	server.send(":irc 001 ann :hello\r\n")
	client.expect(":irc 001 ann :hello\r\n")
	if r.backendOf("main/a").Sessions() != 0 || r.backendOf("main/b").Sessions() != 1 {
		t.Errorf("%d at a, %d at b", r.backendOf("main/a").Sessions(), r.backendOf("main/b").Sessions())
	}
}
