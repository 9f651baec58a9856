package wire_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	mrand "math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ircferry/ircferry/proxy/wire"
)

// Sessions go round a ring of processes while they echo: their state as bytes and their descriptor by SCM_RIGHTS, at each of
// the awkward moments. The peers do not notice.
func TestHandOver(t *testing.T) {
	r := newRing(t)
	t.Run("peers", func(t *testing.T) {
		for i, suite := range handOverSuites {
			t.Run(tls.CipherSuiteName(suite), func(t *testing.T) {
				t.Parallel()
				g := &goPeer{ring: r, suite: suite, cache: tls.NewLRUClientSessionCache(1)}
				g.visit(t, i%2 == 0, false)
				g.visit(t, i%2 == 1, true)
				g.serve(t, i%2 == 0)
			})
		}
		for _, version := range []string{"1.3", "1.2"} {
			t.Run("openssl "+version, func(t *testing.T) {
				t.Parallel()
				byOpenSSL(t, r, version)
			})
			t.Run("gnutls "+version, func(t *testing.T) {
				t.Parallel()
				byGnuTLS(t, r, version)
			})
		}
	})
}

var handOverSuites = []uint16{
	tls.TLS_AES_128_GCM_SHA256, tls.TLS_AES_256_GCM_SHA384, tls.TLS_CHACHA20_POLY1305_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

const handOvers = 8

// newCourse is that of a session which is handed over once after each so many bytes or so.
func newCourse(id string, tls13, whole bool, every int) course {
	h := fnv.New64a()
	io.WriteString(h, id)
	c := course{ID: id, Seed: h.Sum64(), Whole: whole, Every: every, Asks: true,
		Moments: []moment{midRecord, unsent, anywhere, midRecord, unsent, midRecord, unsent, anywhere}}
	if tls13 {
		c.Moments = []moment{midRecord, unsent, ours, theirs, midRecord, unsent, ours, theirs}
	}
	rnd := mrand.New(mrand.NewPCG(c.Seed, 1))
	rnd.Shuffle(len(c.Moments), func(i, k int) { c.Moments[i], c.Moments[k] = c.Moments[k], c.Moments[i] })
	return c
}

// lines are n bytes of lines of any length, the same for the same seed. None of the letters is a command of s_client, which takes them for one
// where it happens to begin reading.
func lines(seed uint64, n int) []byte {
	rnd := mrand.New(mrand.NewPCG(seed, 2))
	b := make([]byte, 0, n)
	for len(b) < n-1000 {
		b = fmt.Appendf(b, "%d ", len(b))
		for range rnd.IntN(400) {
			b = append(b, "abcdef 0123456789"[rnd.IntN(17)])
		}
		b = append(b, "\r\n"...)
	}
	b = append(b, bytes.Repeat([]byte{'.'}, n-1-len(b))...)
	return append(b, '\n')
}

// check looks at what a session has been through.
func check(t *testing.T, c *course, resumed bool) {
	t.Helper()
	if c.Resumed != resumed {
		t.Errorf("resumed: %v, want %v", c.Resumed, resumed)
	}
	if len(c.Seen) != handOvers || len(c.Moments) > 0 {
		t.Errorf("%d hand-overs, and to come %q", len(c.Seen), c.Moments)
	}
	var before sight
	var half int
	for i, s := range c.Seen {
		if s.PID == before.PID {
			t.Errorf("hand-over %d: to the same process", i)
		}
		switch {
		case s.Moment == midRecord && s.Partial == 0, s.Moment == unsent && s.Unsent == 0,
			s.Moment == ours && s.OutEpoch == before.OutEpoch, s.Moment == theirs && s.InEpoch == before.InEpoch:
			t.Errorf("hand-over %d, %s: %+v", i, s.Moment, s)
		}
		half += s.Half
		before = s
	}
	if c.Whole && half == 0 {
		t.Error("half a line was never handed over")
	}
	t.Logf("%s: %+v", c.Cipher, c.Seen)
}

// goPeer is crypto/tls at the other end.
type goPeer struct {
	ring  *ring
	suite uint16
	cache tls.ClientSessionCache
}

const size = 3 << 19

func (g *goPeer) tls13() bool { return slices.Contains(handOverSuites[:3], g.suite) }

func (g *goPeer) config() *tls.Config {
	c := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: serverName, ClientSessionCache: g.cache}
	for _, p := range g.ring.certs {
		c.RootCAs.AddCert(p.Leaf())
		c.Certificates = append(c.Certificates, p.Cert)
	}
	if !g.tls13() {
		c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{g.suite}
	}
	return c
}

