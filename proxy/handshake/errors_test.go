package handshake

import (
	"crypto/tls"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/internal/certs/certtest"
)

func failed(t *testing.T, e ended, reason string) *Error {
	t.Helper()
	err, ok := errors.AsType[*Error](e.Err)
	if !ok || err.Reason != reason {
		t.Fatalf("got %v, want %s", e.Err, reason)
	}
	if !slices.Contains(Reasons, reason) {
		t.Errorf("%s is not among the reasons", reason)
	}
	return err
}

func unhex(t *testing.T, s string) string {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// helloOf is a ClientHello in a record: this version, this suite, this method of compression, no extensions.
func helloOf(t *testing.T, version, suite, compression string) string {
	random := strings.Repeat("42", 32)
	body := unhex(t, version+random+"00"+"0002"+suite+"01"+compression)
	head := unhex(t, "16"+version) + string([]byte{0, byte(len(body) + 4), 1, 0, 0, byte(len(body))})
	return head + body
}

func TestHostileClients(t *testing.T) {
	server := certtest.SelfSigned(t, certtest.Options{})
	tests := []struct {
		name, bytes, reason string
		alert               string // what we answer, the whole of it
	}{
		{"web browser", "GET / HTTP/1.1\r\nHost: irc.test\r\n\r\n", reasonHTTP, ""},
		{"IRC", "NICK alice\r\nUSER alice 0 * :x\r\n", reasonNotTLS, ""},
		{"garbage", "\xff\xfe\xfd\xfc\xfb\xfa", reasonNotTLS, ""},
		{"a record of a later protocol", "\x16\x13\x01\x00\x05hello", reasonNotTLS, ""},
		{"SSLv2", unhex(t, "802e 01 0301 0015 0000 0010 0100 8003 0080"), reasonVersion, "1503010002 0246"},
		{"SSLv3", helloOf(t, "0300", "0035", "00"), reasonVersion, "1503010002 0246"},
		{"TLS 1.0", helloOf(t, "0301", "0035", "00"), reasonVersion, "1503010002 0246"},
		{"TLS 1.1", helloOf(t, "0302", "0035", "00"), reasonVersion, "1503010002 0246"},
		{"compression alone", helloOf(t, "0303", "c02b", "01"), reasonHello, "1503030002 022f"},
		{"CBC alone", helloOf(t, "0303", "c009", "00"), reasonCipher, "1503030002 0228"},
		{"a hello that ends early", "\x16\x03\x01\x00\x06\x01\x00\x00\x02\x03\x03", reasonHello, "1503010002 0232"},
		{"a server's hello", "\x16\x03\x01\x00\x04\x0e\x00\x00\x00", reasonHello, "1503010002 020a"},
		{"a record that is too long", "\x16\x03\x01\xff\xff", reasonOversize, "1503010002 0216"},
		{"a message that is too long", "\x16\x03\x01\x00\x04\x01\xff\xff\xff", reasonHello, "1503010002 0250"},
		{"application data first", "\x17\x03\x03\x00\x01a", reasonNotTLS, ""},
		{"ChangeCipherSpec first", "\x14\x03\x03\x00\x01\x01", reasonNotTLS, ""},
		{"an alert first", "\x15\x03\x01\x00\x02\x02\x2a", reasonRefused, ""},
		{"another alert first", "\x15\x03\x01\x00\x02\x02\x5b", reasonPeerAlert, ""},
		{"close_notify first", "\x15\x03\x01\x00\x02\x01\x00", reasonTruncated, ""},
		{"empty records for ever", strings.Repeat("\x16\x03\x01\x00\x00", 1000), reasonHello, "1503010002 020a"},
		{"half a header", "\x16\x03", reasonTruncated, ""},
		{"half a record", "\x16\x03\x01\x00\x40\x01\x00", reasonTruncated, ""},
		{"nothing", "", reasonTruncated, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, b := pair(t)
			done := serve(b, serverConfig(server, ServerOptions{Tickets: NewTickets()}))
			if _, err := io.WriteString(a, tt.bytes); err != nil {
				t.Fatal(err)
			}
			a.(interface{ CloseWrite() error }).CloseWrite()
			e := wait(t, done)
			failed(t, e, tt.reason)
			e.conn.Close()
			if got, _ := io.ReadAll(a); string(got) != unhex(t, tt.alert) {
				t.Errorf("answered %x, want %s", got, tt.alert)
			}
		})
	}
}

