package proxy

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/internal/config"
)

// heldAtMost is what one session may hold here, whatever its client does: for each side what may wait before it is read no more, and one read on top.
const heldAtMost = 4 * highWater

// follies are what a client may send again and again while it reads nothing.
var follies = map[string]string{
	"STARTTLS":       "STARTTLS\n",
	"hidden":         "x\rSTARTTLS\r\n",
	"PING":           "PING " + strings.Repeat("x", 400) + "\r\n",
	"short PING":     "PING x\n",
	"CAP":            "CAP LS 302\r\n",
	"blank lines":    "\r\n",
	"half a line":    strings.Repeat("y", 700),
	"bare CR":        "PING x\r",
	"lines":          "PRIVMSG #a :" + strings.Repeat("z", 300) + "\r\n",
	"nearly a PROXY": "\r\n\r\n\x00\r\nQUIT",
}

// A client that sends without end and reads nothing, in every state: its session holds a bounded amount, or ends, and nobody else's does.
func TestSillyClientsHoldLittleAndHarmNobody(t *testing.T) {
	for _, c := range []struct {
		state string
		begin func(r *rig, a *native) *conn // the silly client
	}{
		{"waiting", func(r *rig, a *native) *conn {
			r.Gate("main")
			return r.dial()
		}},
		{"opening", func(r *rig, a *native) *conn {
			c := r.dial()
			a.next()
			return c
		}},
		{"registering", func(r *rig, a *native) *conn {
			c := r.dial()
			a.opened()
			c.send("NICK silly\r\n")
			return c
		}},
		{"registering, in a line of the ircd", func(r *rig, a *native) *conn {
			c := r.dial()
			server, _ := a.opened()
			server.send(":irc NOTICE * :half")
			c.expect(":irc NOTICE * :half")
			return c
		}},
		{"relay", func(r *rig, a *native) *conn { return r.user(a, "silly").client }},
		{"relay, in a line of the ircd", func(r *rig, a *native) *conn {
			x := r.user(a, "silly")
			x.server.send(":irc NOTICE silly :half")
			x.client.expect(":irc NOTICE silly :half")
			return x.client
		}},
		{"relay, with much unread", func(r *rig, a *native) *conn {
			x := r.user(a, "silly")
			x.server.fill(":irc NOTICE silly :" + strings.Repeat("w", 450) + "\r\n")
			return x.client
		}},
		{"frozen", func(r *rig, a *native) *conn {
			x := r.user(a, "silly")
			r.freezeOnly(x)
			return x.client
		}},
		{"parked", func(r *rig, a *native) *conn {
			x := r.user(a, "silly")
			r.freezeOnly(x)
			r.Park([]string{x.u}, "irc.a")
			r.turnTime(r.t.(*testing.T), parkAwake)
			return x.client
		}},
	} {
		t.Run(c.state, func(t *testing.T) {
			for name, folly := range follies {
				a := newNative(t, "a")
				r := newRig(t, rigOptions{backends: []config.Backend{a.config()}, loops: 1, maxBytes: 16 << 20})
				r.up("main/a")
				good := r.user(a, "good")
				silly := c.begin(r, a)
				most := r.flood(silly, folly)
				if most > heldAtMost {
					t.Errorf("%s: the session held %d bytes, at most %d are allowed", name, most, heldAtMost)
				}
				if st := r.Arena(); st.Refused > 0 {
					t.Errorf("%s: the arena had no room %d times", name, st.Refused)
				}
				r.Ungate("main")
				good.toServer("PRIVMSG #a :still here\r\n")
				good.toClient(":b PRIVMSG #a :yes\r\n")
				r.Close()
			}
		})
	}
}

// freezeOnly freezes one user of many as far as the test sees: the others are thawed at once.
func (r *rig) freezeOnly(x *user) {
	r.t.Helper()
	fs, err := r.Freeze(ctxOf(r.t), "main/a")
	if err != nil {
		r.t.Fatal(err)
	}
	var others []string
	for _, f := range fs {
		if f.U != x.u {
			others = append(others, f.U)
		}
	}
	r.Thaw(others)
}

