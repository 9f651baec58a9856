package proxy

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/internal/config"
)

func TestNativeStreamIsOpenedAndTheAnswerStripped(t *testing.T) {
	r, a, _ := moves(t, config.Listener{})
	client := r.dial()
	client.send("NICK ann\r\n")
	server := a.next()
	line := server.expectLine("OPEN k=" + skey)
	if got := field(line, "addr"); got != "127.0.0.1" {
		t.Errorf("addr=%s in %q", got, line)
	}
	server.expectNothingYet()
	server.send("OPENED u=" + field(line, "u"))
	server.send("\n:irc NOTICE * :hi\r\n")
	client.expect(":irc NOTICE * :hi\r\n")
	server.expect("NICK ann\r\n")
}

func (r *rig) freeze(x *user) backend.Frozen {
	r.t.Helper()
	fs, err := r.Freeze(ctxOf(r.t), "main/a")
	if err != nil || len(fs) != 1 || fs[0].U != x.u {
		r.t.Fatalf("freeze: %+v, %v", fs, err)
	}
	if fs[0].In != x.in || fs[0].Out != x.out {
		r.t.Fatalf("froze at in=%d out=%d, the ircd counts %d and %d", fs[0].In, fs[0].Out, x.in, x.out)
	}
	return fs[0]
}

func TestFreezeAndThawLoseNothing(t *testing.T) {
	r, a, _ := moves(t, config.Listener{})
	x := r.user(a, "ann")
	x.toServer("PRIVMSG #x :0\r\n")
	x.client.send("PRIVMSG #x :half")
	r.eventually("half line", func() bool {
		all, _ := r.Sessions(ctxOf(t))
		return len(all) == 1 && all[0].Held == len("PRIVMSG #x :half")
	})
	r.freeze(x)
	x.client.send(" line\r\nPRIVMSG #x :1\r\nPRIVMSG #x :2\nPRIV")
	x.toClient(":b PRIVMSG #x :while frozen\r\n")
	r.arrived(len("PRIVMSG #x :half line\r\nPRIVMSG #x :1\r\nPRIVMSG #x :2\nPRIV"))
	x.server.expectNothingYet()
	m := one(t, r.Thaw([]string{x.u}), "")
	if m.HeldLines != 3 || m.Pause < 50*time.Millisecond {
		t.Errorf("thaw: %+v", m)
	}
	x.server.expect("PRIVMSG #x :half line\r\nPRIVMSG #x :1\r\nPRIVMSG #x :2\n")
	x.client.send("MSG #x :3\r\n")
	x.server.expect("PRIVMSG #x :3\r\n")
	x.toClient(":b PRIVMSG #x :after\r\n")
}

// arrived waits until that many bytes of the only client are at the proxy, read or, in a freeze, not: what was sent is not there at once.
func (r *rig) arrived(n int) {
	r.t.Helper()
	r.eventually(fmt.Sprintf("%d bytes that have arrived", n), func() bool {
		var there atomic.Int64
		err := r.onAll(ctxOf(r.t), func(w *worker) {
			w.each(func(s *session) {
				unread, err := unix.IoctlGetInt(s.client.FD(), unix.SIOCINQ)
				if err != nil {
					r.t.Error(err)
				}
				there.Add(int64(s.slot().ToBackend.Len() + unread))
			})
		})
		return err == nil && there.Load() >= int64(n)
	})
}

// splice moves a user to b as a coordinator would, with the queues that the old ircd has told.
func (r *rig) splice(x *user, b *native, rq, sq string) backend.Moved {
	r.t.Helper()
	server := r.attach(x, b)
	done := make(chan []backend.Moved, 1)
	go func() {
		done <- r.Splice(ctxOf(r.t), "main/"+b.name, []backend.Splice{{U: x.u, RQ: []byte(rq), SQ: []byte(sq)}})
	}()
	server.send("LIVE u=" + x.u + "\n")
	x.server, x.in, x.out = server, 0, 0
	return one(r.t, <-done, "")
}

func (r *rig) attach(x *user, b *native) *conn {
	r.t.Helper()
	got := make(chan *conn, 1)
	go func() {
		server, u := b.attached()
		if u != x.u {
			r.t.Errorf("attached %s, want %s", u, x.u)
		}
		got <- server
	}()
	one(r.t, r.Attach(ctxOf(r.t), []string{x.u}, r.to(b)), "")
	return <-got
}

