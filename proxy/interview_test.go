package proxy

import (
	"context"
	"net"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/internal/config"
)

// replayed is a rig with one stock ircd whose users are made again, and a user of it.
func replayed(t *testing.T) (r *rig, x *user) {
	t.Helper()
	d := newIRCd(t)
	r = newRig(t, rigOptions{backends: []config.Backend{{Name: "a", Address: d.addr(), Driver: config.DriverReplay}}, inter: time.Hour})
	r.up("main/a")
	x = &user{}
	x.client = r.dial()
	x.client.send("NICK ann\r\nUSER ann 0 * :Ann A.\r\n")
	x.server = d.next()
	x.server.expect("NICK ann\r\nUSER ann 0 * :Ann A.\r\n")
	x.toClient(":irc 001 ann :hello\r\n")
	refs, err := r.On(ctxOf(t), "main/a")
	if err != nil || len(refs) != 1 || !refs[0].Registered {
		t.Fatalf("%v %v", refs, err)
	}
	x.u = refs[0].U
	return r, x
}

// asks begins an interview, and answers when the question has come to the ircd.
func (x *user) asks(r *rig, ctx context.Context, q backend.Question) <-chan backend.Answered {
	got := make(chan backend.Answered, 1)
	q.U = x.u
	go func() { got <- r.Interview(ctx, []backend.Question{q})[0] }()
	x.server.expect(q.Lines)
	return got
}

func (x *user) freezes(r *rig) {
	r.t.Helper()
	if frozen, err := r.Freeze(ctxOf(r.t), "main/a"); err != nil || len(frozen) != 1 {
		r.t.Fatalf("%v %v", frozen, err)
	}
}

var someAnswers = map[string]bool{"221": true, "324": true}

// What is asked in a user's name, and what is answered, is nothing of the client's; everything else is, in order, and the stream is cut behind the last answer.
func TestInterview(t *testing.T) {
	r, x := replayed(t)
	x.toClient(":ann!a@b JOIN #c\r\n:irc MODE #c +o ann\r\n")
	x.freezes(r)
	first := x.asks(r, ctxOf(t), backend.Question{Lines: "PING t1\r\n", Token: "t1"})
	x.server.send(":irc 221 ann +x\r\n:irc PONG irc :t")
	x.client.expect(":irc 221 ann +x\r\n") // it was asked for by the client, before
	x.server.send("1\r\n:ben PRIVMSG #c :one\r\n")
	x.client.expect(":ben PRIVMSG #c :one\r\n")
	if a := <-first; a.Cause != "" || len(a.Lines) != 0 || a.User.Nick != "ann" {
		t.Fatalf("%+v", a)
	}
	last := x.asks(r, ctxOf(t), backend.Question{Lines: "MODE ann\r\nMODE #c\r\nPING t2\r\n", Token: "t2", Answers: someAnswers, Last: true})
	for piece := range strings.SplitSeq(":irc 2|21 ann +i\r\n:ben PRIV|MSG #c :two\r\n@time=1 :irc 324 ann #c +nt\r|\n:irc 730 ann :ben\r\n:irc PONG irc :t2\r\n", "|") {
		x.server.send(piece)
	}
	x.client.expect(":ben PRIVMSG #c :two\r\n:irc 730 ann :ben\r\n")
	a := <-last
	if want := []string{":irc 221 ann +i", "@time=1 :irc 324 ann #c +nt"}; a.Cause != "" || !slices.Equal(a.Lines, want) {
		t.Errorf("%+v, want %q", a, want)
	}
	want := []backend.ChannelRecord{{Name: "#c", Status: "o"}}
	if u := a.User; u.Nick != "ann" || u.User != "ann" || u.Realname != "Ann A." || u.Modes != "i" || !reflect.DeepEqual(u.Channels, want) || u.Client.Addr.Addr().String() != "127.0.0.1" {
		t.Errorf("%+v", u)
	}
	x.server.send("ERROR :the ircd ends\r\n:ben QUIT :it does\r\n") // mute
	x.client.expectNothingYet()
	one(t, r.ReadUp(ctxOf(t), []backend.Cut{{U: x.u, Out: a.Out}}), "")
}

// A move that is undone behind the last answer gives the client all that has come.
func TestThawBehindAnInterview(t *testing.T) {
	r, x := replayed(t)
	x.freezes(r)
	last := x.asks(r, ctxOf(t), backend.Question{Lines: "PING t2\r\n", Token: "t2", Last: true})
	x.server.send(":irc PONG irc :t2\r\n:ben PRIVMSG ann :ha")
	<-last
	x.server.send("lf\r\n:ben PRIVMSG ann :whole\r\n")
	one(t, r.Thaw([]string{x.u}), "")
	x.client.expect(":ben PRIVMSG ann :half\r\n:ben PRIVMSG ann :whole\r\n")
	x.toServer("PRIVMSG ben :back\r\n")
}