// visit is a client of the ring.
func (g *goPeer) visit(t *testing.T, whole, resumes bool) {
	t.Helper()
	c := newCourse(fmt.Sprintf("%s, resumed %v", tls.CipherSuiteName(g.suite), resumes), g.tls13(), whole, size/36)
	reports := g.ring.session(t, c)
	conn, err := net.Dial("tcp", await(t, reports).Addr)
	if err != nil {
		t.Fatal(err)
	}
	g.talk(t, conn, reports, func(conn net.Conn) *tls.Conn {
		cfg := g.config()
		cfg.Certificates = nil
		return tls.Client(conn, cfg)
	}, c.Seed, resumes)
}

// serve is a server to which the ring is a client.
func (g *goPeer) serve(t *testing.T, whole bool) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c := newCourse(tls.CipherSuiteName(g.suite)+", as a client", g.tls13(), whole, size/36)
	c.Dial = ln.Addr().String()
	reports := g.ring.session(t, c)
	ln.(*net.TCPListener).SetDeadline(time.Now().Add(patience))
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	g.talk(t, conn, reports, func(conn net.Conn) *tls.Conn { return tls.Server(conn, g.config()) }, c.Seed, false)
}

// talk sends and compares what comes back.
func (g *goPeer) talk(t *testing.T, raw net.Conn, reports <-chan report, start func(net.Conn) *tls.Conn, seed uint64, resumes bool) {
	t.Helper()
	defer raw.Close()
	raw.SetDeadline(time.Now().Add(patience))
	var conn *tls.Conn
	var err error
	wire.With13(g.suite, func() {
		conn = start(raw)
		err = conn.Handshake()
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := conn.ConnectionState().CipherSuite; got != g.suite {
		t.Fatalf("suite %s", tls.CipherSuiteName(got))
	}
	text := lines(seed, size)
	wrote := make(chan error, 1)
	w := newWindow(160 << 10)
	defer w.close()
	go func() {
		rnd := mrand.New(mrand.NewPCG(7, 7))
		for p := text; len(p) > 0; {
			n := min(len(p), 1+rnd.IntN(40_000))
			w.take(n)
			if _, err := conn.Write(p[:n]); err != nil {
				wrote <- err
				return
			}
			p = p[n:]
		}
		wrote <- nil
	}()
	same(t, io.TeeReader(conn, w), text, reports)
	if err := <-wrote; err != nil {
		t.Fatal("write:", err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal("close:", err)
	}
	if n, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) { // not io.ErrUnexpectedEOF
		t.Errorf("behind the end: %d bytes, %v", n, err)
	}
	check(t, await(t, reports).Over, resumes)
}

// window keeps a writer from being too far ahead of what comes back: a key update that is asked for waits for the writer.
type window struct {
	mu   sync.Mutex
	more sync.Cond
	left int
}

func newWindow(n int) *window {
	w := &window{left: n}
	w.more.L = &w.mu
	return w
}

func (w *window) take(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.left < n {
		w.more.Wait()
	}
	w.left -= n
}

// Write takes what has come back.
func (w *window) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.left += len(p)
	w.more.Broadcast()
	return len(p), nil
}

func (w *window) close() { w.Write(make([]byte, size)) }

// same reads text, and nothing else.
func same(t *testing.T, r io.Reader, text []byte, reports <-chan report) {
	t.Helper()
	buf := make([]byte, 32<<10)
	for at := 0; at < len(text); {
		n, err := r.Read(buf[:min(len(buf), len(text)-at)])
		if !bytes.Equal(buf[:n], text[at:at+n]) {
			t.Fatalf("what comes back is not what was sent, from byte %d on", at)
		}
		if at += n; err != nil && at < len(text) {
			select {
			case r := <-reports:
				t.Fatalf("after %d of %d bytes: %v; %s", at, len(text), err, r.Error)
			case <-time.After(time.Second):
				t.Fatalf("after %d of %d bytes: %v", at, len(text), err)
			}
		}
	}
}