func TestC2_12SpliceKeepsOrderOfAllQueues(t *testing.T) {
	r, a, b := moves(t, config.Listener{})
	x := r.user(a, "ann")
	f := r.freeze(x)
	x.client.send("PRIVMSG #x :held\r\n")
	r.arrived(len("PRIVMSG #x :held\r\n"))
	x.server.send(":irc PRIVMSG ann :last of ")
	out := f.Out + uint64(len(":irc PRIVMSG ann :last of "))
	one(t, r.ReadUp(ctxOf(t), []backend.Cut{{U: x.u, Out: out}}), "")
	old := x.server
	m := r.splice(x, b, "PRIVMSG #x :not run\r\n", "the old\r\n")
	old.expectGone()
	x.client.expect(":irc PRIVMSG ann :last of the old\r\n")
	x.server.expect("PRIVMSG #x :not run\r\nPRIVMSG #x :held\r\n")
	if m.HeldLines != 1 || m.HeldBytes != len("PRIVMSG #x :held\r\n") {
		t.Errorf("splice: %+v", m)
	}
	x.in = uint64(len("PRIVMSG #x :not run\r\nPRIVMSG #x :held\r\n"))
	x.toServer("PRIVMSG #x :new\r\n")
	x.toClient(":irc PRIVMSG ann :new\r\n")
	fs, err := r.Freeze(ctxOf(t), "main/b")
	if err != nil || len(fs) != 1 || fs[0].In != x.in || fs[0].Out != x.out || !fs[0].Registered {
		t.Errorf("counts after LIVE %+v (%v), want in=%d out=%d", fs, err, x.in, x.out)
	}
	r.Thaw([]string{x.u})
}

func TestBytesBehindLIVEAreTheClients(t *testing.T) {
	r, a, b := moves(t, config.Listener{})
	x := r.user(a, "ann")
	server := r.attach(x, b)
	r.freeze(x)
	server.send("LIVE u=" + x.u + "\n:irc NOTICE ann :live\r\n") // before the splice
	one(t, r.Splice(ctxOf(t), "main/b", []backend.Splice{{U: x.u}}), "")
	x.client.expect(":irc NOTICE ann :live\r\n")
	x.server.expectGone()
}

func TestClientLeavesWhileFrozen(t *testing.T) {
	for _, how := range []string{"FIN", "RST"} {
		t.Run(how, func(t *testing.T) {
			r, a, b := moves(t, config.Listener{})
			x := r.user(a, "ann")
			r.freeze(x)
			x.client.send("PRIVMSG #x :bye\r\nQUIT :gone\r\n")
			r.arrived(len("PRIVMSG #x :bye\r\nQUIT :gone\r\n"))
			if how == "RST" {
				x.client.reset()
			} else {
				x.client.Close()
			}
			m := r.splice(x, b, "", "")
			x.server.expect("PRIVMSG #x :bye\r\nQUIT :gone\r\n")
			x.server.expectEnd()
			if m.HeldLines != 2 {
				t.Errorf("%+v", m)
			}
			x.server.Close()
			r.ended(map[string]string{"FIN": "client_closed", "RST": "client_reset"}[how])
		})
	}
}

func TestAttachedStreamLostBeforeTheSplice(t *testing.T) {
	r, a, b := moves(t, config.Listener{})
	x := r.user(a, "ann")
	server := r.attach(x, b)
	r.freeze(x)
	server.Close()
	r.eventually("loss", func() bool {
		lost := false
		r.onAll(ctxOf(t), func(w *worker) { w.each(func(s *session) { lost = lost || s.mv.attached.state == attachLost }) })
		return lost
	})
	one(t, r.Splice(ctxOf(t), "main/b", []backend.Splice{{U: x.u}}), backend.CauseDetached)
	x.client.expectLine("ERROR :Closing link: (ircferry)")
	x.client.expectEnd()
}

func TestAttachIsRetriedUntilTheTimeIsOver(t *testing.T) {
	r, a, b := moves(t, config.Listener{})
	x := r.user(a, "ann")
	done := make(chan []backend.Moved, 1)
	go func() { done <- r.Attach(ctxOf(t), []string{x.u}, r.to(b)) }()
	first := b.next()
	first.expectLine("ATTACH")
	first.Close() // not answered
	second, _ := b.attached()
	one(t, <-done, "")
	one(t, r.Attach(ctxOf(t), []string{x.u}, r.to(b)), "") // done already
	r.Detach([]string{x.u})
	second.expectGone()

	to := r.to(b)
	b.l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	one(t, r.Attach(ctx, []string{x.u}, to), backend.CauseTimeout)
	x.toServer("PRIVMSG #x :still here\r\n")
}

