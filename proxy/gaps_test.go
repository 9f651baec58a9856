package proxy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/internal/config"
	"github.com/ircferry/ircferry/proxy/lines"
	"github.com/ircferry/ircferry/proxy/loop"
)

// The tests of this file are for mistakes that no other test noticed (make mutate).

func TestDetachClosesTheAttachedStream(t *testing.T) {
	r, a, b := moves(t, config.Listener{})
	x := r.user(a, "ann")
	server := r.attach(x, b)
	r.Detach([]string{x.u})
	server.expectGone()
	r.freeze(x)
	server = r.attach(x, b)
	r.Detach([]string{x.u})
	server.expectGone()
	server = r.attach(x, b)
	one(t, r.Thaw([]string{x.u}), "")
	server.expectGone()
	server = r.attach(x, b)
	one(t, r.Thaw([]string{x.u}), "") // of one that is not frozen: its attached stream goes, and nothing else
	server.expectGone()
	x.toServer("PING x\r\n")
}

// A refused ATTACH is the end of its stream.
func TestRefusedAttachIsClosed(t *testing.T) {
	r, a, b := moves(t, config.Listener{})
	x := r.user(a, "ann")
	done := make(chan []backend.Moved, 1)
	go func() { done <- r.Attach(ctxOf(t), []string{x.u}, r.to(b)) }()
	server := b.next()
	server.expectLine("ATTACH ")
	server.send("ERROR code=denied u=" + x.u + " text=no\n")
	one(t, <-done, backend.CauseAttach)
	server.expectGone()
	x.toServer("PING x\r\n")
}

// A key of a session that is over names nobody, also when its place has another one.
func TestStaleKeysNameNobody(t *testing.T) {
	d := newIRCd(t)
	r := newRig(t, rigOptions{loops: 1, backends: []config.Backend{{Name: "a", Address: d.addr(), Identity: config.IdentityNone}}})
	r.up("main/a")
	first, server := r.joined(d, "ann")
	w := r.workers[0]
	var was loop.Key
	var id string
	r.onAll(ctxOf(t), func(*worker) { w.each(func(s *session) { was, id = s.key(portClient), s.id() }) })
	server.Close()
	first.Close()
	r.eventually("the end", func() bool { return r.Counts().Sessions == 0 })
	second, _ := r.joined(d, "ben")
	r.onAll(ctxOf(t), func(*worker) {
		w.each(func(s *session) {
			if s.key(portClient).Slot() != was.Slot() {
				t.Error("the place is not used again")
			}
		})
		if w.at(was) != nil || w.find(id) != nil {
			t.Error("the key of a session that is over names the next one")
		}
	})
	r.End([]string{id}, backend.CauseBackendGone, "bye")
	second.expectNothingYet()
}

// A step finds out by itself who cannot take it: each session that it is given has its outcome.
func TestStepsOfWhoCannotTakeThem(t *testing.T) {
	r, a, _ := moves(t, config.Listener{})
	x := r.user(a, "ann")
	us := []string{x.u, "test.zzzz", "other.1", x.u}
	for name, step := range map[string]func() []backend.Moved{
		"read up": func() []backend.Moved {
			var cuts []backend.Cut
			for _, u := range us {
				cuts = append(cuts, backend.Cut{U: u, Out: 1 << 30})
			}
			return r.ReadUp(ctxOf(t), cuts)
		},
		"splice": func() []backend.Moved {
			var ss []backend.Splice
			for _, u := range us {
				ss = append(ss, backend.Splice{U: u})
			}
			return r.Splice(ctxOf(t), "main/b", ss)
		},
		"reopen": func() []backend.Moved { return r.Reopen(ctxOf(t), us, "main/b") },
	} {
		ms := step()
		if len(ms) != 3 {
			t.Errorf("%s: %+v", name, ms)
		}
		for _, m := range ms {
			if m.Cause != backend.CauseGone {
				t.Errorf("%s: %+v", name, m)
			}
		}
	}
	r.Park([]string{x.u}, "irc.a")
	x.toServer("PING x\r\n")
}