// flood sends the same without end, until nothing is taken any more, the connection ends, or there were 8 MiB. It answers the most that a session held meanwhile.
func (r *rig) flood(c *conn, text string) (most int) {
	r.t.Helper()
	chunk := []byte(strings.Repeat(text, 1+32<<10/len(text)))
	for sent := 0; sent < 8<<20; {
		c.SetWriteDeadline(time.Now().Add(20 * time.Millisecond))
		n, err := c.TCPConn.Write(chunk)
		if c.tls != nil {
			n, err = c.tls.Write(chunk)
		}
		sent += n
		all, serr := r.Sessions(ctxOf(r.t))
		if serr != nil {
			r.t.Fatal(serr)
		}
		for _, s := range all {
			most = max(most, s.Held)
		}
		if errors.Is(err, os.ErrDeadlineExceeded) && n == 0 || err != nil && !errors.Is(err, os.ErrDeadlineExceeded) || c.tls != nil && err != nil {
			break
		}
	}
	return most
}

// In a full arena the sessions that hold most end, and who asks for a little gets it.
func TestFullArenaEndsTheLargestHolders(t *testing.T) {
	a := newNative(t, "a")
	r := newRig(t, rigOptions{backends: []config.Backend{a.config()}, loops: 2, maxBytes: 5 << 20})
	r.up("main/a")
	var good, big []*user
	for range 20 {
		good = append(good, r.user(a, "good"))
	}
	for range 90 {
		big = append(big, r.user(a, "big"))
	}
	fs, err := r.Freeze(ctxOf(t), "main/a")
	if err != nil || len(fs) != 110 {
		t.Fatal(len(fs), err)
	}
	for _, x := range good {
		r.Thaw([]string{x.u})
	}
	for _, x := range big {
		r.Park([]string{x.u}, "irc.a")
	}
	r.turnTime(t, parkAwake)
	for _, x := range big { // each may hold 64 KiB: together that is more than there is
		x.client.SetWriteDeadline(time.Now().Add(patience))
		x.client.Write([]byte(strings.Repeat("PRIVMSG #a :"+strings.Repeat("w", 480)+"\r\n", 127)))
	}
	r.eventually("word of it", func() bool { return strings.Contains(r.logs.String(), "the session that holds most is ended") })
	for _, x := range good {
		half := "@+x=" + strings.Repeat("y", 12_000)
		x.client.send(half)
		x.client.send(" PING x\r\n")
		x.server.expect(half + " PING x\r\n")
		x.toClient(":irc PONG x\r\n")
	}
	var us []string
	for _, x := range big {
		us = append(us, x.u)
	}
	ended := 0
	for _, s := range r.infos() {
		if s.State == "parked" && s.Held < leastWorth {
			ended++ // what it held is given back; the move has not let it go
		}
	}
	if ended == 0 || ended > 60 {
		t.Errorf("%d of %d have given way", ended, len(big))
	}
	r.End(us, backend.CauseBackendGone, "bye")
	if st := r.Arena(); st.Allocated > st.Max {
		t.Errorf("allocated %d of %d bytes", st.Allocated, st.Max)
	}
}

func (r *rig) infos() []SessionInfo {
	r.t.Helper()
	all, err := r.Sessions(ctxOf(r.t))
	if err != nil {
		r.t.Fatal(err)
	}
	return all
}

// One session that panics in a step of a move keeps nobody else from it, and each session gets its outcome.
func TestPanicInABatchIsOneSessionsAlone(t *testing.T) {
	r, a, _ := moves(t, config.Listener{})
	var all []*user
	var us []string
	for _, nick := range []string{"ann", "ben", "cat", "dan"} {
		x := r.user(a, nick)
		all, us = append(all, x), append(us, x.u)
	}
	if fs, err := r.Freeze(ctxOf(t), "main/a"); err != nil || len(fs) != len(all) {
		t.Fatal(fs, err)
	}
	r.onAll(ctxOf(t), func(w *worker) {
		if s := w.find(all[1].u); s != nil {
			s.mv.attached.state = attachAsked // by nobody
		}
	})
	ms := r.Thaw(us)
	causes := map[string]backend.Cause{}
	for _, m := range ms {
		causes[m.U] = m.Cause
	}
	if len(ms) != len(all) || len(causes) != len(all) {
		t.Fatalf("%d outcomes for %d sessions: %+v", len(ms), len(all), ms)
	}
	for i, x := range all {
		if i == 1 {
			if causes[x.u] != backend.CauseGone {
				t.Errorf("the one that panicked: %q", causes[x.u])
			}
			x.client.expectGone()
			continue
		}
		if causes[x.u] != "" {
			t.Errorf("%s: %q", x.u, causes[x.u])
		}
		x.toServer("PING x\r\n")
	}
	r.panics = 1
}

