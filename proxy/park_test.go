package proxy

import (
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/internal/config"
)

// park takes a user off its backend, and past the first ten seconds.
func (r *rig) park(t *testing.T, x *user) {
	t.Helper()
	r.freeze(x)
	r.Park([]string{x.u}, "irc.a")
	x.server.expectGone()
	r.turnTime(t, parkAwake)
}

func TestC2_15ParkedClientsPingIsAnswered(t *testing.T) {
	r, a, b := moves(t, config.Listener{})
	x := r.user(a, "ann")
	x.client.send("PRIVMSG #x :beg")
	r.eventually("half line", func() bool { all, _ := r.Sessions(ctxOf(t)); return all[0].Held > 0 })
	r.park(t, x)
	x.client.send("un before\r\nPING :lag 1\r\nPONG :irc.a\r\nPRIVMSG #x :held\r\nPI")
	x.client.expect(":irc.a PONG irc.a :lag 1\r\n")
	x.client.send("NG 2\r\n@label=1 PING 3\r\nPRIV")
	x.client.expect(":irc.a PONG irc.a :2\r\n")
	m := r.splice(x, b, "PRIVMSG #x :not run\r\n", "")
	x.server.expect("PRIVMSG #x :not run\r\nPRIVMSG #x :begun before\r\nPRIVMSG #x :held\r\n@label=1 PING 3\r\n")
	x.client.send("MSG #x :whole\r\n")
	x.server.expect("PRIVMSG #x :whole\r\n")
	if m.HeldLines != 3 {
		t.Errorf("%+v", m)
	}
}

func TestShortFreezeDoesNotAnswerPings(t *testing.T) {
	r, a, b := moves(t, config.Listener{})
	x := r.user(a, "ann")
	r.freeze(x)
	r.Park([]string{x.u}, "irc.a")
	x.client.send("PING :fence\r\n")
	x.client.expectNothingYet()
	r.splice(x, b, "", "")
	x.server.expect("PING :fence\r\n")
}

// A client that typed a lot while it was parked is not killed by the new ircd's flood limits.
func TestC4_29HeldLinesGoOutPaced(t *testing.T) {
	r, a, b := moves(t, config.Listener{})
	x := r.user(a, "ann")
	r.park(t, x)
	line := "PRIVMSG #x :" + strings.Repeat("y", 86) + "\r\n" // 100 bytes
	x.client.send(strings.Repeat(line, 60))
	r.eventually("held lines", func() bool { all, _ := r.Sessions(ctxOf(t)); return all[0].Held == 6000 })
	start := time.Now()
	r.splice(x, b, "", "")
	x.client.send("PRIVMSG #x :new\r\n")
	x.server.expect(strings.Repeat(line, 20))
	x.server.expect(strings.Repeat(line, 40))
	if took := time.Since(start); took < 300*time.Millisecond {
		t.Errorf("6,000 bytes took %v, want 2 KiB at once and 1 KiB each 100 ms", took)
	}
	x.server.expect("PRIVMSG #x :new\r\n")
	x.toServer("PRIVMSG #x :quick again\r\n")
}

func TestC4_31ParkedClientIsHeldToItsBound(t *testing.T) {
	r, a, b := moves(t, config.Listener{})
	x := r.user(a, "ann")
	r.park(t, x)
	x.client.SetWriteBuffer(32 << 10)
	x.client.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
	var sent strings.Builder
	for i := 0; ; i++ {
		line := fmt.Sprintf("PRIVMSG #x :%06d %s\r\n", i, strings.Repeat("y", 400))
		n, err := x.client.Write([]byte(line))
		sent.WriteString(line[:n])
		if err != nil {
			break
		}
	}
	all, _ := r.Sessions(ctxOf(t))
	bound := highWater
	if overTLS {
		bound += 16 << 10 // a record is opened whole
	}
	if all[0].Held > bound {
		t.Errorf("%d bytes are held", all[0].Held)
	}
	r.onAll(ctxOf(t), func(w *worker) { w.each(func(s *session) { s.mv.wasAwake = false }) }) // the pace has its own test
	r.splice(x, b, "", "")
	x.server.SetDeadline(time.Now().Add(patience))
	want := sent.String()
	x.server.expect(want[:strings.LastIndex(want, "\n")+1])
}

