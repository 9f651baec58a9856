package proxy

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/internal/config"
)

// autoIRCd answers what comes on streams by itself: it registers whoever says NICK, reads all, and closes behind its client.
type autoIRCd struct {
	*native
	mu       sync.Mutex
	rnd      *rand.Rand
	attached map[string]net.Conn // by stream id
	faulty   bool                // some ATTACHes are refused, forgotten, or their connection is closed
}

func newAutoIRCd(t *testing.T, name string) *autoIRCd {
	d := &autoIRCd{native: newNative(t, name), attached: map[string]net.Conn{}, rnd: rand.New(rand.NewPCG(7, uint64(name[0])))}
	go d.each(func(c net.Conn) { d.serve(c) })
	return d
}

// each serves connections until the test ends.
func (d *ircd) each(serve func(net.Conn)) {
	for {
		select {
		case c := <-d.accepted:
			go serve(c)
		case <-d.t.Context().Done():
			return
		}
	}
}

func (d *autoIRCd) serve(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	line, err := r.ReadString('\n')
	if err != nil {
		return
	}
	u := field(line, "u")
	switch {
	case strings.HasPrefix(line, "OPEN "):
		fmt.Fprintf(c, "OPENED u=%s\n:irc NOTICE * :hello\r\n", u)
	case strings.HasPrefix(line, "ATTACH "):
		d.mu.Lock()
		fault := 9
		if d.faulty {
			fault = d.rnd.IntN(10)
		}
		if fault > 2 {
			d.attached[u] = c
		}
		d.mu.Unlock()
		switch fault {
		case 0:
			return
		case 1:
			fmt.Fprintf(c, "ERROR code=unknown-tx text=no\n")
		case 2: // says nothing
		default:
			fmt.Fprintf(c, "ATTACHED u=%s\n", u)
		}
	}
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		if nick, ok := strings.CutPrefix(line, "NICK "); ok {
			fmt.Fprintf(c, ":irc 001 %s :hi\r\n", strings.TrimSpace(nick))
		}
	}
}

func (d *autoIRCd) live(us []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, u := range us {
		if c := d.attached[u]; c != nil && d.rnd.IntN(8) > 0 {
			fmt.Fprintf(c, "LIVE u=%s\n:b PRIVMSG x :behind it\r\n", u)
		}
	}
	clear(d.attached)
}

// visitor is a client who does something at random and leaves at a random time, in order or not.
func visitor(r *rig, rnd *rand.Rand, stay <-chan struct{}) {
	c, err := net.Dial("tcp", r.addr())
	if err != nil {
		return
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(2 * patience))
	if rnd.IntN(4) > 0 {
		go io.Copy(io.Discard, c)
	}
	if rnd.IntN(6) > 0 {
		fmt.Fprintf(c, "NICK n%d\r\n", rnd.IntN(1000))
	}
	for range rnd.IntN(30) {
		if rnd.IntN(4) == 0 {
			<-stay
		}
		fmt.Fprintf(c, "PRIVMSG #a :%s%s", strings.Repeat(".", rnd.IntN(300)), []string{"\r\n", "\n", ""}[rnd.IntN(3)])
	}
	switch rnd.IntN(3) {
	case 0:
		c.(*net.TCPConn).SetLinger(0)
	case 1:
		c.(*net.TCPConn).CloseWrite()
		<-stay
	}
}

func descriptorsInUse(t *testing.T) int {
	es, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skipf("no /proc: %v", err)
	}
	return len(es)
}