// Answers that come when the move is undone already are kept from the client all the same.
func TestThawOfAnInterviewThatIsNotAnswered(t *testing.T) {
	r, x := replayed(t)
	x.freezes(r)
	ctx, cancel := context.WithCancel(t.Context())
	last := x.asks(r, ctx, backend.Question{Lines: "MODE ann\r\nPING t2\r\n", Token: "t2", Answers: someAnswers, Last: true})
	cancel()
	if a := <-last; a.Cause != backend.CauseTimeout {
		t.Errorf("%+v", a)
	}
	one(t, r.Thaw([]string{x.u}), "")
	x.server.send(":ben PRIVMSG ann :one\r\n:irc 221 ann +i\r\n:irc PONG irc :t2\r\n:irc 221 ann +x\r\n")
	x.client.expect(":ben PRIVMSG ann :one\r\n:irc 221 ann +x\r\n")
	x.toServer("PRIVMSG ben :back\r\n")
}

// A client that has the begin of a line gets its end.
func TestInterviewInTheMiddleOfALine(t *testing.T) {
	r, x := replayed(t)
	x.toClient(":ben PRIVMSG ann :")
	x.freezes(r)
	last := x.asks(r, ctxOf(t), backend.Question{Lines: "PING t1\r\n", Token: "t1"})
	x.server.send("PONG t1\r\n:irc PONG irc :t1\r\n")
	x.client.expect("PONG t1\r\n")
	<-last
	x.client.expectNothingYet()
}

// Who has ended, is not registered, or was not listened to is not asked.
func TestWhoIsNotAsked(t *testing.T) {
	r, x := replayed(t)
	one := func(cause backend.Cause) {
		t.Helper()
		if a := r.Interview(ctxOf(t), []backend.Question{{U: x.u, Lines: "PING t\r\n", Token: "t"}})[0]; a.Cause != cause {
			t.Errorf("%+v, want %s", a, cause)
		}
	}
	one(backend.CauseGone) // it is not frozen
	x.freezes(r)
	for _, w := range r.workers {
		done := make(chan struct{})
		w.loop.Post(func() {
			w.each(func(s *session) { s.forgetKnown() })
			close(done)
		})
		<-done
	}
	one(backend.CauseUntracked)
}

// stream is a connection that somebody else has opened, and its other end.
func stream(t *testing.T) (net.Conn, *conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ours, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return ours, newConn(t, theirs.(*net.TCPConn))
}

// An adopted stream takes the old one's place: what had come on it, and what comes.
func TestAdopt(t *testing.T) {
	r, x := replayed(t)
	x.freezes(r)
	last := x.asks(r, ctxOf(t), backend.Question{Lines: "PING t\r\n", Token: "t", Last: true})
	x.server.send(":irc PONG irc :t\r\n")
	one(t, r.ReadUp(ctxOf(t), []backend.Cut{{U: x.u, Out: (<-last).Out}}), "")
	r.Park([]string{x.u}, "irc")
	x.server.expectGone()
	x.client.send("PRIVMSG ben :held\r\n")
	conn, server := stream(t)
	server.send(":ben PRIVMSG ann :in the kernel\r\n")
	one(t, r.Adopt(ctxOf(t), []backend.Adopted{{U: x.u, Conn: conn, Rest: []byte(":ben PRIVMSG ann :read\r\n")}}), "")
	x.client.expectNothingYet()
	one(t, r.Splice(ctxOf(t), "main/a", []backend.Splice{{U: x.u, Live: true}}), "")
	x.client.expect(":ben PRIVMSG ann :read\r\n:ben PRIVMSG ann :in the kernel\r\n")
	server.expect("PRIVMSG ben :held\r\n")
	x.server = server
	x.toServer("PRIVMSG ben :on\r\n")
	x.toClient(":ben PRIVMSG ann :on\r\n")
}

// A stream for a session that has ended is closed, and leaves no descriptor.
func TestAdoptForNobody(t *testing.T) {
	r, x := replayed(t)
	for _, u := range []string{x.u, "test.nobody", "other.1"} { // not held; none; another daemon's
		conn, server := stream(t)
		one(t, r.Adopt(ctxOf(t), []backend.Adopted{{U: u, Conn: conn}}), backend.CauseGone)
		server.expectEnd()
	}
}
