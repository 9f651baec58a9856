package wire

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"hash"
	"math/big"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// tlsCase is one of the ways in which a connection can have been set up.
type tlsCase struct {
	name    string
	version uint16
	suite   uint16
	client  bool // we are the client, crypto/tls is the server
	tickets bool
}

func (c tlsCase) tls13() bool { return c.version == tls.VersionTLS13 }

// tlsCases are all suites in both roles.
func tlsCases() []tlsCase {
	var cs []tlsCase
	for _, id := range []uint16{
		tls.TLS_AES_128_GCM_SHA256, tls.TLS_AES_256_GCM_SHA384, tls.TLS_CHACHA20_POLY1305_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
		tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	} {
		for _, client := range []bool{false, true} {
			c := tlsCase{version: suiteOf(id).version, suite: id, client: client}
			role := "server"
			if client {
				role = "client"
			}
			c.name = tls.CipherSuiteName(id) + "/" + role
			cs = append(cs, c)
		}
	}
	return cs
}

// peer is a crypto/tls connection at the other end of one of ours. After the handshake nothing in it blocks: what it writes is
// in sent, what it reads comes from got, and a read without bytes is a timeout.
type peer struct {
	*tls.Conn
	pipe *halfPipe // its own side
}

// sent takes what the peer has written.
func (p *peer) sent() []byte { return p.pipe.out.take() }

// feed lets the peer read b.
func (p *peer) feed(b []byte) { p.pipe.in.put(b) }

// read reads n bytes of application data.
func (p *peer) read(t testing.TB, n int) []byte {
	t.Helper()
	got := make([]byte, n)
	for at := 0; at < n; {
		k, err := p.Read(got[at:])
		at += k
		if err != nil {
			t.Fatalf("peer reads %d of %d bytes: %v", at, n, err)
		}
	}
	return got
}

// pump is bytes in one direction.
type pump struct {
	mu      sync.Mutex
	more    sync.Cond
	b       bytes.Buffer
	all     []byte // what was ever put
	waiting bool   // a read waits for bytes
}

func newPump() *pump {
	p := &pump{waiting: true}
	p.more.L = &p.mu
	return p
}

func (p *pump) put(b []byte) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.b.Write(b)
	p.all = append(p.all, b...)
	p.more.Broadcast()
}

func (p *pump) take() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := bytes.Clone(p.b.Bytes())
	p.b.Reset()
	return b
}

func (p *pump) unblock() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = false
	p.more.Broadcast()
}

func (p *pump) read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.waiting && p.b.Len() == 0 {
		p.more.Wait()
	}
	if p.b.Len() == 0 {
		return 0, os.ErrDeadlineExceeded
	}
	return p.b.Read(b)
}

type halfPipe struct{ in, out *pump }

func (h *halfPipe) Read(b []byte) (int, error)       { return h.in.read(b) }
func (h *halfPipe) Write(b []byte) (int, error)      { h.out.put(b); return len(b), nil } // a nil pump swallows it
func (h *halfPipe) Close() error                     { return nil }
func (h *halfPipe) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (h *halfPipe) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (h *halfPipe) SetDeadline(time.Time) error      { return nil }
func (h *halfPipe) SetReadDeadline(time.Time) error  { return nil }
func (h *halfPipe) SetWriteDeadline(time.Time) error { return nil }

// shake runs a handshake between two crypto/tls connections and answers one of them and what NewTLS needs to be the other.
func (c tlsCase) shake(t testing.TB) (*peer, *TLSParams) {
	t.Helper()
	up, down := newPump(), newPump()
	server, client := &halfPipe{up, down}, &halfPipe{down, up}
	theirs, params := c.shakeOver(t, server, client)
	up.unblock()
	down.unblock()
	if c.client {
		return &peer{theirs, server}, params
	}
	return &peer{theirs, client}, params
}

// recorder keeps what is written.
type recorder struct {
	net.Conn
	all []byte
}

func (r *recorder) Write(p []byte) (int, error) {
	r.all = append(r.all, p...)
	return r.Conn.Write(p)
}