func TestClientLeavesWhileParked(t *testing.T) {
	r, a, b := moves(t, config.Listener{})
	x := r.user(a, "ann")
	r.park(t, x)
	x.client.send("QUIT :bye\r\n")
	x.client.Close()
	r.splice(x, b, "", "")
	x.server.expect("QUIT :bye\r\n")
	x.server.expectEnd()
	x.server.Close()
	r.ended("client_closed")
}

// early is a session that is not registered, frozen at a.
func (r *rig) early(t *testing.T, a *native, said, heard string) (x *user) {
	t.Helper()
	x = &user{client: r.dial()}
	x.server, x.u = a.opened()
	x.client.send(said)
	x.server.expect(said)
	x.server.send(heard)
	x.client.expect(heard)
	fs, err := r.Freeze(ctxOf(t), "main/a")
	if err != nil || len(fs) != 1 || fs[0].Registered {
		t.Fatal(fs, err)
	}
	return x
}

func TestReopenSwallowsTheSameAnswers(t *testing.T) {
	r, a, b := moves(t, config.Listener{})
	x := r.early(t, a, "CAP LS 302\r\nNICK ann\r\n", ":irc.a NOTICE * :looking\r\n:irc.a CAP * LS :multi-prefix\r\n")
	x.client.send("CAP END\r\n")
	done := make(chan []backend.Moved, 1)
	go func() { done <- r.Reopen(ctxOf(t), []string{x.u}, "main/b") }()
	server, u := b.opened()
	if u != x.u {
		t.Errorf("opened as %s, was %s", u, x.u)
	}
	server.expect("CAP LS 302\r\nNICK ann\r\n")
	server.send(":irc.b NOTICE * :looking\r\n:irc.b CAP * LS :multi-")
	server.send("prefix\r\n:irc.b NOTICE * :more\r\n")
	m := one(t, <-done, "")
	if m.Pause <= 0 {
		t.Errorf("%+v", m)
	}
	x.client.expect(":irc.b NOTICE * :more\r\n")
	server.expect("CAP END\r\n")
	x.server.expectGone()
	server.send(":irc.b 001 ann :hello\r\n")
	x.client.expect(":irc.b 001 ann :hello\r\n")
	r.eventually("registered", func() bool { all, _ := r.Sessions(ctxOf(t)); return all[0].Registered && all[0].Backend == "main/b" })
}

func TestReopenWithOtherAnswersEndsTheSession(t *testing.T) {
	r, a, b := moves(t, config.Listener{})
	x := r.early(t, a, "CAP LS 302\r\n", ":irc.a CAP * LS :multi-prefix\r\n")
	done := make(chan []backend.Moved, 1)
	go func() { done <- r.Reopen(ctxOf(t), []string{x.u}, "main/b") }()
	server, _ := b.opened()
	server.send(":irc.b CAP * LS :away-notify\r\n")
	one(t, <-done, backend.CauseRegistration)
	x.client.expectLine("ERROR :Closing link: (ircferry)")
}

