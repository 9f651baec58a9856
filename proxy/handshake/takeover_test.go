package handshake

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/ircferry/ircferry/internal/certs/certtest"
	"github.com/ircferry/ircferry/proxy/wire"
)

// shaken is a handshake of which crypto/tls has made its part, and that is not taken over yet.
type shaken struct {
	*Handshake
	state tls.ConnectionState
}

// shakenOf makes one of the server or of the client. It belongs into a bubble.
func shakenOf(t testing.TB, version uint16, client bool) *shaken {
	t.Helper()
	sc, cc := linkConfigs(t, ServerOptions{Tickets: NewTickets()})
	sc.MaxVersion, sc.ClientAuth = version, tls.RequestClientCert
	cc.Certificates = []tls.Certificate{certtest.SelfSigned(t, certtest.Options{}).Cert}
	l := newLink(sc, cc, nil, nil)
	h, start := l.server.Handshake, tls.Server
	if client {
		h, start = l.client.Handshake, tls.Client
	}
	h.begun.Do(func() {}) // this goroutine runs it
	if !client {
		l.client.Start()
	}
	conn := start(&h.gate, h.config())
	if err := conn.HandshakeContext(context.Background()); err != nil {
		t.Fatal(err)
	}
	return &shaken{h, conn.ConnectionState()}
}

func (s *shaken) try() (wire.TLSParams, error) { return s.takeOver(&s.state) }

// sealMore puts one more handshake message behind what we sealed with the application keys.
func (s *shaken) sealMore(message []byte) {
	p, err := s.try()
	if err != nil {
		panic(err)
	}
	w := newWay(&p, &p.Out)
	plain := append(message, typeHandshake)
	head := []byte{typeData, 3, 3, 0, byte(len(plain) + tagLen)}
	s.gate.seen.outSealed = append(s.gate.seen.outSealed, w.aead.Seal(head, w.nonce(), plain, head))
}

// sealAgain puts another nonce on our Finished of TLS 1.2. It opens all the same.
func (s *shaken) sealAgain(nonce uint64) {
	p, err := s.try()
	if err != nil {
		panic(err)
	}
	o, err := suites[p.Suite].opener(p.Out.Key, p.Out.IV)
	if err != nil {
		panic(err)
	}
	rec := s.gate.seen.outSealed[0]
	_, content, _ := o.open(rec)
	w := newWay(&p, &p.Out)
	w.seq = 0
	binary.BigEndian.PutUint64(w.iv[4:], nonce)
	sealed := append(bytes.Clone(rec[:headerLen]), w.iv[4:]...)
	sealed = w.aead.Seal(sealed, w.iv[:], content, w.aad(rec[:headerLen], len(content)))
	if o.seq = 0; !opens(o, sealed) {
		panic("not sealed again")
	}
	s.gate.seen.outSealed[0] = sealed
}

func opens(o *opener, rec []byte) bool {
	_, _, ok := o.open(rec)
	return ok
}

