package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/internal/config"
	"github.com/ircferry/ircferry/proxy/loop"
	"github.com/ircferry/ircferry/proxy/wire"
)

// hold stops a loop until the returned function is called; what is posted meanwhile runs behind it.
func (w *worker) hold() (release func()) {
	held, free := make(chan struct{}), make(chan struct{})
	w.loop.Post(func() {
		close(held)
		<-free
	})
	<-held
	return func() { close(free) }
}

// An ircd that speaks, or refuses, as soon as it has accepted may be seen in the same event as the end of the connect; edges do not
// come twice.
func TestBackendSpeaksBeforeTheConnectIsSeen(t *testing.T) {
	for _, c := range []struct {
		name, says string
		ends       bool
	}{
		{"banner", ":irc NOTICE * :*** Looking up your hostname...\r\n", false},
		{"refusal", "ERROR :Closing link: throttled\r\n", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			spoken := make(chan string, 10_000) // to whom
			go func() {
				for {
					a, err := l.Accept()
					if err != nil {
						return
					}
					conn := newConn(t, a.(*net.TCPConn))
					io.WriteString(conn, c.says)
					if c.ends {
						conn.CloseWrite()
					}
					spoken <- a.RemoteAddr().String()
				}
			}()
			r := newRig(t, rigOptions{loops: 1, backends: []config.Backend{{Name: "a", Address: l.Addr().String(), Identity: config.IdentityNone}}})
			r.eventually("backend that is up", func() bool {
				b, ok := r.set.Backend("main/a")
				return ok && b.Oper() == backend.Up
			})
			w := r.workers[0]
			release := w.hold()
			client := r.dial()
			w.loop.Post(func() { // behind accept and connect, and before the next look at events
				w.each(func(s *session) {
					late := time.After(patience)
					for me, said := loop.LocalAddr(int(s.backendFD)).String(), ""; said != me; {
						select {
						case said = <-spoken:
						case <-late:
							t.Errorf("the backend has not seen %s, state %s", me, s.state)
							return
						}
					}
				})
			})
			release()
			client.expect(c.says)
			if c.ends {
				client.expectEnd()
			}
		})
	}
}

// The arena may be full when a session is to end; then there is no room for its last words, and nothing else may happen.
func TestEndWithoutRoomForTheLastWords(t *testing.T) {
	d := newIRCd(t)
	r := newRig(t, rigOptions{loops: 1, maxBytes: 1 << 20, backends: []config.Backend{{Name: "a", Address: d.addr(), Identity: config.IdentityNone}}})
	client, _ := r.joined(d, "a")
	other, otherServer := r.joined(d, "b")
	err := r.onAll(ctxOf(t), func(w *worker) {
		var full wire.Queue
		for w.shard.Append(&full, make([]byte, wire.ChunkBytes)) == nil {
		}
		w.each(func(s *session) {
			if s.client.addrPort() == client.LocalAddr().(*net.TCPAddr).AddrPort() {
				s.set(clientFull) // the kernel takes nothing for it
				w.end(s, ReasonShutdown, "bye")
			}
		})
		w.shard.Clear(&full)
	})
	if err != nil {
		t.Fatal(err)
	}
	client.expectGone()
	other.send("PING 1\r\n")
	otherServer.expect("PING 1\r\n")
	again, againServer := r.joined(d, "c")
	again.send("PING 2\r\n")
	againServer.expect("PING 2\r\n")
	if n := r.Counts().Sessions; n != 2 {
		t.Errorf("%d sessions, want 2", n)
	}
}

// A freeze that was given up must not hold anybody later: nobody would know whom to thaw.
func TestFreezeGivenUpHoldsNobody(t *testing.T) {
	r, a, _ := moves(t, config.Listener{})
	x := r.user(a, "x")
	var releases []func()
	for _, w := range r.workers {
		releases = append(releases, w.hold())
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	frozen, err := r.Freeze(ctx, "main/a")
	if !errors.Is(err, context.Canceled) || len(frozen) != 0 {
		t.Errorf("freeze of loops that do not answer: %v, %v", frozen, err)
	}
	for _, release := range releases {
		release()
	}
	if err := r.onAll(ctxOf(t), func(*worker) {}); err != nil { // what was posted has run
		t.Fatal(err)
	}
	x.toServer("PRIVMSG #a :hello\r\n")
	x.toClient(":b PRIVMSG #a :hello\r\n")
	if refs, err := r.On(ctxOf(t), "main/a"); err != nil || len(refs) != 1 {
		t.Errorf("sessions at the backend: %v, %v", refs, err)
	}
}
