package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/internal/config"
)

// handOver puts another Proxy in the place of the rig's, by way of what another process would get: text and duplicates of descriptors.
func (r *rig) handOver(secure map[string]*tls.Config) (left int) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	if err := r.Quiesce(ctx); err != nil {
		r.t.Fatal(err)
	}
	cut, err := r.Cut(ctx, r.resting...)
	if err != nil {
		r.t.Fatal(err)
	}
	decided := false
	defer func() {
		if !decided { // the test has failed: its proxy is closed, which no loop that stands still could be
			cut.GoOn()
		}
	}()
	s, left := r.successor(cut, secure)
	decided = true
	cut.Leave()
	s.Start()
	old := r.Proxy
	r.Proxy = s.Proxy()
	if err := old.Close(); err != nil {
		r.t.Error(err)
	}
	r.t.Cleanup(func() { s.Proxy().Close() })
	return left
}

func (r *rig) successor(cut *Cut, secure map[string]*tls.Config) (*Successor, int) {
	r.t.Helper()
	st, fds, left, err := cut.State()
	if err != nil {
		r.t.Fatal(err)
	}
	text, err := json.Marshal(st)
	if err != nil {
		r.t.Fatal(err)
	}
	var in Inherited
	if err := json.Unmarshal(text, &in.Carried); err != nil {
		r.t.Fatal(err)
	}
	in.Loops = st.Loops
	in.Arena = duplicate(r.t, cut.Arena())
	for _, fd := range fds {
		in.FDs = append(in.FDs, duplicate(r.t, fd))
	}
	r.passed = append(in.FDs, in.Arena)
	r.registry = prometheus.NewRegistry()
	s, err := Resume(Options{Instance: "test", Backends: r.set, Log: r.log, Registerer: r.registry, Keeper: r.behind}, in, secure)
	if err != nil {
		r.t.Fatal(err)
	}
	return s, left
}

func duplicate(t testing.TB, fd int) int {
	t.Helper()
	n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// upgrades are what can become of a cut: another process goes on, or the old one does, because the new one could not.
func upgrades(t *testing.T, f func(t *testing.T, again func(r *rig, secure map[string]*tls.Config))) {
	t.Run("taken over", func(t *testing.T) {
		f(t, func(r *rig, secure map[string]*tls.Config) { r.handOver(secure) })
	})
	t.Run("failed", func(t *testing.T) {
		f(t, func(r *rig, secure map[string]*tls.Config) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if err := r.Quiesce(ctx); err != nil {
				t.Fatal(err)
			}
			cut, err := r.Cut(ctx, r.resting...)
			if err != nil {
				t.Fatal(err)
			}
			defer cut.GoOn()
			s, _ := r.successor(cut, secure) // it gets as far as it can and dies
			s.p.metrics.unregister()
			s.p.giveUp()
			s.p.arena.Detach()
			for _, fd := range r.passed {
				unix.Close(fd)
			}
		})
	})
}

const secureListener = "127.0.0.2:0"

func successorRig(t *testing.T) (*rig, *ircd, map[string]*tls.Config) {
	plaintextOnly(t)
	r, d := relay(t, config.Listener{})
	secure := map[string]*tls.Config{"ircs": serverTLS(t, 0)}
	if err := r.SetListeners([]config.Listener{
		{Name: "irc", Pool: "main", Address: "127.0.0.1:0"},
		{Name: "ircs", Pool: "main", Address: secureListener, TLS: &config.ListenerTLS{}},
		{Name: "behind", Pool: "main", Address: "127.0.0.3:0", ProxyProtocol: &config.ProxyProtocol{From: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}},
	}, secure); err != nil {
		t.Fatal(err)
	}
	return r, d, secure
}

func (r *rig) dialTo(listener string) *conn {
	r.t.Helper()
	c, err := net.DialTimeout("tcp", r.Addrs()[listener][0].String(), patience)
	if err != nil {
		r.t.Fatal(err)
	}
	return newConn(r.t, c.(*net.TCPConn))
}

