package proxy

import (
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/internal/config"
)

// What is tried again in a move, and for how long.

// again has the ircd listen once more where it did.
func (d *ircd) again() {
	d.t.Helper()
	l, err := net.Listen("tcp", d.addr())
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			d.accepted <- c.(*net.TCPConn)
		}
	}()
}

// Who was not registered is opened anew as often as there is time, whatever a try comes to.
func TestReopenTriesAgain(t *testing.T) {
	r, a, b := moves(t, config.Listener{})
	x := r.early(t, a, "NICK ann\r\n", ":irc.a NOTICE * :looking\r\n")
	b.l.Close()
	done := make(chan []backend.Moved, 1)
	go func() { done <- r.Reopen(ctxOf(t), []string{x.u}, "main/b") }()
	r.eventually("a try that failed", func() bool {
		rests := false
		r.onAll(ctxOf(t), func(w *worker) {
			w.each(func(s *session) { rests = s.reg != nil && s.reg.step == reopenResting })
		})
		return rests
	})
	b.again()
	server := b.next()
	server.expectLine("OPEN ")
	refused := time.Now()
	server.send("ERROR code=refused u=" + x.u + " text=no\n")
	server.expectGone()
	if took := time.Since(refused); took > openTime-time.Second { // it is not waited for any longer
		t.Errorf("a refused try is left after %v", took)
	}
	server = b.next()
	server.expectLine("OPEN ")
	server.Close()
	server = b.next()
	server.expectLine("OPEN ")
	r.turnTime(t, openTime) // no answer
	server.expectGone()
	server, _ = b.opened()
	server.expect("NICK ann\r\n")
	server.send(":irc.b NOTICE * :looking\r\n:irc.b 001 ann :hello\r\n")
	one(t, <-done, "")
	x.client.expect(":irc.b 001 ann :hello\r\n")
	x.client.send("PING x\r\n")
	server.expect("PING x\r\n")
}

// An ircd that answers otherwise than the old one did, or not at all, ends it.
func TestReopenThatComesToNothing(t *testing.T) {
	for name, how := range map[string]func(r *rig, server *conn){
		"other answers": func(_ *rig, server *conn) { server.send(":irc.b CAP * NAK :sasl\r\n") },
		"no answers":    func(r *rig, _ *conn) { r.turnTime(r.t.(*testing.T), reopenTime) },
		"the end":       func(_ *rig, server *conn) { server.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			r, a, b := moves(t, config.Listener{})
			x := r.early(t, a, "CAP REQ sasl\r\n", ":irc.a CAP * ACK :sasl\r\n") // what has to be answered as it was
			done := make(chan []backend.Moved, 1)
			go func() { done <- r.Reopen(ctxOf(t), []string{x.u}, "main/b") }()
			server, _ := b.opened()
			server.expect("CAP REQ sasl\r\n")
			how(r, server)
			if name == "the end" { // it is tried again, up to reopenTime
				r.onAll(ctxOf(t), func(w *worker) { w.each(func(s *session) { s.reg.since -= reopenTime }) })
			}
			one(t, <-done, backend.CauseRegistration)
			x.client.expectLine("ERROR :Closing link: (ircferry) The server is being replaced")
			x.client.Close()
			r.ended("move_registration")
		})
	}
}

// An ATTACH that nobody answers, or takes, is tried again.
func TestAttachTriesAgain(t *testing.T) {
	r, a, b := moves(t, config.Listener{})
	x := r.user(a, "ann")
	to := r.to(b)
	b.l.Close()
	done := make(chan []backend.Moved, 1)
	go func() { done <- r.Attach(ctxOf(t), []string{x.u}, to) }()
	r.eventually("a try that failed", func() bool {
		rests := false
		r.onAll(ctxOf(t), func(w *worker) {
			w.each(func(s *session) { rests = s.mv != nil && s.mv.attached.state == attachResting })
		})
		return rests
	})
	b.again()
	server := b.next()
	server.expectLine("ATTACH ")
	server.Close()
	server = b.next()
	server.expectLine("ATTACH ")
	r.onAll(ctxOf(t), func(w *worker) { // no answer in its time
		w.each(func(s *session) {
			s.mv.attached.deadline = 1
			w.loop.After(0, s.key(portAttached))
		})
	})
	server.expectGone()
	server, _ = b.attached()
	one(t, <-done, "")
	if got := r.Streams(ctxOf(t), []string{x.u}, true); got.Open != 1 || got.Ended != 0 {
		t.Errorf("%+v", got)
	}
	if got := r.Streams(ctxOf(t), []string{"test.other"}, true); got.Open != 0 || got.Ended != 0 {
		t.Errorf("of nobody: %+v", got)
	}
	server.Close()
	r.eventually("the end of the stream", func() bool {
		got := r.Streams(ctxOf(t), []string{x.u}, true)
		return got.Open == 0 && got.Ended == 1
	})
	if got := r.Streams(ctxOf(t), []string{x.u}, false); got.Open != 1 || got.Ended != 0 {
		t.Errorf("the one in use: %+v", got)
	}
	x.toServer("PING x\r\n")
}

