package proxy

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/internal/certs/certtest"
	"github.com/ircferry/ircferry/internal/config"
)

// secureRelay is a rig with a TLS listener and one relay-only backend.
func secureRelay(t *testing.T, l config.Listener) (*rig, *ircd) {
	t.Helper()
	d := newIRCd(t)
	l.TLS = &config.ListenerTLS{}
	r := newRig(t, rigOptions{backends: []config.Backend{{Name: "a", Address: d.addr(), Identity: config.IdentityNone}}, listener: l,
		secure: map[string]*tls.Config{"irc": serverTLS(t, 0)}})
	r.up("main/a")
	return r, d
}

// dialPlain dials and does not shake hands.
func (r *rig) dialPlain() *conn {
	r.t.Helper()
	c, err := net.Dial("tcp", r.addr())
	if err != nil {
		r.t.Fatal(err)
	}
	return newConn(r.t, c.(*net.TCPConn))
}

func (r *rig) dialSecure(cfg *tls.Config) *conn {
	r.t.Helper()
	c := r.dialPlain()
	if cfg == nil {
		cfg = &tls.Config{InsecureSkipVerify: true}
	}
	c.secure(cfg)
	return c
}

// secureJoined is a registered TLS client.
func (r *rig) secureJoined(d *ircd, cfg *tls.Config) (client, server *conn) {
	r.t.Helper()
	client = r.dialSecure(cfg)
	client.send("NICK ann\r\n")
	server = d.next()
	server.expect("NICK ann\r\n")
	server.send(":irc 001 ann :hello\r\n")
	client.expect(":irc 001 ann :hello\r\n")
	return client, server
}

func TestTLSRelaysBothWays(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			r, d := secureRelay(t, config.Listener{})
			client, server := r.secureJoined(d, &tls.Config{InsecureSkipVerify: true, MaxVersion: version})
			line := "PRIVMSG #x :" + strings.Repeat("y", 400) + "\r\n"
			text := strings.Repeat(line, 2000)
			go client.send(text)
			server.expect(text)
			go server.send(text)
			client.expect(text)
			all, err := r.Sessions(ctxOf(t))
			if err != nil || len(all) != 1 || !strings.HasPrefix(all[0].TLS, strings.Replace(tls.VersionName(version), "TLS ", "TLSv", 1)) {
				t.Errorf("%+v %v", all, err)
			}
			client.send("QUIT :bye\r\n")
			client.CloseWrite()
			server.expect("QUIT :bye\r\n")
			server.expectEnd()
			server.send("ERROR :bye\r\n")
			server.Close()
			client.expect("ERROR :bye\r\n")
			client.expectEnd() // of which crypto/tls says io.ErrUnexpectedEOF without a close_notify
			r.ended("client_closed")
			r.eventually("arena empty", func() bool { a := r.Arena(); return a.Slots == 0 && a.Chunks == 0 })
		})
	}
}