// What a client says while much is owed to it is read when it has got that.
func TestClientThatIsOwedMuchIsReadAgain(t *testing.T) {
	r, d := relay(t, config.Listener{})
	client, server := r.joined(d, "ann")
	server.send(":irc NOTICE ann :half")
	client.expect(":irc NOTICE ann :half")
	const n = 1000 // and so much that it is not read for a while
	client.send(strings.Repeat("STARTTLS\r\n", n))
	r.eventually("a client that is not read", func() bool {
		all, _ := r.Sessions(ctxOf(t))
		return len(all) == 1 && all[0].Held >= highWater
	})
	client.send("PING x\r\n")
	server.expectNothingYet()
	server.send(" a line\r\n")
	client.expect(" a line\r\n" + strings.Repeat(startTLSRefused, n))
	server.expect("PING x\r\n")
}

// A session that was opened anew is counted from its OPENED on, like any other.
func TestReopenedStreamIsCountedExactly(t *testing.T) {
	r, a, b := moves(t, config.Listener{})
	x := r.early(t, a, "CAP LS 302\r\nNICK ann\r\n", ":irc.a CAP * LS :multi-prefix\r\n")
	x.client.send("CAP EN")
	done := make(chan []backend.Moved, 1)
	go func() { done <- r.Reopen(ctxOf(t), []string{x.u}, "main/b") }()
	server := b.next()
	line := server.expectLine("OPEN ")
	first, second := ":irc.b CAP * LS :multi-", "prefix\r\n:irc.b NOTICE * :more\r\n"
	server.send("OPENED u=" + field(line, "u") + "\n" + first)
	server.expect("CAP LS 302\r\nNICK ann\r\n")
	server.send(second)
	one(t, <-done, "")
	x.client.expect(":irc.b NOTICE * :more\r\n")
	x.client.send("D\r\n")
	server.expect("CAP END\r\n")
	welcome := ":irc.b 001 ann :hello\r\n"
	server.send(welcome)
	x.client.expect(welcome)
	fs, err := r.Freeze(ctxOf(t), "main/b")
	if err != nil || len(fs) != 1 {
		t.Fatal(fs, err)
	}
	in, out := len("CAP LS 302\r\nNICK ann\r\nCAP END\r\n"), len(first+second+welcome)
	if fs[0].In != uint64(in) || fs[0].Out != uint64(out) || !fs[0].Registered {
		t.Errorf("in=%d out=%d registered=%v, want %d, %d", fs[0].In, fs[0].Out, fs[0].Registered, in, out)
	}
	one(t, r.Thaw([]string{x.u}), "")
}

// A first line that has no end is no answer, wherever one is awaited.
func TestFirstLinesHaveABound(t *testing.T) {
	endless := strings.Repeat("x", maxFirstLine+1)
	t.Run("OPEN", func(t *testing.T) {
		r, a, _ := moves(t, config.Listener{})
		r.dial().send("NICK ann\r\n")
		server := a.next()
		server.expectLine("OPEN ")
		server.send(endless)
		server.expectGone()
		a.opened() // another try
	})
	t.Run("ATTACH", func(t *testing.T) {
		r, a, b := moves(t, config.Listener{})
		x := r.user(a, "ann")
		done := make(chan []backend.Moved, 1)
		go func() { done <- r.Attach(ctxOf(t), []string{x.u}, r.to(b)) }()
		server := b.next()
		server.expectLine("ATTACH ")
		server.send(endless)
		server.expectGone()
		b.attached() // another try
		one(t, <-done, "")
	})
	t.Run("COMMIT", func(t *testing.T) {
		r, a, b := moves(t, config.Listener{})
		x := r.user(a, "ann")
		r.freeze(x)
		server := r.attach(x, b)
		done := make(chan []backend.Moved, 1)
		go func() { done <- r.Splice(ctxOf(t), "main/b", []backend.Splice{{U: x.u}}) }()
		server.send(endless)
		one(t, <-done, backend.CauseNoLive)
		x.client.expectLine("ERROR ")
	})
	t.Run("OPEN anew", func(t *testing.T) {
		r, a, b := moves(t, config.Listener{})
		x := r.early(t, a, "NICK ann\r\n", ":irc.a NOTICE * :looking\r\n")
		done := make(chan []backend.Moved, 1)
		go func() { done <- r.Reopen(ctxOf(t), []string{x.u}, "main/b") }()
		server := b.next()
		server.expectLine("OPEN ")
		server.send(endless)
		one(t, <-done, backend.CauseRegistration)
		x.client.expectLine("ERROR ")
	})
}