// Attached once is attached: the same transaction asks for nothing more, another one for another stream.
func TestAttachedTwice(t *testing.T) {
	r, a, b := moves(t, config.Listener{})
	x := r.user(a, "ann")
	first := r.attach(x, b)
	one(t, r.Attach(ctxOf(t), []string{x.u}, r.to(b)), "")
	first.expectNothingNow()
	to := r.to(b)
	to.Tx = "tx2"
	done := make(chan []backend.Moved, 1)
	go func() { done <- r.Attach(ctxOf(t), []string{x.u}, to) }()
	first.expectGone()
	b.attached()
	one(t, <-done, "")
}

func TestCloseReasonOfACause(t *testing.T) {
	for cause, want := range map[backend.Cause]string{
		backend.CauseOperator: "closed_by_operator", backend.CauseOverflow: "move_sendq", backend.CauseNoLive: "move_no_live",
		backend.CauseDetached: "move_detached", backend.CauseRegistration: "move_registration", backend.CauseBackendGone: "move_backend_gone",
		backend.CauseNotExported: "move_not_exported", backend.CauseAttach: "move_attach", backend.CauseConflict: "move_conflict",
		backend.CauseBehind: "move_behind", backend.CauseCount: "move_behind", backend.CauseTimeout: "move_other",
	} {
		if got := reasonOf(cause).String(); got != want {
			t.Errorf("%s: %s, want %s", cause, got, want)
		}
	}
	for errno, want := range map[unix.Errno]CloseReason{unix.ECONNRESET: ReasonClientReset, unix.EPIPE: ReasonClientReset, unix.ETIMEDOUT: ReasonClientTimeout,
		unix.EHOSTUNREACH: ReasonClientTimeout, unix.ENETUNREACH: ReasonClientTimeout, unix.ENOMEM: ReasonMemory} {
		if got := resetOrTimeout(errno); got != want {
			t.Errorf("%v: %s, want %s", errno, got, want)
		}
	}
}

// A splice of who has no stream there closes his session, and says so.
func TestSpliceOfWhoIsNotAttached(t *testing.T) {
	r, a, b := moves(t, config.Listener{})
	x := r.user(a, "ann")
	r.freeze(x)
	one(t, r.Splice(ctxOf(t), "main/b", []backend.Splice{{U: x.u}}), backend.CauseDetached)
	x.client.expectLine("ERROR :Closing link: (ircferry) Your connection to the new server was lost")
	x.client.Close()
	r.ended("move_detached")
	y := r.user(a, "ben")
	r.freeze(y)
	server := r.attach(y, b)
	one(t, r.Splice(ctxOf(t), "main/b", []backend.Splice{{U: y.u, SQ: make([]byte, carryRoom+1)}}), backend.CauseOverflow)
	y.client.expectLine("ERROR :Closing link: (ircferry) SendQ exceeded")
	y.client.Close()
	server.expectGone()
	r.ended("move_sendq")
	z := r.user(a, "cid")
	r.freeze(z)
	r.attach(z, b)
	ctx := ctxWithin(t, 50*time.Millisecond)
	one(t, r.Splice(ctx, "main/b", []backend.Splice{{U: z.u}}), backend.CauseNoLive) // LIVE does not come
	z.client.expectLine("ERROR :Closing link: (ircferry) The new server did not take your connection")
}

// A stream that ends before its cut is told to the move at once; one that has come to it may end.
func TestStreamThatEndsBeforeItsCut(t *testing.T) {
	r, a, _ := moves(t, config.Listener{})
	x := r.user(a, "ann")
	r.freeze(x)
	done, cut := make(chan []backend.Moved, 1), x.out+100
	go func() { done <- r.ReadUp(ctxOf(t), []backend.Cut{{U: x.u, Out: cut}}) }()
	x.toClient(":irc.a NOTICE ann :and\r\n")
	x.server.Close()
	one(t, <-done, backend.CauseBehind)

	y := r.user(a, "ben")
	if fs, err := r.Freeze(ctxOf(t), "main/a"); err != nil || len(fs) == 0 {
		t.Fatal(fs, err)
	}
	last := ":irc.a NOTICE ben :the last\r\n"
	y.server.send(last)
	y.server.Close()
	one(t, r.ReadUp(ctxOf(t), []backend.Cut{{U: y.u, Out: y.out + uint64(len(last))}}), "")
	y.client.expect(last)
}

// Descriptors are left for those who must not go without.
func TestLoopsHaveACeiling(t *testing.T) {
	r, _, _ := moves(t, config.Listener{})
	_, limit := descriptors()
	for i, w := range r.workers {
		if c := w.sockets.Ceiling; c <= 0 || c != r.ceiling || c >= r.top || r.top >= limit {
			t.Errorf("loop %d: ceiling %d, top %d of %d", i, c, r.top, limit)
		}
	}
}