// Who was refused a nick, and is still typing, is opened anew without seeing it: the same refusal is swallowed, and whatever else comes is for it.
func TestReopenOfWhoWasRefused(t *testing.T) {
	const inUse, other = ":irc.b 433 * ann :Nickname is already in use\r\n", ":irc.b 433 * bob :Nickname is already in use\r\n"
	welcome := ":irc.b 001 ann :hello\r\n"
	for name, c := range map[string]struct{ heard, says, sees string }{
		"in use there, too":    {":irc.a 433 * ann :Nickname is already in use\r\n", inUse + other, other},
		"free there":           {":irc.a 433 * ann :Nickname is already in use\r\n", welcome, welcome},
		"no such command":      {":irc.a 421 * FOO :Unknown\r\n:irc.a 410 * FOO :Invalid\r\n", ":irc.b 421 * FOO :Unknown\r\n:irc.b 410 * FOO :Invalid\r\n" + other, other},
		"another answer":       {":irc.a 461 * USER :Not enough\r\n", other, other},
		"no answer, in a line": {":irc.a 461 * USER :Not enough\r\n", ":irc.b 43", ":irc.b 43"},
	} {
		t.Run(name, func(t *testing.T) {
			r, a, b := moves(t, config.Listener{})
			x := r.early(t, a, "NICK ann\r\nUSER ann 0 * :ann\r\n", c.heard)
			x.client.send("NICK bob\r\n")
			done := make(chan []backend.Moved, 1)
			go func() { done <- r.Reopen(ctxOf(t), []string{x.u}, "main/b") }()
			server, _ := b.opened()
			server.expect("NICK ann\r\nUSER ann 0 * :ann\r\n")
			server.send(c.says)
			x.client.expect(c.sees)
			one(t, <-done, "")
			server.expect("NICK bob\r\n")
			server.send(strings.TrimPrefix(":irc.b 433 * cid :x\r\n", c.sees))
			x.client.expect(strings.TrimPrefix(":irc.b 433 * cid :x\r\n", c.sees))
			server.send(welcome)
			x.client.expect(welcome)
		})
	}
}

// An ircd that ends the session is not asked again in its place.
func TestReopenAfterERROREndsTheSession(t *testing.T) {
	r, a, _ := moves(t, config.Listener{})
	x := r.early(t, a, "NICK ann\r\n", "ERROR :no\r\n")
	one(t, r.Reopen(ctxOf(t), []string{x.u}, "main/b"), backend.CauseGone)
}

// Nobody waits for a client whose turn it is: one that was refused something, one that has been silent.
func TestNobodyAwaitsWhoIsTyping(t *testing.T) {
	r, a, _ := moves(t, config.Listener{})
	await := func(want int, d time.Duration) {
		t.Helper()
		if n := r.AwaitRegistered(ctxWithin(t, d), "main/a"); n != want {
			t.Errorf("%d are awaited, want %d", n, want)
		}
	}
	client := r.dial()
	server, _ := a.opened()
	client.send("NICK ann\r\nUSER ann 0 * :ann\r\n")
	server.expect("NICK ann\r\nUSER ann 0 * :ann\r\n")
	await(1, 20*time.Millisecond)
	refusal := ":irc.a 433 * ann :Nickname is already in use\r\n"
	done := make(chan int, 1)
	go func() { done <- r.AwaitRegistered(ctxOf(t), "main/a") }()
	server.send(refusal)
	client.expect(refusal)
	if n := <-done; n != 0 {
		t.Errorf("%d are awaited after a refusal", n)
	}
	await(0, patience)
	client.send("NICK bob\r\n")
	server.expect("NICK bob\r\n")
	await(1, 20*time.Millisecond)
	r.onAll(ctxOf(t), func(w *worker) { w.each(func(s *session) { s.reg.spoke -= silentTime }) }) // as if so long had passed
	await(0, patience)
	server.send(":irc.a 001 bob :hello\r\n")
	client.expect(":irc.a 001 bob :hello\r\n")
	await(0, patience)
	for _, w := range r.workers {
		w.eachPeer(func(p *peer) {
			if p.typing.Load() != 0 || p.unregistered.Load() != 0 {
				t.Errorf("%d of %d are typing", p.typing.Load(), p.unregistered.Load())
			}
		})
	}
}

