package proxy

import (
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/internal/config"
)

// pause freezes a user and lets it wait on its stream, past the first ten seconds.
func (r *rig) pause(t *testing.T, x *user) {
	t.Helper()
	r.freeze(x)
	r.Await([]string{x.u}, "irc.a")
	r.turnTime(t, parkAwake)
}

// A paused client's PINGs are answered as when parked; all else waits, on the stream that it has, with PONGs for the ircd that is still there.
func TestPausedClientsPingIsAnswered(t *testing.T) {
	r, a, _ := moves(t, config.Listener{})
	x := r.user(a, "ann")
	x.client.send("PRIVMSG #x :beg")
	r.eventually("half line", func() bool { all, _ := r.Sessions(ctxOf(t)); return all[0].Held > 0 })
	r.pause(t, x)
	x.client.send("un before\r\nPING :lag 1\r\nPONG :irc.a\r\nPRIVMSG #x :held\r\nPI")
	x.client.expect(":irc.a PONG irc.a :lag 1\r\n")
	x.client.send("NG 2\r\n@label=1 PING 3\r\nPRIV")
	x.client.expect(":irc.a PONG irc.a :2\r\n")
	x.toClient(":b PRIVMSG ann :the ircd speaks on\r\n")
	x.server.expectNothingYet()
	m := one(t, r.Thaw([]string{x.u}), "")
	x.server.expect("PRIVMSG #x :begun before\r\nPONG :irc.a\r\nPRIVMSG #x :held\r\n@label=1 PING 3\r\n")
	x.client.send("MSG #x :whole\r\n")
	x.server.expect("PRIVMSG #x :whole\r\n")
	if m.HeldLines != 4 {
		t.Errorf("%+v", m)
	}
	x.client.send("PING :not ours any more\r\n")
	x.server.expect("PING :not ours any more\r\n")
}

// What was held in a long pause goes out slowly, and a pause too short for an answer is a freeze.
func TestPausedLinesGoOutPaced(t *testing.T) {
	r, a, _ := moves(t, config.Listener{})
	x := r.user(a, "ann")
	r.pause(t, x)
	line := "PRIVMSG #x :" + strings.Repeat("y", 86) + "\r\n"
	x.client.send(strings.Repeat(line, 60))
	r.eventually("held lines", func() bool { all, _ := r.Sessions(ctxOf(t)); return all[0].Held == 6000 })
	begin := time.Now()
	one(t, r.Thaw([]string{x.u}), "")
	x.server.expect(strings.Repeat(line, 60))
	if d := time.Since(begin); d < 3*paceEvery {
		t.Errorf("all went out in %v", d)
	}
	r.freeze2(x)
	x.client.send("PING :fence\r\n")
	x.client.expectNothingYet()
	one(t, r.Thaw([]string{x.u}), "")
	x.server.expect("PING :fence\r\n")
}

// freeze2 freezes a user whose counts the test did not follow.
func (r *rig) freeze2(x *user) {
	r.t.Helper()
	if fs, err := r.Freeze(ctxOf(r.t), "main/a"); err != nil || len(fs) != 1 {
		r.t.Fatalf("%+v, %v", fs, err)
	}
	r.Await([]string{x.u}, "irc.a")
}

// A client that leaves while it is paused has its last lines and its end told when the pause is over; an ircd that ends takes its clients with it.
func TestEndsWhilePaused(t *testing.T) {
	r, a, _ := moves(t, config.Listener{})
	x, y := r.user(a, "ann"), r.user(a, "bob")
	if fs, err := r.Freeze(ctxOf(t), "main/a"); err != nil || len(fs) != 2 {
		t.Fatalf("%+v, %v", fs, err)
	}
	r.Await([]string{x.u, y.u}, "irc.a")
	r.turnTime(t, parkAwake)
	x.client.send("QUIT :bye\r\n")
	x.client.Close()
	y.server.Close()
	r.Thaw([]string{x.u, y.u})
	x.server.expect("QUIT :bye\r\n")
	x.server.expectEnd()
	y.client.expectGone()
}
