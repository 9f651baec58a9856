package proxy

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/internal/config"
	"github.com/ircferry/ircferry/proxy/wire"
)

// text is numbered lines of 1 byte to 8 KiB, most of them short, some ended by a bare LF; over and over again.
func text(seed byte) []byte {
	r := rand.New(rand.NewPCG(uint64(seed), 0))
	var b []byte
	for n := 0; len(b) < 2<<20; n++ {
		size := r.IntN(80)
		if r.IntN(50) == 0 {
			size = r.IntN(8 << 10)
		}
		b = fmt.Appendf(b, "%c%d ", seed, n)
		b = append(b, bytes.Repeat([]byte{'.'}, size)...)
		if r.IntN(4) > 0 {
			b = append(b, '\r')
		}
		b = append(b, '\n')
	}
	return b
}

// spring gives a text out in pieces of any size.
type spring struct {
	text  []byte
	total int
}

func (s *spring) take(n int) []byte {
	at := s.total % len(s.text)
	s.total += n
	p := s.text[at:min(at+n, len(s.text))]
	if len(p) < n {
		p = append(bytes.Clone(p), s.text[:n-len(p)]...)
	}
	return p
}

// toEOL is how much is left of the present line.
func (s *spring) toEOL() int {
	at := s.total % len(s.text)
	if at == 0 || s.text[at-1] == '\n' {
		return 0
	}
	return bytes.IndexByte(s.text[at:], '\n') + 1
}

// drain checks a text that comes in pieces of any size.
type drain struct{ spring }

func (d *drain) put(p []byte) error {
	total := d.total
	if want := d.take(len(p)); !bytes.Equal(p, want) {
		return fmt.Errorf("behind %d bytes: got %.200q, want %.200q", total, p, want)
	}
	return nil
}

// tide lets everybody say so much, in each direction, and no more until it rises.
type tide struct {
	mu    sync.Mutex
	moved *sync.Cond
	high  int
	over  bool
}

func (d *tide) change(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
	d.moved.Broadcast()
}

// below waits until total is below the tide, or stop says that it does not matter any more.
func (d *tide) below(total int, stop func() bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for total >= d.high && !d.over && !stop() {
		d.moved.Wait()
	}
}

// mover is a user who talks all the time in pieces that do not care for lines, and the ircds' side of that user.
type mover struct {
	t      *testing.T
	u      string
	client *conn
	heard  drain  // by the client
	words  spring // of the client
	tide   *tide

	mu      sync.Mutex // for everything below: the ircds' side
	rnd     *rand.Rand
	server  *conn
	in, out uint64
	unrun   []byte // read and not run
	run     drain  // what was run of the client's lines
	say     spring // what is said to the client
	frozen  atomic.Bool
	ended   bool       // the proxy has ended the stream in use
	came    *sync.Cond // something was read
	talking sync.WaitGroup
}

func newMover(t *testing.T, r *rig, n *native, i int, tide *tide, c, s []byte) *mover {
	x := r.user(n, fmt.Sprint("n", i))
	m := &mover{t: t, u: x.u, client: x.client, server: x.server, in: x.in, out: x.out, rnd: rand.New(rand.NewPCG(3, uint64(i)))}
	m.tide, m.words, m.run, m.say, m.heard = tide, spring{text: c}, drain{spring{text: c}}, spring{text: s}, drain{spring{text: s}}
	m.came = sync.NewCond(&m.mu)
	return m
}

// speak sends lines until the end, and then the rest of the last one.
func (m *mover) speak(seed int) {
	rnd := rand.New(rand.NewPCG(uint64(seed), 1))
	for more := true; more; {
		m.tide.below(m.words.total, func() bool { return false })
		n := 1 + rnd.IntN(1+rnd.IntN(3000))
		if m.tide.ended() {
			n, more = m.words.toEOL(), false
		}
		m.client.SetWriteDeadline(time.Now().Add(patience))
		if _, err := m.client.Write(m.words.take(n)); err != nil {
			m.t.Errorf("client %s: write: %v", m.u, err)
			return
		}
	}
	m.client.CloseWrite()
}