// shakeOver is shake over any connection. Nothing of what comes behind the handshake is read.
func (c tlsCase) shakeOver(t testing.TB, server, client net.Conn) (*tls.Conn, *TLSParams) {
	t.Helper()
	var keys bytes.Buffer
	sc := &tls.Config{
		Certificates: []tls.Certificate{testCert(t)}, MinVersion: c.version, MaxVersion: c.version,
		SessionTicketsDisabled: !c.tickets, KeyLogWriter: &keys,
	}
	cc := &tls.Config{InsecureSkipVerify: true, MinVersion: c.version, MaxVersion: c.version, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	if strings.Contains(tls.CipherSuiteName(c.suite), "RSA") {
		sc.Certificates = []tls.Certificate{testRSACert(t)}
	}
	if !c.tls13() {
		sc.CipherSuites, cc.CipherSuites = []uint16{c.suite}, []uint16{c.suite}
	}
	fromServer := &recorder{Conn: server}
	s, k := tls.Server(fromServer, sc), tls.Client(client, cc)
	with13(c.suite, func() {
		failed := make(chan error, 2)
		go func() { failed <- s.Handshake() }()
		go func() { failed <- k.Handshake() }()
		for range 2 {
			if err := <-failed; err != nil {
				t.Fatal(err)
			}
		}
	})
	ours, theirs := s, k
	if c.client {
		ours, theirs = k, s
	}
	if got := ours.ConnectionState().CipherSuite; got != c.suite {
		t.Fatalf("suite %s, want %s", tls.CipherSuiteName(got), tls.CipherSuiteName(c.suite))
	}
	return theirs, c.params(t, keys.String(), fromServer.all)
}

// params makes what NewTLS needs from the key log and the first record of the server.
func (c tlsCase) params(t testing.TB, log string, fromServer []byte) *TLSParams {
	t.Helper()
	secrets := map[string][2]string{}
	for _, line := range strings.Split(strings.TrimSpace(log), "\n") {
		f := strings.Fields(line)
		secrets[f[0]] = [2]string{f[1], f[2]}
	}
	unhex := func(s string) []byte {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	p := &TLSParams{Version: c.version, Suite: c.suite, Client: c.client}
	fromClient, toClient := &p.In, &p.Out
	if c.client {
		fromClient, toClient = toClient, fromClient
	}
	if c.tls13() {
		fromClient.Secret = unhex(secrets["CLIENT_TRAFFIC_SECRET_0"][1])
		toClient.Secret = unhex(secrets["SERVER_TRAFFIC_SECRET_0"][1])
		return p
	}
	clientRandom, master := unhex(secrets["CLIENT_RANDOM"][0]), unhex(secrets["CLIENT_RANDOM"][1])
	serverRandom := fromServer[headerLen+4+2:][:32] // record header, message header, version
	su := suiteOf(c.suite)
	prf := sha256.New
	if strings.HasSuffix(tls.CipherSuiteName(c.suite), "SHA384") {
		prf = sha512.New384
	}
	ivLen := 12 - su.explicit
	block := keyBlock(prf, master, serverRandom, clientRandom, 2*su.keySize+2*ivLen)
	next := func(n int) []byte {
		b := block[:n:n]
		block = block[n:]
		return b
	}
	fromClient.Key, toClient.Key = next(su.keySize), next(su.keySize)
	fromClient.IV, toClient.IV = next(ivLen), next(ivLen)
	p.In.Seq, p.Out.Seq = 1, 1
	return p
}

// keyBlock is the PRF of RFC 5246 section 5 for section 6.3.
func keyBlock(h func() hash.Hash, master, serverRandom, clientRandom []byte, n int) []byte {
	seed := append(append([]byte("key expansion"), serverRandom...), clientRandom...)
	mac := func(parts ...[]byte) []byte {
		m := hmac.New(h, master)
		for _, p := range parts {
			m.Write(p)
		}
		return m.Sum(nil)
	}
	var out []byte
	for a := mac(seed); len(out) < n; a = mac(a) {
		out = append(out, mac(a, seed)...)
	}
	return out[:n]
}

var (
	testCertOnce  sync.Once
	testCertValue tls.Certificate
)

func testCert(t testing.TB) tls.Certificate {
	t.Helper()
	testCertOnce.Do(func() {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		testCertValue = selfSigned(t, key.Public(), key)
	})
	return testCertValue
}

func selfSigned(t testing.TB, public, private any) tls.Certificate {
	t.Helper()
	now := time.Now()
	from := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"irc.example"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, from, from, public, private)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}
}

// ours is one of our TLS connections in an arena of its own.
type ours struct {
	t    testing.TB
	a    *Arena
	s    *Shard
	slot SlotID
	id   TLSID
	now  time.Duration
}

func newOurs(t testing.TB, p *TLSParams) *ours {
	t.Helper()
	return newOursOn(t, testArena(t, Options{Slots: 8, Shards: 1, MaxBytes: 2 << 20}).Shard(0), p)
}

func newOursOn(t testing.TB, s *Shard, p *TLSParams) *ours {
	t.Helper()
	o := &ours{t: t, a: s.a, s: s}
	slotID, slot, err := s.NewSlot()
	if err != nil {
		t.Fatal(err)
	}
	o.slot = slotID
	if o.id, err = s.NewTLS(p); err != nil {
		t.Fatal(err)
	}
	slot.ClientTLS = o.id
	return o
}

// read lets us read b in one piece, as far as the staging buffer takes it, and answers a copy of what was opened.
func (o *ours) read(b []byte) ([]byte, Opened, error) {
	o.t.Helper()
	var plain []byte
	for {
		n := copy(o.s.ReadRoom(o.id), b)
		b = b[n:]
		got, err := o.s.Open(o.id, n, o.now)
		plain = append(plain, got.Plain...)
		if err != nil || len(b) == 0 {
			return plain, got, err
		}
	}
}

func (o *ours) seal(p []byte) []byte {
	o.t.Helper()
	b, err := o.s.Seal(o.id, p)
	if err != nil {
		o.t.Fatal(err)
	}
	return bytes.Clone(b)
}

// mustRead is read without an error.
func (o *ours) mustRead(b []byte) []byte {
	o.t.Helper()
	plain, _, err := o.read(b)
	if err != nil {
		o.t.Fatal(err)
	}
	return plain
}

// newPair makes two of ours that are connected with each other: the server and the client. The secrets are not random.
func newPair(t testing.TB, suite uint16) (server, client *ours) {
	t.Helper()
	return newOurs(t, pairParams(suite, false)), newOurs(t, pairParams(suite, true))
}

func pairParams(suite uint16, client bool) *TLSParams {
	p := &TLSParams{Version: suiteOf(suite).version, Suite: suite, Client: client, In: testTraffic(suite, 1), Out: testTraffic(suite, 2)}
	if client {
		p.In, p.Out = p.Out, p.In
	}
	return p
}

// testTraffic is always the same for the same n.
func testTraffic(id uint16, n byte) TLSTraffic {
	su := suiteOf(id)
	b := sha512.Sum512([]byte{n})
	if su.tls13() {
		return TLSTraffic{Secret: b[:su.secret]}
	}
	return TLSTraffic{Key: b[:su.keySize], IV: b[32:][:nonceSize-su.explicit], Seq: 1}
}
