package handshake

import (
	"encoding/binary"
	"net"
	"sync"
	"time"
)

const (
	headerLen = 5

	// longestRecord is the most that crypto/tls takes in one record (TLS 1.2; less in 1.3), without the header.
	longestRecord = 16384 + 2048

	typeCCS, typeAlert, typeHandshake, typeData = 20, 21, 22, 23
)

// gate is the net.Conn that crypto/tls shakes hands over. Bytes come in by feed and go out by the Write of Options.
type gate struct {
	slots         *Slots
	write         func([]byte)
	local, remote net.Addr

	mu      sync.Mutex
	more    sync.Cond // what Read waits for is there
	waiting bool      // Read waits
	in      []byte    // fed and not read: in[read:]
	read    int
	record  int   // bytes of the present record that are to be read
	any     bool  // a record was read
	ended   error // what End gave
	starved error // the same, once Read has answered it
	seen    capture
}

func (g *gate) open(o Options, client bool) {
	g.slots, g.write, g.local, g.remote = o.Slots, o.Write, o.Local, o.Remote
	g.more.L = &g.mu
	g.seen.client = client
}

// feed takes bytes in and reports whether there is something to be read. Any goroutine.
func (g *gate) feed(p []byte) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.read == len(g.in) {
		g.in, g.read = g.in[:0], 0
	}
	g.in = append(g.in, p...)
	return g.wake()
}

// end makes Read fail, behind what is there whole. Any goroutine.
func (g *gate) end(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended == nil {
		g.ended = err
	}
	g.wake()
}

func (g *gate) wake() bool {
	ready := g.ready() > 0 || g.ended != nil
	if ready && g.waiting {
		g.waiting = false
		g.more.Signal()
	}
	return ready
}

// ready is how many bytes may be read: the rest of the present record, or the next one if it is there whole, or as much as there is of what is
// no record of TLS, so that crypto/tls can say so without waiting for more. g.mu is held.
func (g *gate) ready() int {
	p := g.in[g.read:]
	if g.record > 0 {
		return min(g.record, len(p))
	}
	if len(p) < headerLen {
		return 0
	}
	n := headerLen + int(binary.BigEndian.Uint16(p[3:]))
	if len(p) >= n {
		return n
	}
	if n > headerLen+longestRecord || !g.any && !looksLikeTLS(p) {
		return headerLen
	}
	return 0
}

func looksLikeTLS(p []byte) bool { return p[0] >= typeCCS && p[0] <= typeData && p[1] < 0x10 }

// Read is crypto/tls's. It gives its slot back while it waits.
func (g *gate) Read(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := g.ready()
	for n == 0 {
		if g.ended != nil {
			g.starved = g.ended
			return 0, g.ended
		}
		g.wait()
		n = g.ready()
	}
	at := g.in[g.read:]
	if g.record == 0 {
		g.record = headerLen + int(binary.BigEndian.Uint16(at[3:]))
		g.any = true
		if n == g.record {
			g.seen.in(at[:n])
		}
	}
	n = copy(p, at[:n])
	g.read += n
	g.record -= n
	return n, nil
}

// keptIn is what a buffer may have that is kept while the peer is waited for. A hello fits.
const keptIn = 4 << 10

func (g *gate) wait() {
	if cap(g.in) > keptIn && g.read > 0 { // one who sends much and stops halfway would else hold all of it twice
		g.in, g.read = append([]byte(nil), g.in[g.read:]...), 0
	}
	g.slots.give()
	g.waiting = true
	for g.waiting {
		g.more.Wait()
	}
	g.mu.Unlock()
	g.slots.take(true)
	g.mu.Lock()
}

// Write is crypto/tls's: whole records.
func (g *gate) Write(p []byte) (int, error) {
	b := append([]byte(nil), p...)
	g.seen.out(b)
	g.write(b)
	return len(p), nil
}

// rest is what was fed and not read.
func (g *gate) rest() []byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.in[g.read:]
}

// atBoundary reports whether what was read ends with a record.
func (g *gate) atBoundary() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.record == 0
}

// Close, and the deadlines, are the loop's business.
func (g *gate) Close() error                     { return nil }
func (g *gate) SetDeadline(time.Time) error      { return nil }
func (g *gate) SetReadDeadline(time.Time) error  { return nil }
func (g *gate) SetWriteDeadline(time.Time) error { return nil }
func (g *gate) LocalAddr() net.Addr              { return known(g.local) }
func (g *gate) RemoteAddr() net.Addr             { return known(g.remote) }

// known keeps a nil address from those who ask it for its name.
func known(a net.Addr) net.Addr {
	if a == nil {
		return unknownAddr{}
	}
	return a
}

type unknownAddr struct{}

func (unknownAddr) Network() string { return "tcp" }
func (unknownAddr) String() string  { return "unknown" }