// A hello is waited for until it is whole; what is no record of TLS is told at once.
func TestWhatIsWaitedFor(t *testing.T) {
	for begin, whole := range map[string]bool{helloOf(t, "0303", "c02b", "00"): true, "\x16\x47\x45\x00\x40": false, "\x18\x03\x01\x00\x40": false, "\x13\x03\x01\x00\x40": false,
		"\x16\x03\x01\x48\x00" + strings.Repeat("x", longestRecord): true, "\x16\x03\x01\x48\x01": false} {
		var g gate
		g.open(Options{}, false)
		for i := range len(begin) {
			if got, want := g.feed([]byte(begin[i:i+1])), i+1 == len(begin) || !whole && i+1 == headerLen; got != want {
				t.Errorf("%d bytes of %.5q...: something is to be read: %v", i+1, begin, got)
			}
		}
	}
}

// A suite that cannot be taken over costs the connection, with the reason.
func TestSuiteThatIsNotTakenOver(t *testing.T) {
	server := certtest.SelfSigned(t, certtest.Options{})
	cfg := serverConfig(server, ServerOptions{})
	cfg.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}
	a, b := pair(t)
	done := serve(b, cfg)
	c := newClient(server, tls.VersionTLS12)
	c.CipherSuites = cfg.CipherSuites
	go tls.Client(a, c.Config).Handshake()
	if e := failed(t, wait(t, done), reasonTakeOver); e.Cause == nil || !strings.Contains(e.Error(), "0xc009") {
		t.Errorf("%v", e)
	}
}

// An ircd that refuses our hello says why by its alert.
func TestServersThatRefuse(t *testing.T) {
	for alert, reason := range map[uint8]string{alertNoALPN: reasonALPN, alertProtocolVersion: reasonVersion, alertHandshakeFailure: reasonCipher,
		alertUnknownCA: reasonRefused, alertCertRequired: reasonRefused, alertCertificateUnknown: reasonRefused, alertBadCertificate: reasonRefused, 50: reasonPeerAlert, 80: reasonPeerAlert} {
		a, b := pair(t)
		done := shakeAsClient(b, ClientConfig(ClientOptions{ServerName: "irc.test"}))
		if _, err := a.Write([]byte{typeAlert, 3, 3, 0, 2, 2, alert}); err != nil {
			t.Fatal(err)
		}
		if e := failed(t, wait(t, done), reason); e.Alert != alert {
			t.Errorf("alert %d, want %d", e.Alert, alert)
		}
	}
}

// Issue 10, 10: a user who types the name with its final dot. OpenSSL and GnuTLS send it so, and crypto/tls refuses the hello.
func TestServerNameThatEndsInADot(t *testing.T) {
	server := certtest.SelfSigned(t, certtest.Options{})
	hello := func(name string) string {
		list := "\x00" + string([]byte{0, byte(len(name))}) + name
		sni := "\x00\x00" + string([]byte{0, byte(len(list) + 2), 0, byte(len(list))}) + list
		grease := "\x0a\x0a\x00\x00"
		body := unhex(t, "0303"+strings.Repeat("42", 32)+"00"+"0002c02b"+"0100") + string([]byte{0, byte(len(grease) + len(sni))}) + grease + sni
		message := string([]byte{1, 0, 0, byte(len(body))}) + body
		return "\x16\x03\x01" + string([]byte{0, byte(len(message))}) + message
	}
	for name, reason := range map[string]string{"irc.test.": reasonFinalDot, ".": reasonFinalDot, "": reasonHello} {
		a, b := pair(t)
		done := serve(b, serverConfig(server, ServerOptions{}))
		if _, err := io.WriteString(a, hello(name)); err != nil {
			t.Fatal(err)
		}
		failed(t, wait(t, done), reason)
	}
	for n := range len(hello("irc.test.")) { // cut anywhere it is no panic
		finalDot([]byte(hello("irc.test."))[min(5, n):n])
	}
}

// Nothing that a peer has chosen is in an error.
func TestErrorsQuoteNobody(t *testing.T) {
	server := certtest.SelfSigned(t, certtest.Options{})
	a, b := pair(t)
	done := serve(b, serverConfig(server, ServerOptions{}))
	cfg := newClient(server, 0)
	cfg.NextProtos = []string{"evil-protocol"}
	if tls.Client(a, cfg.Config).Handshake() == nil {
		t.Fatal("no error")
	}
	if err := failed(t, wait(t, done), reasonALPN); strings.Contains(err.Error(), "evil") {
		t.Errorf("the error quotes the client: %v", err)
	}
}

func TestClientsThatRefuse(t *testing.T) {
	server, other := certtest.SelfSigned(t, certtest.Options{}), certtest.SelfSigned(t, certtest.Options{})
	for _, version := range versions {
		a, b := pair(t)
		done := serve(b, serverConfig(server, ServerOptions{Tickets: NewTickets()}))
		if tls.Client(a, newClient(other, version).Config).Handshake() == nil {
			t.Fatal("the client trusts us")
		}
		if err := failed(t, wait(t, done), reasonRefused); err.Alert == 0 {
			t.Errorf("no alert in %v", err)
		}
	}
}