// All that a client says may come with the end of its handshake, and its FIN too.
func TestTLSEverythingAtOnce(t *testing.T) {
	r, d := secureRelay(t, config.Listener{})
	raw := r.dialPlain()
	gather := &gathering{Conn: raw.TCPConn}
	c := tls.Client(gather, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	io.WriteString(c, "NICK ann\r\nQUIT :")
	io.WriteString(c, "gone\r\n")
	c.CloseWrite()
	raw.TCPConn.Write(gather.held)
	raw.TCPConn.CloseWrite()
	server := d.next()
	server.expect("NICK ann\r\nQUIT :gone\r\n")
	server.expectEnd()
}

// gathering holds back all writes but the first.
type gathering struct {
	net.Conn
	holding bool
	held    []byte
}

// SetWriteDeadline keeps crypto/tls from ending the writes behind its close_notify.
func (g *gathering) SetWriteDeadline(time.Time) error { return nil }

func (g *gathering) Write(p []byte) (int, error) {
	if g.holding {
		g.held = append(g.held, p...)
		return len(p), nil
	}
	g.holding = true
	return g.Conn.Write(p)
}

func TestPlaintextClientOnATLSPort(t *testing.T) {
	r, _ := secureRelay(t, config.Listener{})
	for _, hello := range []string{"NICK ann\r\n", "CAP LS 302\r\n", "\r\n", "@a=b NICK x\r\n"} {
		c := r.dialPlain()
		c.send(hello)
		c.expectLine("ERROR :Closing link: (ircferry) This port is for TLS only")
		c.expectEnd()
	}
	r.ended("plaintext_on_tls")
}

func TestTLSClientOnAPlaintextPort(t *testing.T) {
	plaintextOnly(t)
	r, d := relay(t, config.Listener{})
	d.endsToo()
	c := tls.Client(r.dialPlain().TCPConn, &tls.Config{InsecureSkipVerify: true})
	if err := c.Handshake(); err == nil {
		t.Error("there is TLS")
	}
	c.NetConn().Close()
	r.ended("tls_on_plaintext")
}

// Behind a PROXY header too. No byte of it reaches an ircd; with the header, no connection does.
func TestTLSClientBehindAProxyHeaderOnAPlaintextPort(t *testing.T) {
	plaintextOnly(t)
	trusted := &config.ProxyProtocol{From: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	const header, hello = "PROXY TCP4 192.0.2.1 192.0.2.2 1000 6667\r\n", "\x16\x03\x01\x00\x10\x01\r\nQUIT\r\nlines\r\n"
	for _, together := range []bool{true, false} {
		r, d := relay(t, config.Listener{ProxyProtocol: trusted})
		c := r.dialPlain()
		if together {
			c.send(header + hello)
		} else {
			c.send(header)
			r.eventually("relay", func() bool { return r.Counts().States["relay"] == 1 })
			c.send(hello)
		}
		c.expectLine("ERROR :Closing link: (ircferry) This port is not for TLS")
		c.expectEnd()
		c.Close()
		r.ended("tls_on_plaintext")
		r.dialPlain().send(header + "NICK ann\r\n")
		d.next().expect("NICK ann\r\n")
	}
}

func TestProxyHeaderFromAStrangerOnATLSPort(t *testing.T) {
	r, _ := secureRelay(t, config.Listener{})
	r.dialPlain().send("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n")
	r.ended("header_refused")
}

func TestTLSBehindAProxyHeader(t *testing.T) {
	r, d := secureRelay(t, config.Listener{ProxyProtocol: &config.ProxyProtocol{From: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}})
	c := r.dialPlain()
	c.send("PROXY TCP4 192.0.2.1 192.0.2.2 1000 6697\r\n")
	c.secure(&tls.Config{InsecureSkipVerify: true})
	c.send("NICK ann\r\n")
	d.next().expect("NICK ann\r\n")
	if all, _ := r.Sessions(ctxOf(t)); len(all) != 1 || all[0].Client.Addr().String() != "192.0.2.1" || all[0].TLS == "" {
		t.Errorf("%+v", all)
	}
}

// Clients that stop in the middle of their handshake hold nobody up, and go when their time is over.
func TestStalledHandshakesHoldNobodyUp(t *testing.T) {
	r, d := secureRelay(t, config.Listener{})
	for range 64 {
		c := r.dialPlain()
		stalled := tls.Client(&gathering{Conn: c.TCPConn}, &tls.Config{InsecureSkipVerify: true})
		go stalled.Handshake()
		half := r.dialPlain()
		half.send("\x16\x03\x01\x02\x00\x01")
	}
	r.secureJoined(d, nil)
	r.eventually("the others are there", func() bool { return r.Counts().States["handshake"] >= 64 })
	r.turnTime(t, handshakeTime)
	r.ended("tls_handshake_timeout")
	r.eventually("gone", func() bool { return r.Counts().Sessions == 1 })
}

func TestForgedRecordEndsTheSession(t *testing.T) {
	r, d := secureRelay(t, config.Listener{})
	client, server := r.secureJoined(d, nil)
	client.send("PRIVMSG #x :before\r\n")
	server.expect("PRIVMSG #x :before\r\n")
	client.TCPConn.Write(append([]byte{23, 3, 3, 0, 40}, make([]byte, 40)...))
	server.expectEnd()
	server.Close()
	_, err := client.r.ReadByte()
	var alert tls.AlertError
	if opErr := (*net.OpError)(nil); !errors.As(err, &opErr) && !errors.As(err, &alert) || !strings.Contains(err.Error(), "bad record MAC") {
		t.Errorf("the client is told %v", err)
	}
	r.ended("tls_record")
	if logs := r.logs.String(); strings.Contains(logs, "before") || !strings.Contains(logs, "reason=tls_record ") || !strings.Contains(logs, " tls=bad_record\n") {
		t.Errorf("log: %s", logs)
	}
}

// A connection that is cut off in the middle of a record: what came before it is carried on, the rest is not, and it is counted. Many clients end
// without a close_notify; between two records that is no truncation that anybody could act on, since half a line is dropped.
func TestTruncatedRecordIsCounted(t *testing.T) {
	r, d := secureRelay(t, config.Listener{})
	cut := func(record []byte) {
		client, server := r.secureJoined(d, nil)
		client.send("PRIVMSG #x :before\r\nPRIVMSG #x :ha")
		client.TCPConn.Write(record)
		client.TCPConn.CloseWrite()
		server.expect("PRIVMSG #x :before\r\n")
		server.expectEnd()
		server.Close()
		client.expectEnd()
	}
	cut(nil)
	r.ended("client_closed")
	if logs := r.logs.String(); strings.Contains(logs, " tls=") {
		t.Errorf("log: %s", logs)
	}
	cut([]byte{23, 3, 3, 0, 40, 1, 2, 3})
	cut([]byte{23})
	r.eventually("both are told", func() bool { return strings.Count(r.logs.String(), " tls=truncated\n") == 2 })
}

// Without certificates for it a TLS listener is not opened as a plaintext one.
func TestTLSListenerNeedsItsCertificate(t *testing.T) {
	r, _ := secureRelay(t, config.Listener{})
	l := config.Listener{Name: "irc", Address: r.addr(), Pool: "main", TLS: &config.ListenerTLS{}}
	if err := r.SetListeners([]config.Listener{l}, nil); err == nil {
		t.Error("it is open")
	}
}

// A chain that is longer than what is read of a handshake ends it at once, and not with its time.
func TestEndlessChainOfCertificates(t *testing.T) {
	r, d := secureRelay(t, config.Listener{})
	mine := certtest.SelfSigned(t, certtest.Options{}).Cert
	chain := func(bytes int) *tls.Config {
		long := mine
		for n := len(mine.Certificate[0]); n < bytes; n += len(mine.Certificate[0]) {
			long.Certificate = append(long.Certificate, mine.Certificate[0])
		}
		return &tls.Config{InsecureSkipVerify: true, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &long, nil }}
	}
	r.secureJoined(d, chain(50<<10))
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		cfg := chain(70 << 10)
		cfg.MaxVersion = version
		c := r.dialPlain()
		over := make(chan struct{})
		go func() {
			defer close(over)
			tc := tls.Client(c.TCPConn, cfg)
			tc.Handshake()
			tc.Read(make([]byte, 1))
		}()
		<-over
	}
	r.eventually("counted", func() bool {
		n := 0
		for _, tt := range r.tallies() {
			tt.handshakes.each(func(word string, k uint64) {
				if word == "oversize" {
					n += int(k)
				}
			})
		}
		return n == 2
	})
	r.eventually("log lines", func() bool {
		logs := r.logs.String()
		return strings.Count(logs, "reason=tls_handshake_failed ") == 2 && strings.Count(logs, " tls=oversize\n") == 2
	})
}