// Each thing that the take-over rests on is changed once: nothing may be taken over then.
func TestTakeOverRefuses(t *testing.T) {
	flip := func(b []byte, at int) { b[(len(b)+at)%len(b)] ^= 1 }
	changes := []struct {
		name    string
		version uint16 // 0: both
		change  func(s *shaken)
	}{
		{"the first sealed record", 0, func(s *shaken) { flip(s.gate.seen.outSealed[0], -1) }},
		{"the last sealed record", 0, func(s *shaken) { flip(s.gate.seen.outSealed[len(s.gate.seen.outSealed)-1], headerLen+3) }},
		{"length of a record", 0, func(s *shaken) { o := &s.gate.seen.outSealed[0]; *o = (*o)[:headerLen+20] }},
		{"a record too many", 0, func(s *shaken) { o := &s.gate.seen.outSealed; *o = append(*o, (*o)[0]) }},
		{"no record", 0, func(s *shaken) { s.gate.seen.outSealed = nil }},
		{"records in another order", tls.VersionTLS13, func(s *shaken) { slices.Reverse(s.gate.seen.outSealed) }},
		{"no secret", 0, func(s *shaken) { s.secrets.wipe() }},
		{"secret of the peer", tls.VersionTLS13, func(s *shaken) {
			if s.client {
				s.secrets.serverTraffic = secret{}
			} else {
				s.secrets.clientTraffic = secret{}
			}
		}},
		{"master secret", tls.VersionTLS12, func(s *shaken) { s.secrets.master.b[7] ^= 1 }},
		{"our handshake secret", tls.VersionTLS13, func(s *shaken) { s.secrets.serverHandshake.b[7] ^= 1; s.secrets.clientHandshake.b[7] ^= 1 }},
		{"client's random", tls.VersionTLS12, func(s *shaken) { s.gate.seen.inHello.b[20] ^= 1; s.gate.seen.outHello.b[20] ^= 1 }},
		{"no randoms", tls.VersionTLS12, func(s *shaken) { s.gate.seen.inHello.n-- }},
		{"another message for a hello", tls.VersionTLS12, func(s *shaken) { s.gate.seen.inHello.b[0] = 11 }},
		{"the peer's Finished", tls.VersionTLS12, func(s *shaken) { flip(s.gate.seen.inSealed[0], -1) }},
		{"no Finished of the peer", tls.VersionTLS12, func(s *shaken) { s.gate.seen.inSealed = nil }},
		{"more than the peer's Finished", tls.VersionTLS12, func(s *shaken) { s.gate.seen.inBytes = mostIn + 1 }},
		{"in mid-record", 0, func(s *shaken) { s.gate.record = 3 }},
		{"half a record captured", 0, func(s *shaken) { s.gate.seen.out([]byte{22, 3, 3, 0, 9, 1}) }},
		{"message for a ticket", tls.VersionTLS13, func(s *shaken) { s.sealMore([]byte{24, 0, 0, 1, 0}) }},
		{"half a ticket", tls.VersionTLS13, func(s *shaken) { s.sealMore([]byte{4, 0, 0, 9, 1}) }},
		{"half the head of a ticket", tls.VersionTLS13, func(s *shaken) { s.sealMore([]byte{4, 0, 0}) }},
		{"more behind a ticket", tls.VersionTLS13, func(s *shaken) { s.sealMore([]byte{4, 0, 0, 1, 0, 4}) }},
		{"an empty record", tls.VersionTLS13, func(s *shaken) { s.sealMore(nil) }},
		{"nonce of our Finished", tls.VersionTLS12, func(s *shaken) { s.sealAgain(5) }},
		{"suite", 0, func(s *shaken) { s.state.CipherSuite = tls.TLS_RSA_WITH_AES_128_CBC_SHA }},
	}
	for _, version := range versions {
		for _, client := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				s := shakenOf(t, version, client)
				if _, err := s.try(); err != nil {
					t.Fatalf("unchanged: %v", err)
				}
				for _, c := range changes {
					if c.version != 0 && c.version != version {
						continue
					}
					s := shakenOf(t, version, client)
					c.change(s)
					p, err := s.try()
					if err == nil {
						t.Errorf("%s, client %v: taken over with another %s", tls.VersionName(version), client, c.name)
					}
					for _, b := range [][]byte{p.In.Secret, p.Out.Secret, p.In.Key, p.Out.Key} {
						if !bytes.Equal(b, make([]byte, len(b))) {
							t.Errorf("%s: secrets beside the error", c.name)
						}
					}
				}
			})
		}
	}
}

// A peer of TLS 1.2 may cut its Finished in pieces, with a warning in between: the next record has the next number.
func TestFinishedInPieces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := shakenOf(t, tls.VersionTLS12, false)
		p, err := s.try()
		if err != nil || p.In.Seq != 1 {
			t.Fatalf("whole: %v, next number %d", err, p.In.Seq)
		}
		o, err := suites[p.Suite].opener(p.In.Key, p.In.IV)
		if err != nil {
			t.Fatal(err)
		}
		seen := &s.gate.seen
		_, content, _ := o.open(seen.inSealed[0])
		w := newWay(&p, &p.In)
		w.seq = 0
		seal := func(kind byte, b []byte) {
			head := []byte{kind, 3, 3, 0, byte(8 + len(b) + tagLen)}
			rec := append(bytes.Clone(head), w.nonce()[4:]...)
			seen.inSealed = append(seen.inSealed, w.aead.Seal(rec, w.nonce(), b, w.aad(head, len(b))))
			w.seq++
		}
		seen.inSealed = nil
		seal(typeHandshake, content[:5])
		seal(typeAlert, []byte{1, 90})
		seal(typeHandshake, content[5:])
		if p, err = s.try(); err != nil || p.In.Seq != 3 {
			t.Errorf("in pieces: %v, next number %d", err, p.In.Seq)
		}
	})
}