func TestNoLive(t *testing.T) {
	r, a, b := moves(t, config.Listener{})
	x := r.user(a, "ann")
	r.attach(x, b)
	r.freeze(x)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	one(t, r.Splice(ctx, "main/b", []backend.Splice{{U: x.u}}), backend.CauseNoLive)
	x.client.expectLine("ERROR :Closing link: (ircferry)")
}

func TestReadUpBehindAndBeyond(t *testing.T) {
	r, a, _ := moves(t, config.Listener{})
	x := r.user(a, "ann")
	f := r.freeze(x)
	one(t, r.ReadUp(ctxOf(t), []backend.Cut{{U: x.u, Out: f.Out - 1}}), backend.CauseCount)
	x.server.send(":irc NOTICE ann :abc\r\n")
	x.server.Close()
	one(t, r.ReadUp(ctxOf(t), []backend.Cut{{U: x.u, Out: f.Out + 1000}}), backend.CauseBehind)
	x.client.expect(":irc NOTICE ann :abc\r\n")
	one(t, r.Thaw([]string{x.u}), backend.CauseGone)
	x.client.expectLine("ERROR :Closing link: (ircferry) The server has gone away")
}

func TestReadUpKeepsWhatTheClientDoesNotRead(t *testing.T) {
	r, a, b := moves(t, config.Listener{})
	x := r.user(a, "ann")
	x.client.SetReadBuffer(64 << 10)
	x.server.SetWriteBuffer(64 << 10)
	line := ":irc PRIVMSG #x :" + strings.Repeat("z", 480) + "\r\n"
	total := uint64(x.server.fill(line))
	fs, err := r.Freeze(ctxOf(t), "main/a")
	if err != nil || len(fs) != 1 {
		t.Fatal(fs, err)
	}
	cut := x.out + total
	one(t, r.ReadUp(ctxOf(t), []backend.Cut{{U: x.u, Out: cut}}), "")
	r.splice(x, b, "", "")
	want := strings.Repeat(line, int(total)/len(line)+1)[:total]
	x.client.expect(want)
}

// An old stream with more than a session takes along is told as that at once, so that it is one session's end and not a pause that is over; up to
// the splice it can still go on with the old ircd, whole.
func TestReadUpOfMoreThanIsTakenAlong(t *testing.T) {
	for _, thaw := range []bool{true, false} {
		r, a, b := moves(t, config.Listener{})
		x := r.user(a, "ann")
		x.client.SetReadBuffer(64 << 10)
		r.attach(x, b)
		line := ":irc PRIVMSG #x :" + strings.Repeat("z", 480) + "\r\n"
		text := strings.Repeat(line, 64<<20/len(line)) // more than all buffers on the way
		x.server.SetDeadline(time.Time{})
		go x.server.Write([]byte(text))
		fs, err := r.Freeze(ctxOf(t), "main/a")
		if err != nil || len(fs) != 1 {
			t.Fatal(fs, err)
		}
		one(t, r.ReadUp(ctxOf(t), []backend.Cut{{U: x.u, Out: x.out + uint64(len(text))}}), backend.CauseOverflow)
		if thaw {
			one(t, r.Thaw([]string{x.u}), "")
			x.client.expect(text)
			continue
		}
		one(t, r.Splice(ctxOf(t), "main/b", []backend.Splice{{U: x.u}}), backend.CauseOverflow)
		x.client.Close()
		r.ended("move_sendq")
	}
}

// A registration that was frozen has the rest of its time afterwards, not more.
func TestThawKeepsTheRegistrationLimit(t *testing.T) {
	r, a, _ := moves(t, config.Listener{Limits: config.Limits{Registration: config.Duration(time.Second)}})
	client := r.dial()
	server, u := a.opened()
	client.send("NICK ann\r\n")
	server.expect("NICK ann\r\n")
	fs, err := r.Freeze(ctxOf(t), "main/a")
	if err != nil || len(fs) != 1 || fs[0].Registered {
		t.Fatal(fs, err)
	}
	one(t, r.Thaw([]string{u}), "")
	client.expectLine("ERROR :Closing link: (ircferry) Registration timeout")
	client.Close()
	r.ended("registration_timeout")
}

func TestSendQOverOneMebibyteEndsTheSession(t *testing.T) {
	r, a, b := moves(t, config.Listener{})
	x := r.user(a, "ann")
	r.attach(x, b)
	r.freeze(x)
	sq := strings.Repeat("x", carryRoom+1)
	one(t, r.Splice(ctxOf(t), "main/b", []backend.Splice{{U: x.u, SQ: []byte(sq)}}), backend.CauseOverflow)
	x.client.expectLine("ERROR :Closing link: (ircferry) SendQ exceeded")
	x.client.Close()
	r.ended("move_sendq")
}