func TestClientCertificateIsKnown(t *testing.T) {
	r, d := secureRelay(t, config.Listener{})
	mine := certtest.SelfSigned(t, certtest.Options{CN: "ann"})
	r.secureJoined(d, &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{mine.Cert}})
	if all, _ := r.Sessions(ctxOf(t)); len(all) != 1 || all[0].CertFP != mine.Fingerprint() {
		t.Errorf("%+v, want %s", all, mine.Fingerprint())
	}
}

// A native backend is told of the client's TLS.
func TestOpenTellsOfTLS(t *testing.T) {
	a := newNative(t, "a")
	r := newRig(t, rigOptions{backends: []config.Backend{a.config()}, listener: config.Listener{TLS: &config.ListenerTLS{}},
		secure: map[string]*tls.Config{"irc": serverTLS(t, 0)}})
	r.up("main/a")
	mine := certtest.SelfSigned(t, certtest.Options{})
	r.dialSecure(&tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{mine.Cert}, MaxVersion: tls.VersionTLS12})
	line := a.next().expectLine("OPEN k=")
	if got := field(line, "certfp"); got != mine.Fingerprint() {
		t.Errorf("certfp %s, want %s", got, mine.Fingerprint())
	}
	if got := field(line, "tls"); !strings.HasPrefix(got, "TLSv1.2/ECDHE-ECDSA-") {
		t.Errorf("tls=%s", got)
	}
}

// secureBackend is an ircd of the tests behind TLS.
func secureBackend(t *testing.T, pair *certtest.Pair) *ircd {
	t.Helper()
	return newIRCdOver(t, &tls.Config{Certificates: []tls.Certificate{pair.Cert}})
}

// rigOverTLS is a proxy with one backend, main/a, over TLS.
func rigOverTLS(t *testing.T) (*rig, *ircd) {
	t.Helper()
	pair := certtest.SelfSigned(t, certtest.Options{Names: []string{"irc.test"}})
	d := secureBackend(t, pair)
	ca, _ := pair.Write(t, t.TempDir(), "ca")
	r := newRig(t, rigOptions{backends: []config.Backend{{Name: "a", Address: d.addr(), Identity: config.IdentityNone,
		TLS: &config.BackendTLS{CA: ca, ServerName: "irc.test"}}}})
	r.up("main/a")
	return r, d
}