// A line that is too long ends a session that is not registered, too, and the lines before it go on.
func TestLineTooLongBeforeRegistration(t *testing.T) {
	r, d := relay(t, config.Listener{})
	client := r.dial()
	client.send("NICK ann\r\nX " + strings.Repeat("y", 17<<10) + "\r\nUSER a\r\n")
	client.expectLine("ERROR :Closing link: (ircferry) Line too long")
	server := d.next()
	server.expect("NICK ann\r\n")
	server.expectEnd()
	server.Close()
	client.Close()
	r.ended("line_too_long")
}

// Lines wait for USER, so that WEBIRC can come before it: until it is there, until there is much of them, until two seconds are over.
func TestLinesWaitForUser(t *testing.T) {
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("pw\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, go1 := range map[string]func(r *rig, c *conn) string{
		"USER": func(r *rig, c *conn) string {
			c.send("USER a 0 * :a\r\n")
			return "USER a 0 * :a\r\n"
		},
		"much": func(r *rig, c *conn) string {
			line := "X " + strings.Repeat("y", 500) + "\r\n"
			c.send(strings.Repeat(line, 17))
			return strings.Repeat(line, 17)
		},
		"time": func(r *rig, c *conn) string {
			r.turnTime(r.t.(*testing.T), userTime)
			return ""
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newIRCd(t)
			r := newRig(t, rigOptions{backends: []config.Backend{{Name: "a", Address: d.addr(), Identity: config.IdentityWebIRC, WebIRCPasswordFile: password, WebIRCAfter: "user"}}})
			r.up("main/a")
			client := r.dial()
			client.send("NICK ann\r\nCAP LS\r\n")
			r.eventually("held lines", func() bool {
				all, _ := r.Sessions(ctxOf(t))
				return len(all) == 1 && all[0].Held == len("NICK ann\r\nCAP LS\r\n")
			})
			if name != "time" {
				r.onAll(ctxOf(t), func(w *worker) { w.each(func(s *session) { s.within(time.Hour) }) })
			}
			want := "NICK ann\r\nCAP LS\r\n" + go1(r, client)
			server := d.next()
			server.expectLine("WEBIRC pw ")
			server.expect(want)
			client.send("PING x\r\n")
			server.expect("PING x\r\n")
		})
	}
}

func TestMalformedProxyHeaderIsRefused(t *testing.T) {
	plaintextOnly(t)
	for _, header := range []string{"PROXY TCP4 198.51.100.7 192.0.2.1 4711\r\n", "PROXY TCP4 x 192.0.2.1 4711 6667\r\n", headerV2[:12] + "\x31\x11\x00\x0c" + headerV2[16:]} {
		r, _ := relay(t, config.Listener{ProxyProtocol: fromLoopback()})
		client := r.dial()
		client.send(header + "NICK ann\r\n")
		client.expectLine("ERROR :Closing link: (ircferry) Malformed PROXY header")
		client.expectGone()
		r.ended("header_bad")
		if n := r.Counts().Sessions; n != 0 {
			t.Errorf("%d sessions", n)
		}
	}
}

// An ircd that ends the stream of a frozen user is heard of at the thaw.
func TestThawOfAStreamThatHasEnded(t *testing.T) {
	r, a, _ := moves(t, config.Listener{})
	x := r.user(a, "ann")
	r.freeze(x)
	x.server.Close()
	r.eventually("the end of the stream", func() bool { return r.Streams(ctxOf(t), []string{x.u}, false).Ended == 1 })
	r.eventually("the end is read", func() bool {
		ended := false
		r.onAll(ctxOf(t), func(w *worker) { w.each(func(s *session) { ended = s.backend.Ended() }) })
		return ended
	})
	one(t, r.Thaw([]string{x.u}), backend.CauseGone)
	x.client.expectLine("ERROR :Closing link: (ircferry) The server has gone away")
	x.client.expectEnd()
	x.client.Close()
	r.ended("backend_lost")
}