// A frozen session whose client sends what nobody can take, or whose memory is taken, can still be attached and spliced: the user is moved like one
// whose client has left, and is told apart in the outcome.
func TestSessionOfAMoveStaysUntilItIsLetGo(t *testing.T) {
	for name, spoil := range map[string]func(r *rig, x *user){
		"a line that is too long": func(r *rig, x *user) {
			x.client.send(strings.Repeat("x", 17<<10))
			x.client.expectLine("ERROR :Closing link: (ircferry) Line too long")
		},
		"shed": func(r *rig, x *user) {
			r.onAll(ctxOf(r.t), func(w *worker) {
				if s := w.find(x.u); s != nil {
					s.shed(s.weight())
				}
			})
		},
		"cut off": func(r *rig, x *user) {
			r.onAll(ctxOf(r.t), func(w *worker) {
				if s := w.find(x.u); s != nil {
					s.cutOff(ReasonInternal)
				}
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, a, b := moves(t, config.Listener{})
			x := r.user(a, "ann")
			r.park(t, x)
			x.client.send("PRIVMSG #a :before\r\n")
			r.eventually("a held line", func() bool { all, _ := r.Sessions(ctxOf(t)); return len(all) == 1 && all[0].Held > 0 })
			spoil(r, x)
			x.client.expectGone()
			server := r.attach(x, b)
			done := make(chan []backend.Moved, 1)
			go func() { done <- r.Splice(ctxOf(t), "main/b", []backend.Splice{{U: x.u, RQ: []byte("RQ\r\n")}}) }()
			server.send("LIVE u=" + x.u + "\n")
			one(t, <-done, backend.CauseGone)
			server.expect("RQ\r\n")
			if name != "shed" { // what is shed is memory
				server.expect("PRIVMSG #a :before\r\n")
			}
			server.expectEnd()
			server.Close()
			r.eventually("the end", func() bool { return r.Counts().Sessions == 0 })
		})
	}
}

// Clients with server-time get their ircd's ERROR with a tag, others with a source: it is an end that the ircd has told all the same.
func TestErrorLinesWithTagsAndSource(t *testing.T) {
	for _, line := range []string{
		"ERROR :Closing link\r\n",
		"@time=2026-11-28T09:00:00.000Z ERROR :Closing link\r\n",
		"@time=2026-11-28T09:00:00.000Z :irc.example ERROR :Closing link\r\n",
		":irc.example ERROR :Closing link\r\n",
		" ERROR :Closing link\n",
	} {
		for cut := 1; cut < len(line); cut += 7 {
			r, d := relay(t, config.Listener{})
			client, server := r.joined(d, "ann")
			server.send(":irc NOTICE ann :x\r\n" + line[:cut])
			client.expect(":irc NOTICE ann :x\r\n" + line[:cut])
			server.send(line[cut:])
			server.Close()
			client.expect(line[cut:])
			client.expectEnd()
			client.Close()
			r.ended("backend_closed")
			r.Close()
		}
	}
}

func TestErrorSpot(t *testing.T) {
	for text, want := range map[string]bool{
		"ERROR :x":                         true,
		"ERROR ":                           true,
		"ERROR":                            false,
		"ERRORS :x":                        false,
		":irc NOTICE a :ERROR ":            false,
		"@a=ERROR NOTICE a :b":             false,
		"@a=b ERROR :x":                    true,
		"@a=b  :irc  ERROR :x":             true,
		"NOTICE a :x\r\nERROR :x":          true,
		"ERROR :x\r\nNOTICE a :x":          false,
		"ERROR :x\r\nNOTICE a :x\r\n":      false,
		"NOTICE a :x\r\n@t=1 ERROR :x\r\n": true,
	} {
		for cut := 1; cut <= len(text); cut++ {
			var e errorSpot
			e.see([]byte(text[:cut]))
			if cut < len(text) {
				e.see([]byte(text[cut:]))
			}
			if e.saidError() != want {
				t.Errorf("%q, cut at %d: %v", text, cut, e.saidError())
			}
		}
	}
}