func TestNoCertificate(t *testing.T) {
	for _, err := range []error{nil, errors.New("none for evil.test")} {
		a, b := pair(t)
		done := serve(b, ServerConfig(ServerOptions{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, err }}))
		go tls.Client(a, &tls.Config{ServerName: "irc.test"}).Handshake()
		if e := failed(t, wait(t, done), reasonNoCert); strings.Contains(e.Error(), "evil") {
			t.Error(e)
		}
	}
}

func TestPanicCostsOneConnection(t *testing.T) {
	a, b := pair(t)
	done := serve(b, ServerConfig(ServerOptions{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { panic("boom") }}))
	go tls.Client(a, &tls.Config{ServerName: "irc.test"}).Handshake()
	failed(t, wait(t, done), reasonInternal)
}

func TestServersThatAreNotTrusted(t *testing.T) {
	root, other := certtest.NewAuthority(t, "test root"), certtest.NewAuthority(t, "other root")
	old := certtest.Options{NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-24 * time.Hour)}
	tests := []struct {
		name   string
		server *certtest.Pair
		reason string
	}{
		{"of an authority that we do not know", other.Issue(t, certtest.Options{}), reasonAuthority},
		{"for another name", root.Issue(t, certtest.Options{Names: []string{"evil.test"}}), reasonName},
		{"expired", root.Issue(t, old), reasonExpired},
	}
	for _, tt := range tests {
		for _, version := range versions {
			t.Run(tt.name, func(t *testing.T) {
				a, b := pair(t)
				done := shakeAsClient(b, ClientConfig(ClientOptions{RootCAs: root.Roots(), ServerName: "irc.test"}))
				peer := tls.Server(a, &tls.Config{Certificates: []tls.Certificate{tt.server.Cert}, MaxVersion: version})
				if peer.Handshake() == nil {
					t.Error("no alert reached the server")
				}
				if err := failed(t, wait(t, done), tt.reason); strings.Contains(err.Error(), "evil") {
					t.Errorf("the error quotes the server: %v", err)
				}
			})
		}
	}
}

// A server of TLS 1.2 that wants a certificate says so within the handshake.
func TestServerThatWantsCertificate(t *testing.T) {
	root := certtest.NewAuthority(t, "test root")
	a, b := pair(t)
	done := shakeAsClient(b, ClientConfig(ClientOptions{RootCAs: root.Roots(), ServerName: "irc.test"}))
	go tls.Server(a, &tls.Config{Certificates: []tls.Certificate{root.Issue(t, certtest.Options{}).Cert}, MaxVersion: tls.VersionTLS12,
		ClientAuth: tls.RequireAnyClientCert}).Handshake()
	failed(t, wait(t, done), reasonRefused)
}

func TestEnd(t *testing.T) {
	server := certtest.SelfSigned(t, certtest.Options{})
	own := errors.New("session is over")
	for _, tt := range []struct {
		err    error
		reason string
	}{{os.ErrDeadlineExceeded, reasonTimeout}, {io.EOF, reasonTruncated}, {own, reasonEnded}} {
		for _, fed := range []string{"", "\x16\x03\x01\x00\x40\x01", helloOf(t, "0303", "c02b", "00")} {
			done := make(chan Result, 2)
			h := Server(serverConfig(server, ServerOptions{}), Options{Slots: NewSlots(1), Write: func([]byte) {}, Done: func(r Result) { done <- r }})
			h.Feed([]byte(fed))
			h.End(tt.err)
			h.End(errors.New("too late"))
			r := wait(t, asEnded(done))
			err, _ := errors.AsType[*Error](r.Err)
			if len(fed) < 10 && (err == nil || err.Reason != tt.reason || !errors.Is(err, tt.err)) {
				t.Errorf("%v after %d bytes: %v", tt.err, len(fed), r.Err)
			}
		}
	}
}

func asEnded(c <-chan Result) <-chan ended {
	out := make(chan ended, 1)
	go func() { out <- ended{Result: <-c} }()
	return out
}

// CBC suites and those without ephemeral keys cannot be taken over, so they are not spoken.
func TestOldSuites(t *testing.T) {
	for _, rsa := range []bool{false, true} {
		server := certtest.SelfSigned(t, certtest.Options{RSA: rsa})
		a, b := pair(t)
		done := serve(b, serverConfig(server, ServerOptions{}))
		cfg := newClient(server, tls.VersionTLS12)
		cfg.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
			tls.TLS_RSA_WITH_AES_128_GCM_SHA256}
		if tls.Client(a, cfg.Config).Handshake() == nil {
			t.Error("spoken")
		}
		failed(t, wait(t, done), reasonCipher)
	}
}