func TestBackendOverTLS(t *testing.T) {
	r, d := rigOverTLS(t)
	client, server := r.joined(d, "ann")
	text := strings.Repeat("PRIVMSG #x :"+strings.Repeat("y", 400)+"\r\n", 4000)
	go client.send(text)
	server.expect(text)
	go server.send(text)
	client.expect(text)
	client.send("QUIT :bye\r\n")
	client.CloseWrite()
	server.expect("QUIT :bye\r\n")
	server.expectEnd()
	server.Close()
	client.expectEnd()
	r.ended("client_closed")
	r.eventually("arena empty", func() bool { a := r.Arena(); return a.Slots == 0 && a.Chunks == 0 })
}

// When more clients come than a backend can shake hands with, some wait until others are through, and all get in.
func TestHandshakesAtABackendWaitForOthers(t *testing.T) {
	pair := certtest.SelfSigned(t, certtest.Options{Names: []string{"irc.test"}})
	var holding atomic.Bool
	begun, release := make(chan bool, 1000), make(chan bool)
	d := newIRCdOver(t, &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		if holding.Load() {
			begun <- true
			<-release
		}
		return &pair.Cert, nil
	}})
	ca, _ := pair.Write(t, t.TempDir(), "ca")
	r := newRig(t, rigOptions{backends: []config.Backend{{Name: "a", Address: d.addr(), Identity: config.IdentityNone,
		TLS: &config.BackendTLS{CA: ca, ServerName: "irc.test"}}}})
	r.up("main/a")
	holding.Store(true)
	most := len(r.workers) * shakingAtOnce
	clients := make([]*conn, most+50)
	for i := range clients {
		clients[i] = r.dial()
		clients[i].send("NICK ann\r\n")
	}
	r.eventually("all are connected", func() bool { return r.Counts().States["backend_handshake"] == len(clients) })
	r.eventually("a part shakes hands", func() bool { return len(begun) >= shakingAtOnce })
	if n := len(begun); n > most+2 { // and health checks
		t.Errorf("%d handshakes at once, want at most %d", n, most)
	}
	holding.Store(false)
	close(release)
	for range clients {
		server := d.next()
		server.expect("NICK ann\r\n")
		server.send(":irc 001 ann :hello\r\n")
	}
	for _, c := range clients {
		c.expect(":irc 001 ann :hello\r\n")
	}
	r.eventually("nobody is counted", func() bool {
		var n atomic.Int64
		r.onAll(ctxOf(t), func(w *worker) {
			for _, p := range w.peers {
				n.Add(int64(p.shaking + len(p.waiting)))
			}
		})
		return n.Load() == 0
	})
}

// What a backend's TLS breaks by is in the log of the sessions that it costs; the backend is told by an alert, the client is.
func TestForgedRecordOfABackend(t *testing.T) {
	r, d := rigOverTLS(t)
	client, server := r.joined(d, "ann")
	server.send(":irc NOTICE ann :before\r\n")
	server.TCPConn.Write(append([]byte{23, 3, 3, 0, 40}, make([]byte, 40)...))
	client.expect(":irc NOTICE ann :before\r\n")
	client.expectLine("ERROR :Closing link: (ircferry) The server has gone away")
	if _, err := server.r.ReadByte(); err == nil || !strings.Contains(err.Error(), "bad record MAC") {
		t.Errorf("the backend is told %v", err)
	}
	client.Close()
	r.ended("backend_lost")
	if logs := r.logs.String(); !strings.Contains(logs, " tls=bad_record\n") {
		t.Errorf("log: %s", logs)
	}
}

func TestBackendOfAnotherNameIsNotTrusted(t *testing.T) {
	pair := certtest.SelfSigned(t, certtest.Options{Names: []string{"irc.test"}})
	d := secureBackend(t, pair)
	ca, _ := pair.Write(t, t.TempDir(), "ca")
	r := newRig(t, rigOptions{backends: []config.Backend{{Name: "a", Address: d.addr(), Identity: config.IdentityNone,
		TLS: &config.BackendTLS{CA: ca, ServerName: "other.test"}}}})
	r.dial().send("PASS secret\r\nNICK ann\r\n")
	r.eventually("tried", func() bool {
		b, ok := r.set.Backend("main/a")
		return ok && b.Oper() != backend.Up
	})
}