// Sessions in all states that are beside moves come along, in the middle of whatever they are in, three times in a row.
func TestSuccessorGoesOn(t *testing.T) {
	upgrades(t, func(t *testing.T, again func(*rig, map[string]*tls.Config)) {
		r, d, secure := successorRig(t)
		type pair struct{ client, server *conn }
		var pairs []pair
		for _, version := range []uint16{0, tls.VersionTLS12, tls.VersionTLS13} {
			listener := "irc"
			if version > 0 {
				listener = "ircs"
			}
			c := r.dialTo(listener)
			if version > 0 {
				c.secure(&tls.Config{InsecureSkipVerify: true, MaxVersion: version})
			}
			c.send("NICK a\r\nUSER")
			s := d.next()
			s.expect("NICK a\r\n")
			s.send(":irc NOTICE * :hal")
			c.expect(":irc NOTICE * :hal")
			pairs = append(pairs, pair{c, s})
		}
		for round := range 3 {
			again(r, secure)
			for _, p := range pairs {
				switch round {
				case 0:
					p.client.send(" b\r\nPING x")
					p.server.expect("USER b\r\n")
					p.server.send("lo\r\n:irc 001 a :hi\r\n:irc PART")
					p.client.expect("lo\r\n:irc 001 a :hi\r\n:irc PART")
				case 1:
					p.client.send("y\r\nSTARTTLS\r\nPING z\r\n")
					p.server.expect("PING xy\r\nPING z\r\n")
				case 2:
					p.server.send("IAL\r\n")
					p.client.expect("IAL\r\n" + startTLSRefused)
					p.client.CloseWrite()
					p.server.expectEnd()
					p.server.send("ERROR :bye\r\n")
					p.server.Close()
					p.client.expect("ERROR :bye\r\n")
					p.client.expectEnd()
				}
			}
		}
		r.eventually("end of all", func() bool { return r.Counts().Sessions == 0 && r.Arena().Slots == 0 && r.Arena().Chunks == 0 })
	})
}

// What neither side has read comes along, and flows on when it is read.
func TestSuccessorKeepsWhatWaits(t *testing.T) {
	upgrades(t, func(t *testing.T, again func(*rig, map[string]*tls.Config)) {
		r, d, secure := successorRig(t)
		for _, listener := range []string{"irc", "ircs"} {
			c := r.dialTo(listener)
			if listener == "ircs" {
				c.secure(&tls.Config{InsecureSkipVerify: true})
			}
			c.send("NICK a\r\n")
			s := d.next()
			s.expect("NICK a\r\n")
			s.send(":irc 001 a :hi\r\n")
			c.expect(":irc 001 a :hi\r\n")
			line := "PRIVMSG #c :" + strings.Repeat("0123456789abcdef", 20) + "\r\n"
			up, down := c.fill(line), s.fill(line)
			for r.Arena().Chunks < 20 { // the kernel takes some megabytes first
				at := down % len(line) // where the last one was cut
				down += s.fill(line[at:] + line[:at])
			}
			again(r, secure)
			var reading sync.WaitGroup
			for _, way := range []struct {
				to *conn
				n  int
			}{{s, up}, {c, down}} {
				way.to.SetReadDeadline(time.Now().Add(patience))
				reading.Go(func() { // a client is not read while its other direction is full
					got := make([]byte, way.n/len(line)*len(line))
					if n, err := io.ReadFull(way.to.r, got); err != nil || !bytes.Equal(got, bytes.Repeat([]byte(line), way.n/len(line))) {
						t.Errorf("%s: %d of %d bytes are not what was sent (%v)", listener, n, len(got), err)
					}
				})
			}
			reading.Wait()
			if listener == "irc" { // a TLS write that timed out has spoiled the client's own state
				c.send("\r\nQUIT\r\n")
				c.CloseWrite()
			}
			c.Close()
			s.Close()
		}
		r.eventually("empty arena", func() bool { a := r.Arena(); return a.Slots == 0 && a.Chunks == 0 && a.TLS == 0 })
	})
}

// Who has only begun comes along: a PROXY header, a ClientHello, a wait for a backend.
func TestSuccessorTakesBeginnings(t *testing.T) {
	upgrades(t, func(t *testing.T, again func(*rig, map[string]*tls.Config)) {
		r, d, secure := successorRig(t)
		headed := r.dialTo("behind")
		headed.send("PROXY TCP4 192.0.2.7 ")
		silent := r.dialTo("ircs")
		shaking := r.dialTo("ircs")
		hello := &slowWriter{TCPConn: shaking.TCPConn, first: 100}
		r.eventually("three sessions", func() bool { return r.Counts().Sessions == 3 })
		shook := make(chan error, 1)
		client := tls.Client(hello, &tls.Config{InsecureSkipVerify: true})
		hello.gate = make(chan struct{})
		go func() { shook <- client.Handshake() }()
		r.eventually("beginning of a handshake", func() bool {
			var n int
			r.onAll(t.Context(), func(w *worker) {
				w.each(func(s *session) {
					if s.reg.fed() > 0 {
						n++
					}
				})
			})
			return n == 1
		})
		again(r, secure)
		close(hello.gate)
		if err := <-shook; err != nil {
			t.Fatal(err)
		}
		io.WriteString(client, "NICK shaken\r\n")
		d.next().expect("NICK shaken\r\n")
		silent.secure(&tls.Config{InsecureSkipVerify: true})
		silent.send("NICK silent\r\n")
		d.next().expect("NICK silent\r\n")
		headed.send("192.0.2.8 1 2\r\nNICK headed\r\n")
		d.next().expect("NICK headed\r\n")
		sessions, err := r.Sessions(t.Context())
		if err != nil || len(sessions) != 3 {
			t.Fatal(sessions, err)
		}
		found := false
		for _, s := range sessions {
			found = found || s.Client.Addr() == netip.MustParseAddr("192.0.2.7")
		}
		if !found {
			t.Errorf("no session of 192.0.2.7: %+v", sessions)
		}
	})
}