// listen reads all that comes to the client.
func (m *mover) listen(seed int) {
	rnd := rand.New(rand.NewPCG(uint64(seed), 2))
	buf := make([]byte, 32<<10)
	for {
		m.client.SetReadDeadline(time.Now().Add(2 * patience))
		n, err := m.client.r.Read(buf[:1+rnd.IntN(len(buf))])
		if e := m.heard.put(buf[:n]); e != nil {
			m.t.Errorf("client %s: %v", m.u, e)
			m.client.Close()
			return
		}
		if err == io.EOF {
			return
		}
		if err != nil {
			m.t.Errorf("client %s: read behind %d bytes: %v", m.u, m.heard.total, err)
			return
		}
	}
}

// serve is an ircd's side of one stream: it reads, runs whole lines some time later, and talks until the freeze.
func (m *mover) serve(c *conn, done *sync.WaitGroup) {
	done.Go(func() { m.read(c) })
	m.talk(c, done)
}

func (m *mover) talk(c *conn, done *sync.WaitGroup) {
	m.talking.Add(1)
	done.Go(func() {
		defer m.talking.Done()
		for {
			m.mu.Lock()
			total := m.say.total
			m.mu.Unlock()
			m.tide.below(total, m.frozen.Load)
			m.mu.Lock()
			if m.frozen.Load() || m.tide.ended() {
				m.mu.Unlock()
				return
			}
			p := m.say.take(1 + m.rnd.IntN(1+m.rnd.IntN(4000)))
			m.mu.Unlock()
			c.SetWriteDeadline(time.Now().Add(patience))
			n, err := c.Write(p)
			m.mu.Lock()
			m.out += uint64(n)
			m.mu.Unlock()
			if err != nil {
				m.t.Errorf("ircd, %s: write: %v", m.u, err)
				return
			}
		}
	})
}