// A client that was dismissed before the freeze, and whose ircd has ended its stream since, is not waited for without end.
func TestThawOfADismissedSessionIsBounded(t *testing.T) {
	r, a, _ := moves(t, config.Listener{})
	x := r.user(a, "ann")
	x.client.send(strings.Repeat("x", 17<<10))
	x.client.expectLine("ERROR :Closing link: (ircferry) Line too long")
	x.server.expectEnd()
	if fs, err := r.Freeze(ctxOf(t), "main/a"); err != nil || len(fs) != 1 {
		t.Fatal(fs, err)
	}
	x.server.Close()
	r.eventually("the end is read", func() bool {
		ended := false
		r.onAll(ctxOf(t), func(w *worker) { w.each(func(s *session) { ended = s.backend.Ended() }) })
		return ended
	})
	one(t, r.Thaw([]string{x.u}), backend.CauseGone)
	r.turnTime(t, lingerTime)
	x.client.expectGone()
	r.eventually("the end", func() bool { return r.Counts().Sessions == 0 })
}

// What bounds a session before a freeze bounds it again after the thaw.
func TestBoundsGoOnAfterAThaw(t *testing.T) {
	for name, c := range map[string]struct {
		leave func(x *user)
		bound time.Duration
	}{
		"half closed": {func(x *user) { x.client.CloseWrite() }, halfClosedTime},
		"gone":        {func(x *user) { x.client.reset() }, leaveTime},
	} {
		t.Run(name, func(t *testing.T) {
			r, a, _ := moves(t, config.Listener{})
			x := r.user(a, "ann")
			r.freeze(x)
			c.leave(x)
			one(t, r.Thaw([]string{x.u}), "")
			x.server.expectEnd()
			r.turnTime(t, c.bound)
			x.server.expectGone()
			r.eventually("the end", func() bool { return r.Counts().Sessions == 0 })
		})
	}
}

// A client that was dismissed and does not close is closed after a moment, and so is the stream of an ircd that does not end it.
func TestDismissedClientsAreNotWaitedForLong(t *testing.T) {
	r, d := relay(t, config.Listener{})
	client, server := r.joined(d, "ann")
	client.send(strings.Repeat("x", 17<<10))
	client.expectLine("ERROR :Closing link: (ircferry) Line too long")
	server.expectEnd()
	r.turnTime(t, lingerTime)
	client.expectGone()
	r.turnTime(t, leaveTime)
	r.ended("line_too_long")
	r.eventually("the end", func() bool { return r.Counts().Sessions == 0 })
	server.expectGone()

	other, otherServer := r.joined(d, "ben")
	otherServer.Close()
	other.expectLine("ERROR :Closing link: (ircferry) The server has gone away")
	r.turnTime(t, lingerTime)
	other.expectGone()
	r.eventually("the end", func() bool { return r.Counts().Sessions == 0 })
}

// The lines by which ircds turn a client away are kept, as many as are needed.
func TestRefusalsAreKnown(t *testing.T) {
	for verb, want := range map[string]bool{"ERROR": true, "463": true, "464": true, "465": true, "466": true, "NOTICE": false, "433": false, "001": false} {
		var r opening
		line := []byte(":irc " + verb + " * :" + strings.Repeat("x", 600) + "\r\n")
		for range 3 {
			r.noteRefusal(lines.Parse(line), line)
		}
		if got := len(r.refusal) > 0; got != want || want && (len(r.refusal) != maxRefusal || len(r.refusal[0]) != 512) {
			t.Errorf("%s: %d lines are kept", verb, len(r.refusal))
		}
	}
}

// What a registration was is forgotten with it.
func TestRegistrationLeavesNothing(t *testing.T) {
	d := newIRCd(t)
	r := newRig(t, rigOptions{loops: 1, backends: []config.Backend{{Name: "a", Address: d.addr(), Identity: config.IdentityNone}}})
	r.up("main/a")
	client := r.dial()
	client.send("PASS secret\r\n")
	server := d.next()
	server.send(":irc NOTICE * :half a line")
	client.expect(":irc NOTICE * :half a line")
	client.Close()
	server.expect("PASS secret\r\n")
	server.Close()
	r.eventually("the end", func() bool { return r.Counts().Sessions == 0 })
	r.onAll(ctxOf(t), func(w *worker) {
		for _, o := range w.spare {
			if o.answer.Len() > 0 || o.talk.lines != nil && strings.Contains(string(o.talk.lines[:cap(o.talk.lines)]), "secret") {
				t.Errorf("%d bytes of an answer, %q", o.answer.Len(), o.talk.lines[:cap(o.talk.lines)])
			}
		}
		if len(w.spare) != 1 {
			t.Errorf("%d openings are spare", len(w.spare))
		}
	})
}

