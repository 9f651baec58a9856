package proxy

import (
	"crypto/tls"
	"testing"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/internal/config"
)

// Whom a resting move holds comes along, three times in a row: what it said before, between and behind is said once, in order, and its PINGs are answered.
func TestSuccessorTakesWhomAMoveHolds(t *testing.T) {
	plaintextOnly(t)
	upgrades(t, func(t *testing.T, again func(*rig, map[string]*tls.Config)) {
		r, a, b := moves(t, config.Listener{})
		r.resting = []string{"main/a"}
		x := r.user(a, "ann")
		x.client.send("PRIVMSG #x :be")
		r.eventually("half line", func() bool { all, _ := r.Sessions(ctxOf(t)); return all[0].Held > 0 })
		f := r.freeze(x)
		x.server.send(":irc PRIVMSG ann :last of ")
		again(r, nil)
		out := f.Out + uint64(len(":irc PRIVMSG ann :last of "))
		one(t, r.ReadUp(ctxOf(t), []backend.Cut{{U: x.u, Out: out}}), "")
		x.client.expect(":irc PRIVMSG ann :last of ")
		r.Park([]string{x.u}, "irc.a")
		x.server.expectGone()
		again(r, nil)
		x.client.send("gun\r\nPRIVMSG #x :short\r\n")
		x.client.expectNothingYet()
		r.turnTime(t, parkAwake)
		r.eventually("held lines", func() bool { all, _ := r.Sessions(ctxOf(t)); return all[0].Held > 30 })
		again(r, nil)
		x.client.send("QUIT :b")
		m := r.splice(x, b, "PRIVMSG #x :not run\r\n", "the old\r\n")
		x.client.expect("the old\r\n")
		x.server.expect("PRIVMSG #x :not run\r\nPRIVMSG #x :begun\r\nPRIVMSG #x :short\r\n")
		if m.HeldLines != 2 || m.Pause <= 0 || m.Pause > time.Minute {
			t.Errorf("%+v", m)
		}
		x.client.send("ye\r\n")
		x.server.expect("QUIT :bye\r\n")
		x.client.Close()
		x.server.expectEnd()
		x.server.Close()
		r.eventually("end of all", func() bool { return r.Counts().Sessions == 0 && r.Arena().Slots == 0 && r.Arena().Chunks == 0 })
		for _, w := range r.workers {
			if n := w.counts.violations.Load(); n != 0 {
				t.Errorf("%d violations", n)
			}
		}
	})
}

// A parked client's PINGs are answered by the successor, with the name that its ircd had, also if it was read before; and one that was not thaws at once.
func TestSuccessorAnswersPingsOfTheParked(t *testing.T) {
	plaintextOnly(t)
	upgrades(t, func(t *testing.T, again func(*rig, map[string]*tls.Config)) {
		r, a, b := moves(t, config.Listener{})
		r.resting = []string{"main/a"}
		x := r.user(a, "ann")
		r.park(t, x)
		x.client.send("PING 1\r\nPI")
		x.client.expect(":irc.a PONG irc.a :1\r\n")
		again(r, nil)
		x.client.send("NG 2\r\nPRIVMSG #x :held\r\n")
		x.client.expect(":irc.a PONG irc.a :2\r\n")
		r.splice(x, b, "", "")
		x.server.expect("PRIVMSG #x :held\r\n")
	})
}

// A pause goes on in the successor, on the stream that the ircd has, and ends there.
func TestSuccessorGoesOnWithAPause(t *testing.T) {
	plaintextOnly(t)
	upgrades(t, func(t *testing.T, again func(*rig, map[string]*tls.Config)) {
		r, a, _ := moves(t, config.Listener{})
		r.resting = []string{"main/a"}
		x := r.user(a, "ann")
		r.freeze2(x)
		again(r, nil)
		x.client.send("PING :fence\r\n")
		x.client.expectNothingYet()
		r.turnTime(t, parkAwake)
		x.client.expect(":irc.a PONG irc.a :fence\r\n")
		again(r, nil)
		x.client.send("PING 2\r\nPONG :irc.a\r\n")
		x.client.expect(":irc.a PONG irc.a :2\r\n")
		x.toClient(":b PRIVMSG ann :the ircd speaks on\r\n")
		x.server.expectNothingYet()
		one(t, r.Thaw([]string{x.u}), "")
		x.server.expect("PONG :irc.a\r\n")
		x.toServer("PRIVMSG #x :new\r\n")
	})
}

// Who is not registered when a move parks him is opened anew by the successor.
func TestSuccessorReopensTheParked(t *testing.T) {
	plaintextOnly(t)
	upgrades(t, func(t *testing.T, again func(*rig, map[string]*tls.Config)) {
		r, a, b := moves(t, config.Listener{})
		r.resting = []string{"main/a"}
		x := r.early(t, a, "NICK ann\r\n", "")
		r.Park([]string{x.u}, "irc.a")
		again(r, nil)
		done := make(chan []backend.Moved, 1)
		go func() { done <- r.Reopen(ctxOf(t), []string{x.u}, "main/b") }()
		server := b.next()
		line := server.expectLine("OPEN k=" + skey)
		server.send("OPENED u=" + field(line, "u") + "\n")
		server.expect("NICK ann\r\n")
		one(t, <-done, "")
		x.client.send("USER a\r\n")
		server.expect("USER a\r\n")
	})
}