// slowWriter writes so many bytes of the first write and waits for the gate with the rest.
type slowWriter struct {
	*net.TCPConn
	first int
	gate  chan struct{}
}

func (w *slowWriter) Write(p []byte) (int, error) {
	if w.first == 0 {
		return w.TCPConn.Write(p)
	}
	n, err := w.TCPConn.Write(p[:w.first])
	if err != nil {
		return n, err
	}
	<-w.gate
	more, err := w.TCPConn.Write(p[w.first:])
	w.first = 0
	return n + more, err
}

// Who waits for a backend goes on to wait, and is served when there is one.
func TestSuccessorWaitsForABackend(t *testing.T) {
	plaintextOnly(t)
	upgrades(t, func(t *testing.T, again func(*rig, map[string]*tls.Config)) {
		d := newIRCd(t)
		r := newRig(t, rigOptions{backends: []config.Backend{{Name: "a", Address: d.addr()}}, inter: 5 * time.Second})
		r.up("main/a")
		b, _ := r.set.Backend("main/a")
		b.SetAdmin(backend.Maint)
		c := r.dial()
		c.send("NICK waits\r\n")
		r.eventually("a session that waits", func() bool { return r.Counts().Waiting == 1 })
		again(r, nil)
		if n := r.Counts().Waiting; n != 1 {
			t.Errorf("%d wait, want 1", n)
		}
		b.SetAdmin(backend.Ready)
		d.next().expect("NICK waits\r\n")
	})
}

// A handshake in which we have spoken stays behind, and nothing of it is left.
func TestSuccessorLeavesHandshakes(t *testing.T) {
	r, _, secure := successorRig(t)
	c := r.dialTo("ircs")
	stop := &slowWriter{TCPConn: c.TCPConn}
	client := tls.Client(&halfDeaf{TCPConn: stop.TCPConn, heard: make(chan struct{}, 1)}, &tls.Config{InsecureSkipVerify: true})
	go client.Handshake()
	r.eventually("a handshake under way", func() bool {
		spoke := false
		r.onAll(t.Context(), func(w *worker) {
			w.each(func(s *session) { spoke = spoke || s.reg != nil && s.reg.shake != nil && s.reg.shake.spoke })
		})
		return spoke
	})
	begun := time.Now()
	if left := r.handOver(secure); left != 1 {
		t.Errorf("%d left behind, want 1", left)
	}
	if took := time.Since(begun); took > 2*quiesceTime {
		t.Errorf("it was waited for %v", took)
	}
	c.expectGone()
	r.eventually("freed slot", func() bool { return r.Arena().Slots == 0 })
	if n := r.Counts().Sessions; n != 0 {
		t.Errorf("%d sessions", n)
	}
}

// halfDeaf never lets a handshake hear the answer.
type halfDeaf struct {
	*net.TCPConn
	heard chan struct{}
}

func (h *halfDeaf) Read([]byte) (int, error) { <-h.heard; return 0, io.EOF }