// mustBeEmpty waits until nobody is left and says what stayed in use.
func (r *rig) mustBeEmpty() {
	r.t.Helper()
	r.eventually("end of all sessions", func() bool { return r.Counts().Sessions == 0 })
	r.eventually("empty arena", func() bool { st := r.Arena(); return st.Slots == 0 && st.Chunks == 0 })
	for name, n := range r.Counts().Backends {
		if n != 0 {
			r.t.Errorf("%d sessions are counted at %s", n, name)
		}
	}
	for name, n := range r.listeners.Connections() {
		if n != 0 {
			r.t.Errorf("the limits of %s count %d", name, n)
		}
	}
	err := r.onAll(ctxOf(r.t), func(w *worker) {
		for _, p := range w.peers {
			if p.live.Load() != 0 || p.unregistered.Load() != 0 || p.typing.Load() != 0 {
				r.t.Errorf("loop %d counts %d sessions at %s, %d of them not registered", w.index, p.live.Load(), p.name, p.unregistered.Load())
			}
		}
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// Clients come and go while steps of moves are taken in every order that a coordinator could take them in, against ircds that refuse and
// forget: every step answers for every session, and nothing stays in use.
func TestClientsComeAndGoDuringMoves(t *testing.T) {
	plaintextOnly(t)
	a, b := newAutoIRCd(t, "a"), newAutoIRCd(t, "b")
	r := newRig(t, rigOptions{backends: []config.Backend{a.config(), b.config()}})
	for _, n := range []string{"main/a", "main/b"} {
		r.eventually("up "+n, func() bool { x, ok := r.set.Backend(n); return ok && x.Oper() == backend.Up })
	}
	before := descriptorsInUse(t)
	b.faulty = true
	rnd := rand.New(rand.NewPCG(5, 5))
	var visitors sync.WaitGroup
	for round := range 40 {
		stay := make(chan struct{})
		for i := range 12 {
			seed := rand.New(rand.NewPCG(uint64(round), uint64(i)))
			visitors.Go(func() { visitor(r, seed, stay) })
		}
		if round%4 != 0 {
			r.eventually("a session", func() bool { return r.Counts().Sessions > 0 })
		}
		chaoticMove(t, r, b, rnd, round)
		close(stay)
	}
	visitors.Wait()
	r.mustBeEmpty()
	r.eventually("all descriptors back", func() bool { return descriptorsInUse(t) <= before+8 }) // checks come and go
}

// chaoticMove takes the steps of a move from a to b, leaving some out.
func chaoticMove(t *testing.T, r *rig, b *autoIRCd, rnd *rand.Rand, round int) {
	short := func() context.Context { return ctxWithin(t, time.Duration(rnd.IntN(30))*time.Millisecond) }
	all := func(step string, us []string, ms []backend.Moved) {
		t.Helper()
		seen := map[string]bool{}
		for _, m := range ms {
			seen[m.U] = true
		}
		if len(ms) != len(us) || len(seen) != len(us) {
			t.Errorf("round %d: %s answers %d times for %d of %d sessions", round, step, len(ms), len(seen), len(us))
		}
	}
	if rnd.IntN(2) == 0 {
		r.Gate("main")
	}
	defer r.Ungate("main")
	refs, err := r.On(ctxOf(t), "main/a")
	if err != nil {
		t.Fatal(err)
	}
	var us []string
	for _, ref := range refs {
		us = append(us, ref.U)
	}
	r.AwaitRegistered(short(), "main/a")
	to := r.to(b.native)
	to.Tx = fmt.Sprint("tx", round)
	if rnd.IntN(5) > 0 {
		all("attach", us, r.Attach(short(), us, to))
	}
	frozen, err := r.Freeze(ctxOf(t), "main/a")
	if err != nil {
		t.Fatal(err)
	}
	us = us[:0]
	var cuts []backend.Cut
	for _, f := range frozen {
		us = append(us, f.U)
		cuts = append(cuts, backend.Cut{U: f.U, Out: f.Out + uint64(rnd.IntN(2)*rnd.IntN(100))})
	}
	if rnd.IntN(5) > 0 {
		all("read up", us, r.ReadUp(short(), cuts))
	}
	if rnd.IntN(3) == 0 {
		all("attach", us, r.Attach(short(), us, to))
	}
	parked := rnd.IntN(3) == 0
	if parked {
		r.Park(us, "irc.a")
	}
	switch n := rnd.IntN(5); {
	case n == 0 && !parked:
		all("thaw", us, r.Thaw(us))
		r.Detach(us)
	case n == 1:
		all("reopen", us, r.Reopen(short(), us, "main/b"))
	case n == 2:
		r.End(us, backend.CauseBackendGone, "Nobody took you")
	default:
		var splices []backend.Splice
		for _, u := range us {
			splices = append(splices, backend.Splice{U: u, RQ: []byte("PING 1\r\nPI"), SQ: bytes.Repeat([]byte("x"), rnd.IntN(3000))})
		}
		b.live(us)
		all("splice", us, r.Splice(short(), "main/b", splices))
	}
	r.Detach(us)
	if rnd.IntN(2) == 0 { // those who are at b go away
		refs, err := r.On(ctxOf(t), "main/b")
		if err != nil {
			t.Fatal(err)
		}
		us = us[:0]
		for _, ref := range refs {
			us = append(us, ref.U)
		}
		r.End(us, backend.CauseBackendGone, "The end")
	}
}

// What strangers send makes no difference to anybody else, and leaves nothing behind.
func TestStrangers(t *testing.T) {
	d := newIRCd(t)
	go d.each(func(c net.Conn) {
		defer c.Close()
		io.Copy(io.Discard, c)
	})
	r := newRig(t, rigOptions{backends: []config.Backend{{Name: "a", Address: d.addr(), Identity: config.IdentityNone}}})
	r.eventually("backend that is up", func() bool { b, ok := r.set.Backend("main/a"); return ok && b.Oper() == backend.Up })
	before := descriptorsInUse(t)
	says := []func(rnd *rand.Rand) []byte{
		func(rnd *rand.Rand) []byte { // anything
			p := make([]byte, rnd.IntN(5000))
			for i := range p {
				p[i] = byte(rnd.Uint32())
			}
			return p
		},
		func(rnd *rand.Rand) []byte { return bytes.Repeat([]byte("x"), 1<<20) },
		func(rnd *rand.Rand) []byte {
			return []byte("OPEN k=" + skey + " u=x\nATTACH k= tx= u= tok=\nHELLO v=1\n")
		},
		func(rnd *rand.Rand) []byte { return []byte("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nNICK a\r\n") },
		func(rnd *rand.Rand) []byte { return []byte(headerV2) },
		func(rnd *rand.Rand) []byte { return bytes.Repeat([]byte("\r\n"), rnd.IntN(20000)) },
		func(rnd *rand.Rand) []byte { return []byte("NICK") },
		func(rnd *rand.Rand) []byte { return bytes.Repeat([]byte("STARTTLS\r\n"), rnd.IntN(2000)) },
		func(rnd *rand.Rand) []byte { return []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03") },
		func(rnd *rand.Rand) []byte { return nil },
	}
	var strangers sync.WaitGroup
	for i := range 300 {
		strangers.Go(func() {
			rnd := rand.New(rand.NewPCG(9, uint64(i)))
			c, err := net.Dial("tcp", r.addr())
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(patience))
			for p := says[i%len(says)](rnd); len(p) > 0; {
				n := 1 + rnd.IntN(len(p))
				if _, err := c.Write(p[:n]); err != nil {
					break
				}
				p = p[n:]
			}
			switch i / len(says) % 3 {
			case 0:
				c.(*net.TCPConn).SetLinger(0)
			case 1:
				c.(*net.TCPConn).CloseWrite()
				io.Copy(io.Discard, c)
			}
		})
	}
	strangers.Wait()
	r.mustBeEmpty()
	r.eventually("all descriptors back", func() bool { return descriptorsInUse(t) <= before+8 })
}