func (m *mover) read(c *conn) {
	buf := make([]byte, 16<<10)
	for {
		c.SetReadDeadline(time.Now().Add(3 * patience))
		n, err := c.r.Read(buf)
		m.mu.Lock()
		if m.server != c {
			if n > 0 {
				m.t.Errorf("ircd, %s: %d bytes on a stream that was left", m.u, n)
			}
			m.mu.Unlock()
			return
		}
		m.in += uint64(n)
		m.unrun = append(m.unrun, buf[:n]...)
		if !m.frozen.Load() {
			m.runSome(m.rnd.IntN(len(m.unrun) + 1))
		}
		m.ended = err != nil
		m.came.Broadcast()
		m.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// runSome runs the whole lines within the first n bytes of what was read. It is called with mu held.
func (m *mover) runSome(n int) {
	cut := wire.Cut(m.unrun[:n])
	if err := m.run.put(m.unrun[:cut]); err != nil {
		m.t.Errorf("ircd, %s: %v", m.u, err)
	}
	m.unrun = m.unrun[cut:]
}

// stop is the ircd's part of EXPORT: it reads until in bytes have come, and answers its count.
func (m *mover) stop(in uint64) (out uint64) {
	m.tide.change(func() { m.frozen.Store(true) })
	m.talking.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	for m.in < in {
		m.came.Wait()
	}
	if m.in > in {
		m.t.Errorf("ircd, %s: %d bytes came, the proxy says %d", m.u, m.in, in)
	}
	return m.out
}

// give gives the user away; what was not run or not written goes along.
func (m *mover) give(to *conn) backend.Splice {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.server
	s := backend.Splice{U: m.u, RQ: m.unrun, SQ: m.say.take(m.rnd.IntN(20_000))}
	m.unrun, m.in, m.out, m.server = nil, 0, 0, to
	m.frozen.Store(false)
	old.CloseWrite()
	return s
}

// finish is the end: the client has said all, and the ircd closes when it has run it.
func (m *mover) finish() {
	m.tide.change(func() { m.frozen.Store(true) })
	m.talking.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	for !m.ended {
		m.came.Wait()
	}
	m.runSome(len(m.unrun))
	m.server.CloseWrite()
}

func (d *tide) ended() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.over
}

// Users talk without a pause in both directions, in pieces that end anywhere, while they move to and fro, and some moves are taken
// back: every byte arrives, once, in order.
func TestMovesUnderTrafficKeepEveryByte(t *testing.T) {
	const users, rounds, flood = 10, 30, 100_000
	r, a, b := moves(t, config.Listener{})
	var clients, servers sync.WaitGroup
	sea := &tide{}
	sea.moved = sync.NewCond(&sea.mu)
	c, s := text('C'), text('S')
	byU := map[string]*mover{}
	var us []string
	for i := range users {
		m := newMover(t, r, a, i, sea, c, s)
		byU[m.u] = m
		us = append(us, m.u)
		m.serve(m.server, &servers)
		clients.Go(func() { m.speak(i) })
		clients.Go(func() { m.listen(i) })
	}
	at, other := a, b
	rnd := rand.New(rand.NewPCG(4, 4))
	for round := range rounds {
		streams := make(chan map[string]*conn, 1)
		go func() {
			got := map[string]*conn{}
			for range users {
				c, u := other.attached()
				got[u] = c
			}
			streams <- got
		}()
		to := r.to(other)
		to.Tx = fmt.Sprint("tx", round)
		for _, m := range r.Attach(ctxOf(t), us, to) {
			if m.Cause != "" {
				t.Fatalf("round %d: attach: %+v", round, m)
			}
		}
		fresh := <-streams
		sea.change(func() { sea.high += flood })
		for _, m := range byU { // in the middle of the flood
			m.mu.Lock()
			for m.run.total+len(m.unrun) < sea.high-3*flood/4 { // came, whether run or not: the ircd runs as little as it likes
				m.came.Wait()
			}
			m.mu.Unlock()
		}
		frozen, err := r.Freeze(ctxOf(t), "main/"+at.name)
		if err != nil || len(frozen) != users {
			t.Fatalf("round %d: %d frozen: %v", round, len(frozen), err)
		}
		var cuts []backend.Cut
		for _, f := range frozen {
			cuts = append(cuts, backend.Cut{U: f.U, Out: byU[f.U].stop(f.In)})
		}
		for _, m := range r.ReadUp(ctxOf(t), cuts) {
			if m.Cause != "" {
				t.Fatalf("round %d: read up: %+v", round, m)
			}
		}
		if rnd.IntN(3) == 0 {
			for _, m := range byU {
				m.frozen.Store(false)
				m.talk(m.server, &servers)
			}
			for _, m := range r.Thaw(us) {
				if m.Cause != "" {
					t.Fatalf("round %d: thaw: %+v", round, m)
				}
			}
			continue
		}
		var splices []backend.Splice
		for u, m := range byU {
			splices = append(splices, m.give(fresh[u]))
			fresh[u].send("LIVE u=" + u + "\n")
			m.serve(fresh[u], &servers)
		}
		for _, m := range r.Splice(ctxOf(t), "main/"+other.name, splices) {
			if m.Cause != "" {
				t.Fatalf("round %d: splice: %+v", round, m)
			}
		}
		at, other = other, at
	}
	sea.change(func() { sea.over = true })
	for _, m := range byU {
		m.finish()
	}
	clients.Wait()
	servers.Wait()
	moved := 0
	for _, m := range byU {
		moved += m.heard.total + m.run.total
		if m.run.total != m.words.total || m.heard.total != m.say.total {
			t.Errorf("user %s: said %d, run %d; told %d, heard %d", m.u, m.words.total, m.run.total, m.say.total, m.heard.total)
		}
	}
	t.Logf("%d bytes were carried", moved)
	r.eventually("arena without chunks and slots", func() bool {
		st := r.Arena()
		return st.Slots == 0 && st.Chunks == 0
	})
}