// Why a client is sent away is what the last try came to.
func TestLastTrySaysWhyNobodyTakesAClient(t *testing.T) {
	for name, reachable := range map[string]bool{"refused": true, "refused, then out of reach": false} {
		t.Run(name, func(t *testing.T) {
			a := newNative(t, "a")
			r := newRig(t, rigOptions{loops: 1, backends: []config.Backend{a.config()}})
			r.up("main/a")
			client := r.dial()
			client.send("NICK ann\r\n")
			refuse := func(c *conn) {
				line := c.expectLine("OPEN ")
				c.send("ERROR code=u-in-use u=" + field(line, "u") + " text=no\n")
			}
			server := a.next()
			if !reachable {
				a.l.Close()
			}
			refuse(server)
			go func() {
				for {
					select {
					case c := <-a.accepted:
						refuse(newConn(t, c))
					case <-t.Context().Done():
						return
					}
				}
			}()
			r.eventually("another try", func() bool {
				tries := 0
				r.onAll(ctxOf(t), func(w *worker) {
					w.each(func(s *session) {
						if s.state == StateWaiting {
							tries = s.reg.tries
						}
					})
				})
				return tries >= 2
			})
			r.onAll(ctxOf(t), func(w *worker) { w.each(func(s *session) { s.reg.since -= connectTime }) })
			if reachable {
				client.expectLine("ERROR :Closing link: (ircferry) The server does not accept connections")
			} else {
				client.expectLine("ERROR :Closing link: (ircferry) No server can be reached")
			}
		})
	}
}

// A move hears of an end at once, not when the client has read its last words.
func TestMoveHearsOfAnEndAtOnce(t *testing.T) {
	r, a, _ := moves(t, config.Listener{})
	x := r.user(a, "ann")
	r.freeze(x)
	done := make(chan []backend.Moved, 1)
	go func() { done <- r.ReadUp(ctxOf(t), []backend.Cut{{U: x.u, Out: x.out + 100}}) }()
	r.eventually("it waits", func() bool {
		waits := false
		r.onAll(ctxOf(t), func(w *worker) { w.each(func(s *session) { waits = s.mv.batch != nil }) })
		return waits
	})
	begin := time.Now()
	r.End([]string{x.u}, backend.CauseBackendGone, "bye")
	one(t, <-done, backend.CauseGone)
	if took := time.Since(begin); took > lingerTime/2 {
		t.Errorf("heard after %v", took)
	}
	x.client.expectLine("ERROR ")
}

// LIVE may come in pieces.
func TestLiveInPieces(t *testing.T) {
	r, a, b := moves(t, config.Listener{})
	x := r.user(a, "ann")
	r.freeze(x)
	server := r.attach(x, b)
	done := make(chan []backend.Moved, 1)
	go func() { done <- r.Splice(ctxOf(t), "main/b", []backend.Splice{{U: x.u}}) }()
	line := "LIVE u=" + x.u + "\n"
	server.send(line[:6])
	r.eventually("a part of it is read", func() bool {
		n := 0
		r.onAll(ctxOf(t), func(w *worker) {
			w.each(func(s *session) {
				if s.mv != nil {
					n = s.mv.attached.first.Len()
				}
			})
		})
		return n == 6
	})
	server.send(line[6:])
	one(t, <-done, "")
	server.send(":irc PING x\r\n")
	x.client.expect(":irc PING x\r\n")
}