func TestAwaitRegistered(t *testing.T) {
	r, a, _ := moves(t, config.Listener{})
	x := &user{client: r.dial()}
	x.server, x.u = a.opened()
	r.eventually("relaying session", func() bool { return r.Counts().States["relay"] == 1 })
	done := make(chan int, 1)
	if n := r.AwaitRegistered(ctxOf(t), "main/b"); n != 0 {
		t.Errorf("%d are left where nobody is", n)
	}
	go func() { done <- r.AwaitRegistered(ctxOf(t), "main/a") }()
	r.eventually("somebody who waits", func() bool {
		waits := 0
		r.onAll(ctxOf(t), func(w *worker) { w.eachPeer(func(p *peer) { waits += len(p.onRegistered) }) })
		return waits == 1
	})
	select {
	case n := <-done:
		t.Errorf("%d are left, and it is not waited for them", n)
	default:
	}
	x.server.send(":irc 001 ann :hello\r\n")
	told := time.Now()
	if n := <-done; n != 0 || time.Since(told) > patience/2 {
		t.Errorf("%d are left, it is told after %v", n, time.Since(told))
	}
	y := &user{client: r.dial()}
	y.server, y.u = a.opened()
	r.eventually("relaying session", func() bool { return r.Counts().States["relay"] == 2 })
	ctx := ctxWithin(t, 50*time.Millisecond)
	if n := r.AwaitRegistered(ctx, "main/a"); n != 1 {
		t.Errorf("%d are left, want 1", n)
	}
}

// A gate takes back those that are connecting, also behind OPEN: nothing of the client was sent yet.
func TestGateTakesBackWhoIsConnecting(t *testing.T) {
	r, a, b := moves(t, config.Listener{})
	client := r.dial()
	client.send("NICK ann\r\n")
	server := a.next()
	server.expectLine("OPEN ")
	r.Gate("main")
	server.expectGone()
	if refs, err := r.On(ctxOf(t), "main/a"); err != nil || len(refs) != 0 {
		t.Errorf("%v %v", refs, err)
	}
	p, _ := r.set.Pool("main")
	if err := p.SetServing("b"); err != nil {
		t.Fatal(err)
	}
	r.Ungate("main")
	server, _ = b.opened()
	server.expect("NICK ann\r\n")
}

// A parked session keeps the place of its next stream, whatever becomes of the streams that are tried, and gives it back with its end.
func TestParkedSessionKeepsADescriptor(t *testing.T) {
	r, a, b := moves(t, config.Listener{})
	x, y := r.user(a, "ann"), r.user(a, "ben")
	places := func() (n int) {
		var all atomic.Int32
		r.onAll(ctxOf(t), func(w *worker) {
			w.each(func(s *session) {
				if s.mv != nil && s.mv.place > 0 {
					all.Add(1)
				}
			})
		})
		return int(all.Load())
	}
	is := func(what string, want int) {
		t.Helper()
		r.eventually(what, func() bool { return places() == want })
	}
	before, _ := r.Descriptors()
	if fs, err := r.Freeze(ctxOf(t), "main/a"); err != nil || len(fs) != 2 {
		t.Fatal(fs, err)
	}
	is("none is kept in a freeze", 0)
	r.Park([]string{x.u, y.u}, "irc.a")
	is("each keeps one in a park", 2)
	if now, _ := r.Descriptors(); now < before-1 && !kept { // loops close what is old later
		t.Errorf("%d descriptors in use, %d before the park", now, before)
	}
	one(t, r.Attach(ctxWithin(t, 50*time.Millisecond), []string{x.u}, backend.AttachTo{Backend: "main/b", Stream: netip.MustParseAddrPort("127.0.0.1:1"), Tx: "t", Tok: "t"}), backend.CauseTimeout)
	is("a stream that came to nothing gives it back to the session", 2)
	server := r.attach(x, b)
	is("a stream takes it", 1)
	server.Close()
	is("a stream that is lost gives it back", 2)
	r.End([]string{y.u}, backend.CauseOperator, "bye")
	y.client.expectLine("ERROR ")
	y.client.Close()
	is("and a session that ends, too", 1)
	r.attach(x, b)
	is("a stream takes it again", 0)
}
