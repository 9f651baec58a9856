//go:build e2e

package e2e

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	be "encoding/binary"
	"encoding/hex"
	"net"
	"strings"
	"testing"
	"time"
)

// forger is a client whose handshake crypto/tls has made, and which makes its records itself: any that a hostile client could. It reads by
// crypto/tls. Its suites are the two with AES-128 and SHA-256.
type forger struct {
	t      *testing.T
	raw    net.Conn
	tls    *tls.Conn
	is13   bool
	secret []byte // of TLS 1.3, for the next keys
	aead   cipher.AEAD
	iv     []byte
	seq    uint64
}

// Content types, and handshake messages: RFC 8446 sections 5.1 and 4.
const (
	recordAlert, recordHandshake, recordData = 21, 22, 23
	messageHello, messageKeyUpdate           = 1, 24
)

// forge dials the listener and shakes hands by this version.
func (s *secured) forge(t *testing.T, version uint16) *forger {
	t.Helper()
	raw, err := net.Dial("tcp", s.addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = raw.Close() })
	_ = raw.SetDeadline(time.Now().Add(slack))
	tap := &tapped{Conn: raw}
	var log bytes.Buffer
	cfg := s.config()
	cfg.MinVersion, cfg.MaxVersion, cfg.KeyLogWriter = version, version, &log
	cfg.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}
	f := &forger{t: t, raw: raw, tls: tls.Client(tap, cfg), is13: version == tls.VersionTLS13}
	if err := f.tls.Handshake(); err != nil {
		t.Fatalf("handshake: %v", err)
	}
	if f.is13 {
		if suite := f.tls.ConnectionState().CipherSuite; suite != tls.TLS_AES_128_GCM_SHA256 {
			t.Skipf("this processor has no AES, so crypto/tls prefers %s", tls.CipherSuiteName(suite))
		}
		_, f.secret = keyLogged(t, log.String(), "CLIENT_TRAFFIC_SECRET_0")
		f.keys13()
		return f
	}
	random, master := keyLogged(t, log.String(), "CLIENT_RANDOM")
	block := keyBlock12(master, tap.got[11:43], random) // the server's random, in its hello: RFC 5246 section 7.4.1.3
	f.cipher(block[:16])
	f.iv, f.seq = block[32:36], 1 // behind the Finished
	return f
}

// tapped keeps what was read.
type tapped struct {
	net.Conn
	got []byte
}

func (c *tapped) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.got = append(c.got, p[:n]...)
	return n, err
}

// keyLogged is the client's random and the secret of this label in a key log.
func keyLogged(t *testing.T, log, label string) (random, secret []byte) {
	t.Helper()
	for line := range strings.Lines(log) {
		f := strings.Fields(line)
		if len(f) != 3 || f[0] != label {
			continue
		}
		random, err := hex.DecodeString(f[1])
		if err != nil {
			t.Fatal(err)
		}
		if secret, err = hex.DecodeString(f[2]); err != nil {
			t.Fatal(err)
		}
		return random, secret
	}
	t.Fatalf("no %s", label)
	return nil, nil
}

func (f *forger) cipher(key []byte) {
	f.t.Helper()
	block, err := aes.NewCipher(key)
	if err != nil {
		f.t.Fatal(err)
	}
	if f.aead, err = cipher.NewGCM(block); err != nil {
		f.t.Fatal(err)
	}
}

// keys13 makes the keys of the secret: RFC 8446 section 7.3.
func (f *forger) keys13() {
	f.t.Helper()
	f.cipher(f.label("key", 16))
	f.iv, f.seq = f.label("iv", 12), 0
}

// label is HKDF-Expand-Label of the secret: RFC 8446 section 7.1.
func (f *forger) label(label string, n int) []byte {
	f.t.Helper()
	info := append([]byte{0, byte(n), byte(6 + len(label))}, "tls13 "+label+"\x00"...)
	out, err := hkdf.Expand(sha256.New, f.secret, string(info), n)
	if err != nil {
		f.t.Fatal(err)
	}
	return out
}

// keyBlock12 is the key block of TLS 1.2 for AES-128-GCM: RFC 5246 sections 5 and 6.3.
func keyBlock12(master, serverRandom, clientRandom []byte) []byte {
	seed := append(append([]byte("key expansion"), serverRandom...), clientRandom...)
	mac := func(p ...[]byte) []byte {
		m := hmac.New(sha256.New, master)
		for _, p := range p {
			m.Write(p)
		}
		return m.Sum(nil)
	}
	var block []byte
	for a := mac(seed); len(block) < 40; a = mac(a) {
		block = append(block, mac(a, seed)...)
	}
	return block
}

// record seals one record of any type and content.
func (f *forger) record(typ byte, content []byte) []byte {
	seq := be.BigEndian.AppendUint64(nil, f.seq)
	f.seq++
	if f.is13 { // RFC 8446 section 5.2
		inner := append(bytes.Clone(content), typ)
		head := be.BigEndian.AppendUint16([]byte{recordData, 3, 3}, uint16(len(inner)+16))
		nonce := bytes.Clone(f.iv)
		for i, b := range seq {
			nonce[4+i] ^= b
		}
		return f.aead.Seal(head, nonce, inner, head)
	}
	// RFC 5246 section 6.2.3.3, RFC 5288 section 3.
	extra := be.BigEndian.AppendUint16(append(bytes.Clone(seq), typ, 3, 3), uint16(len(content)))
	head := append(be.BigEndian.AppendUint16([]byte{typ, 3, 3}, uint16(8+len(content)+16)), seq...)
	return f.aead.Seal(head, append(bytes.Clone(f.iv), seq...), content, extra)
}

// keyUpdate makes a KeyUpdate and goes over to the next keys: RFC 8446 section 7.2.
func (f *forger) keyUpdate(request byte) []byte {
	f.t.Helper()
	p := f.record(recordHandshake, []byte{messageKeyUpdate, 0, 0, 1, request})
	f.secret = f.label("traffic upd", 32)
	f.keys13()
	return p
}

// send writes raw bytes. The daemon may have ended the connection by then.
func (f *forger) send(p []byte) { _, _ = f.raw.Write(p) }

// say sends text as one record.
func (f *forger) say(text string) { f.send(f.record(recordData, []byte(text))) }

// end reads to the end, which is an error that begins so.
func (f *forger) end(want string) {
	f.t.Helper()
	buf := make([]byte, 4096)
	for {
		if _, err := f.tls.Read(buf); err != nil {
			if !strings.HasPrefix(err.Error(), want) {
				f.t.Errorf("the connection ends with %v, want %s", err, want)
			}
			return
		}
	}
}

// hears reads until the text has come.
func (f *forger) hears(text string) {
	f.t.Helper()
	var got []byte
	for !bytes.Contains(got, []byte(text)) {
		buf := make([]byte, 4096)
		n, err := f.tls.Read(buf)
		if err != nil {
			f.t.Fatalf("%v before %q in %q", err, text, got)
		}
		got = append(got, buf[:n]...)
	}
}

// repeated is n records, one behind the other.
func repeated(n int, one func() []byte) []byte {
	var all []byte
	for range n {
		all = append(all, one()...)
	}
	return all
}
