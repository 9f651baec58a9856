package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

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
	plaintextOnly(t) // a client cannot shake hands with a loop that is held
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
					for me, said := loop.LocalAddr(s.backend.FD()).String(), ""; said != me; {
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
			if s.remote() == client.LocalAddr().(*net.TCPAddr).AddrPort() {
				for errno := unix.Errno(0); errno == 0; { // until the kernel takes nothing for it
					_, errno = loop.Write(s.client.FD(), make([]byte, 1<<16))
				}
				s.end(ReasonShutdown, "bye")
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

// unregistered is how many sessions of the backend have not seen 001.
func (r *rig) unregistered(backendName string) (n int64) {
	for _, w := range r.workers {
		w.eachPeer(func(p *peer) {
			if p.name == backendName {
				n += p.unregistered.Load()
			}
		})
	}
	return n
}

// The line 001 may come in any pieces, with all the tags that IRCv3 allows a server (8,191 bytes), behind lines that only look like it.
func TestWelcomeInAnyPieces(t *testing.T) {
	lines := []string{
		":irc 001\r\n",
		"001 a :hello\n",
		"@time=2026-11-20T16:00:00.000Z;" + strings.Repeat("x", 8000) + " :irc.example 001 a :hello\r\n",
		":" + strings.Repeat("irc.", 300) + " 001 a :hello\r\n",
	}
	r, d := relay(t, config.Listener{})
	for i, line := range lines {
		for cut := 1; cut < len(line); cut += 1 + len(line)/300 + max(0, len(line)-40-cut) { // the first pieces, and those near the end
			client := r.dial()
			client.send("NICK a\r\n")
			server := d.next()
			server.expect("NICK a\r\n")
			first := ":irc NOTICE 001 :001\r\n:irc 433 001 a :001\r\n" + line[:cut]
			server.send(first)
			client.expect(first)
			if r.unregistered("main/a") != 1 {
				t.Errorf("line %d: registered with %d bytes to come", i, len(line)-cut)
			}
			server.send(line[cut:])
			client.expect(line[cut:])
			r.eventually(fmt.Sprintf("registration by line %d in pieces of %d and %d", i, cut, len(line)-cut),
				func() bool { return r.unregistered("main/a") == 0 })
			client.Close()
			server.expectGone()
		}
	}
}

// A password that came in pieces, or with the PROXY header, or waited for USER, is nowhere in the memory of the registration afterwards.
func TestPasswordsAreZeroed(t *testing.T) {
	password := filepath.Join(t.TempDir(), "webirc")
	if err := os.WriteFile(password, []byte("gateway\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := newIRCd(t)
	r := newRig(t, rigOptions{loops: 1, backends: []config.Backend{{Name: "a", Address: d.addr(), Identity: config.IdentityWebIRC, WebIRCPasswordFile: password, WebIRCAfter: "user"}},
		listener: config.Listener{ProxyProtocol: &config.ProxyProtocol{From: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}}})
	var seen [][]byte
	look := func() {
		t.Helper()
		err := r.onAll(ctxOf(t), func(w *worker) {
			w.each(func(s *session) {
				if g := s.reg; g != nil {
					for _, b := range [][]byte{g.head, g.early, g.talk.lines} {
						seen = append(seen, b[:cap(b)])
					}
				}
			})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	r.Gate("main")
	client := r.dial()
	const first = "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nPASS secret\r\n"
	sent := uint64(len(first))
	client.send(first)
	r.eventually("client at the gate", func() bool { return r.Counts().States["waiting"] == 1 })
	look()
	r.Ungate("main")
	for _, p := range []string{"PASS secret\r\nPASS sec", "ret\r\nPASS ", "secret\r\nNICK a\r\nPASS secre", "t\r\nUSER a 0 * :a\r\nPASS secret"} {
		client.send(p)
		sent += uint64(len(p))
		r.eventually("bytes at the proxy", func() bool {
			look()
			var in uint64
			r.onAll(ctxOf(t), func(w *worker) { w.each(func(s *session) { in = s.slot().ClientIn }) })
			return in == sent
		})
	}
	server := d.next()
	server.expectLine("WEBIRC gateway ")
	server.expect("PASS secret\r\nPASS secret\r\nPASS secret\r\nPASS secret\r\nNICK a\r\nPASS secret\r\nUSER a 0 * :a\r\n")
	look()
	server.send(":irc 001 a :hi\r\n")
	client.expect(":irc 001 a :hi\r\n")
	r.eventually("registration", func() bool { return r.unregistered("main/a") == 0 })
	found := 0
	for _, b := range seen {
		if bytes.Contains(b, []byte("secre")) {
			found++
		}
	}
	if found > 0 || len(seen) < 8 {
		t.Errorf("%d of %d arrays that the registration had still hold the password", found, len(seen))
	}
}