// A reload may take the pool of a client away that waits for a backend.
func TestPoolOfAWaitingClientIsTakenAway(t *testing.T) {
	d := newIRCd(t)
	r := newRig(t, rigOptions{loops: 1, backends: []config.Backend{{Name: "a", Address: d.addr(), Identity: config.IdentityNone}}})
	r.up("main/a")
	r.Gate("main")
	client := r.dial()
	client.send("NICK ann\r\n")
	r.eventually("waiting client", func() bool { return r.Counts().Waiting == 1 })
	if err := r.set.Apply(map[string]config.Pool{}); err != nil {
		t.Fatal(err)
	}
	r.Ungate("main")
	r.onAll(ctxOf(t), func(w *worker) {
		w.each(func(s *session) {
			if s.state != StateWaiting || s.deadline == 0 {
				t.Errorf("%v until %v", s.state, s.deadline)
			}
			s.reg.since -= connectTime
		})
	})
	client.expectLine("ERROR :Closing link: (ircferry) No server can be reached")
}

// At the gate nobody is tired of waiting: also not who waited for a backend before it was shut.
func TestGateHasTime(t *testing.T) {
	d := newIRCd(t)
	r := newRig(t, rigOptions{loops: 1, backends: []config.Backend{{Name: "a", Address: d.addr(), Identity: config.IdentityNone}}})
	r.up("main/a")
	b, _ := r.set.Backend("main/a")
	if err := b.SetAdmin(backend.Maint); err != nil {
		t.Fatal(err)
	}
	client := r.dial()
	client.send("NICK ann\r\n")
	r.eventually("waiting client", func() bool { return r.Counts().Waiting == 1 })
	deadline := func() (d time.Duration) {
		r.onAll(ctxOf(t), func(w *worker) { w.each(func(s *session) { d = s.deadline }) })
		return d
	}
	if deadline() == 0 {
		t.Error("it waits without end")
	}
	r.Gate("other")
	if deadline() == 0 {
		t.Error("it waits at the gate of another pool")
	}
	r.Gate("main")
	if d := deadline(); d != 0 {
		t.Errorf("at the gate it waits until %v", d)
	}
	if err := b.SetAdmin(backend.Ready); err != nil {
		t.Fatal(err)
	}
	r.Ungate("main")
	r.Ungate("other")
	d.next().expect("NICK ann\r\n")
}

// Where COMMITTED has said it for all, nobody waits for LIVE.
func TestSpliceOfWhoIsLive(t *testing.T) {
	r, a, b := moves(t, config.Listener{})
	x := r.user(a, "ann")
	r.freeze(x)
	server := r.attach(x, b)
	x.client.send("PING held\r\n")
	r.arrived(len("PING held\r\n"))
	one(t, r.Splice(ctxOf(t), "main/b", []backend.Splice{{U: x.u, Live: true, RQ: []byte("PING before\r\n"), SQ: []byte(":irc.a NOTICE ann :late\r\n")}}), "")
	server.expect("PING before\r\nPING held\r\n")
	x.client.expect(":irc.a NOTICE ann :late\r\n")
	server.send(":irc.b PING x\r\n")
	x.client.expect(":irc.b PING x\r\n")
	if _, err := x.server.Write([]byte("x")); err == nil {
		x.server.expectGone()
	}
}

// USER that does not come is waited for so long, and then for the rest of the registration.
func TestUserIsNotWaitedForLong(t *testing.T) {
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("pw\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := newIRCd(t)
	r := newRig(t, rigOptions{loops: 1, listener: config.Listener{Limits: config.Limits{Registration: config.Duration(time.Hour)}},
		backends: []config.Backend{{Name: "a", Address: d.addr(), Identity: config.IdentityWebIRC, WebIRCPasswordFile: password, WebIRCAfter: "user"}}})
	r.up("main/a")
	client := r.dial()
	client.send("NICK ann\r\n")
	left := func() (left time.Duration) {
		r.onAll(ctxOf(t), func(w *worker) {
			w.each(func(s *session) {
				if s.state == StateRelay {
					left = s.deadline - w.loop.Now()
				}
			})
		})
		return left
	}
	r.eventually("waiting for USER", func() bool { return left() > 0 })
	if d := left(); d > userTime {
		t.Errorf("USER is waited for for %v", d)
	}
	r.turnTime(t, userTime)
	server := d.next()
	server.expectLine("WEBIRC pw ")
	if d := left(); d < time.Hour-time.Minute {
		t.Errorf("the registration has %v left", d)
	}
}