// Ids, counts, rates and the limits by address go along.
func TestSuccessorKeepsTheBooks(t *testing.T) {
	plaintextOnly(t)
	limits := config.Limits{PerIP: 2, PerIPRate: config.Rate{N: 4, Per: time.Hour}}
	r, d := relay(t, config.Listener{Limits: limits})
	begin := func() (client, server *conn) {
		client = r.dial()
		client.send("NICK a\r\n")
		server = d.next()
		server.expect("NICK a\r\n")
		return client, server
	}
	leave := func(client, server *conn) {
		client.Close()
		server.Close()
		r.eventually("one session", func() bool { return r.Counts().Sessions == 1 })
	}
	one, its := begin()
	begin()
	r.dial().expectLine("ERROR")
	ids := func() string {
		all, err := r.Sessions(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var text []string
		for _, s := range all {
			text = append(text, s.ID+" "+s.Client.String()+" "+s.Backend+" "+s.Since.Round(time.Minute).String())
		}
		slices.Sort(text) // they are told by loop and place
		return strings.Join(text, "\n")
	}
	r.eventually("two sessions", func() bool { return r.Counts().Sessions == 2 })
	r.onAll(t.Context(), func(w *worker) { w.loop.SetNow(w.loop.Now() + time.Hour) }) // they have been here for an hour
	before, taken, counts := ids(), r.Taken(), r.Counts()
	r.handOver(nil)
	if after := ids(); after != before {
		t.Errorf("sessions\n%s\nwere\n%s", after, before)
	}
	if got, want := string(asJSON(t, r.Taken())), string(asJSON(t, taken)); got != want {
		t.Errorf("taken %s, was %s", got, want)
	}
	if got, want := string(asJSON(t, r.Counts())), string(asJSON(t, counts)); got != want {
		t.Errorf("counts %s, were %s", got, want)
	}
	r.dial().expectLine("ERROR :Closing link: (ircferry) Too many connections from")
	leave(one, its)
	leave(begin())
	leave(begin())
	r.dial().expectLine("ERROR :Closing link: (ircferry) You are connecting too fast")
	for _, w := range r.workers {
		if n := w.counts.violations.Load(); n != 0 {
			t.Errorf("%d violations", n)
		}
	}
}

func asJSON(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Nobody who is in a queue of the listeners is reset, and a session whose move does not rest keeps the loops from being cut.
func TestQuiesceAndCut(t *testing.T) {
	plaintextOnly(t)
	r, d := relay(t, config.Listener{})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := r.Quiesce(ctx); err != nil {
		t.Fatal(err)
	}
	waits := r.dial()
	waits.send("NICK waits\r\n")
	r.handOver(nil)
	s := d.next()
	s.expect("NICK waits\r\n")
	s.send(":irc 001 waits :hi\r\n")
	waits.expect(":irc 001 waits :hi\r\n")

	frozen, err := r.Freeze(ctx, "main/a")
	if err != nil || len(frozen) != 1 {
		t.Fatal(frozen, err)
	}
	if _, err := r.Cut(ctx); err == nil || !strings.Contains(err.Error(), "in a move") {
		t.Errorf("cut of a frozen session: %v", err)
	}
	if _, err := r.Cut(ctx, "main/b"); err == nil {
		t.Error("cut of a frozen session while another backend's move rests")
	}
	r.Thaw([]string{frozen[0].U})
	waits.send("PING x\r\n")
	s.expect("PING x\r\n")
}

// What is not of this form, or does not add up, is refused before anything is changed.
func TestResumeRefuses(t *testing.T) {
	plaintextOnly(t)
	r, d := relay(t, config.Listener{})
	c := r.dial()
	c.send("NICK a\r\n")
	s := d.next()
	s.expect("NICK a\r\n")
	for name, spoil := range map[string]func(in *Inherited){
		"another form":        func(in *Inherited) { in.Format++ },
		"a descriptor less":   func(in *Inherited) { in.FDs = in.FDs[:len(in.FDs)-1] },
		"a descriptor more":   func(in *Inherited) { in.FDs = append(in.FDs, in.FDs[0]) },
		"a loop less":         func(in *Inherited) { in.Loops = in.Loops[1:] },
		"no sessions":         func(in *Inherited) { in.Loops = []json.RawMessage{[]byte(`{}`), []byte(`{}`)} },
		"another place":       func(in *Inherited) { in.Loops = replaced(in.Loops, `"gen":1`, `"gen":2`) },
		"another state":       func(in *Inherited) { in.Loops = replaced(in.Loops, `"state":"relay"`, `"state":"waiting"`) },
		"a state of tomorrow": func(in *Inherited) { in.Loops = replaced(in.Loops, `"state":"relay"`, `"state":"flying"`) },
		"an unknown backend":  func(in *Inherited) { in.Loops = replaced(in.Loops, `"at":"main/a"`, `"at":"main/z"`) },
		"an unknown listener": func(in *Inherited) { in.Loops = replaced(in.Loops, `"place":0`, `"place":7`) },
		"no arena":            func(in *Inherited) { in.Arena = in.FDs[0] },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		cut, err := r.Cut(ctx)
		if err != nil {
			t.Fatal(err)
		}
		st, fds, _, err := cut.State()
		if err != nil {
			t.Fatal(err)
		}
		in := Inherited{Carried: st, Arena: cut.Arena(), FDs: fds}
		spoil(&in)
		if _, err := Resume(Options{Instance: "test", Backends: r.set}, in, nil); err == nil {
			t.Errorf("%s: resumed", name)
		}
		cut.GoOn()
		cancel()
		c.send("PING x\r\n")
		s.expect("PING x\r\n")
	}
}

func replaced(texts []json.RawMessage, from, to string) (all []json.RawMessage) {
	for _, t := range texts {
		all = append(all, json.RawMessage(strings.ReplaceAll(string(t), from, to)))
	}
	return all
}
