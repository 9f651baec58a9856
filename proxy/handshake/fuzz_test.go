package handshake

import (
	"bytes"
	"crypto/tls"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ircferry/ircferry/internal/certs/certtest"
)

// cuts feeds p in pieces whose lengths the fuzzer has chosen, the last one as long as need be.
func cuts(p, lengths []byte, feed func([]byte)) {
	for _, n := range lengths {
		n := min(int(n), len(p))
		feed(p[:n])
		p = p[n:]
	}
	feed(p)
}

// stranger shakes hands with who says p in these pieces and then ends.
func stranger(cfg *tls.Config, p, lengths []byte) (res Result, answered []byte) {
	done := make(chan Result, 1)
	h := Server(cfg, Options{Slots: NewSlots(1), Write: func(b []byte) { answered = append(answered, b...) }, Done: func(r Result) { done <- r }})
	cuts(p, lengths, h.Feed)
	h.End(io.EOF)
	select {
	case res = <-done:
	case <-time.After(patience):
		panic("the handshake does not end")
	}
	if read := len(p) - len(h.Rest()); read < 0 || !bytes.Equal(h.Rest(), p[read:]) {
		panic("what is left is not the end of what was fed")
	}
	return res, answered
}

// Whatever a stranger says: the handshake ends, nothing is lost of what lies behind it, and how his bytes were cut changes nothing.
func FuzzServer(f *testing.F) {
	cfg := serverConfig(certtest.SelfSigned(f, certtest.Options{}), ServerOptions{Tickets: NewTickets(), RequestCert: true})
	for _, version := range versions {
		var hello []byte
		h := Client(&tls.Config{ServerName: "irc.test", MaxVersion: version}, Options{Write: func(p []byte) { hello = p }, Done: func(Result) {}})
		h.slots = nil
		h.gate.end(io.EOF)
		h.run()
		f.Add(hello, []byte{1, 4, 200})
		f.Add(append(hello, hello...), []byte{})
		cut := bytes.Clone(hello)
		cut[headerLen+1], cut[headerLen+2], cut[headerLen+3] = 0, 0, 9
		f.Add(cut, []byte{0, 0, 5})
	}
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), []byte{2})
	f.Add([]byte("\x16\x03\x01\x00\x00\x16\x03\x01\x00\x00\x15\x03\x01\x00\x02\x01\x00"), []byte{3, 3})
	f.Add([]byte("\x80\x2e\x01\x03\x01\x00"), []byte{})
	f.Fuzz(func(t *testing.T, p, lengths []byte) {
		whole, alert := stranger(cfg, p, nil)
		cut, cutAlert := stranger(cfg, p, lengths)
		if whole.Err == nil || cut.Err == nil {
			t.Fatal("a handshake without a client")
		}
		if whole.Err.Error() != cut.Err.Error() {
			t.Errorf("whole: %v, in pieces: %v", whole.Err, cut.Err)
		}
		if (len(alert) == 0) != (len(cutAlert) == 0) { // signatures differ in length
			t.Errorf("whole: answered %d bytes, in pieces %d", len(alert), len(cutAlert))
		}
	})
}

// edit is what happens to the stream of a client on its way: at a byte, something is changed, cut out or put in.
func edit(p []byte, at *int, script []byte) []byte {
	out := bytes.Clone(p)
	for ; len(script) >= 4; script = script[4:] {
		i := int(script[0])<<8 + int(script[1]) - *at
		if i < 0 || i >= len(out) {
			continue
		}
		switch script[2] % 3 {
		case 0:
			out[i] ^= script[3]
		case 1:
			out = append(out[:i], out[min(len(out), i+int(script[3])):]...)
		case 2:
			out = append(out[:i:i], append(bytes.Repeat(script[3:4], 1+int(script[2]/3)), out[i:]...)...)
		}
	}
	*at += len(p)
	return out
}

// A client whose stream is changed on its way, also behind its hello: the server's handshake ends without a panic, and if it is taken over both ends
// have the same secrets.
func FuzzEditedClient(f *testing.F) {
	p := certtest.SelfSigned(f, certtest.Options{})
	sc := serverConfig(p, ServerOptions{Tickets: NewTickets(), RequestCert: true})
	f.Add(false, []byte{0, 50, 0, 1})
	f.Add(true, []byte{0, 50, 0, 1})
	f.Add(true, []byte{0, 200, 0, 1, 0, 220, 2, 1, 0, 230, 1, 4})
	f.Add(false, []byte{})
	f.Add(true, []byte{})
	f.Add(true, []byte{1, 0, 8, 20, 1, 40, 1, 3})
	f.Fuzz(func(t *testing.T, old bool, script []byte) {
		if len(script) > 64 {
			return
		}
		synctest.Test(t, func(t *testing.T) {
			cc := ClientConfig(ClientOptions{ServerName: "irc.test"})
			cc.InsecureSkipVerify = true // the time in here is another
			if old {
				cc.MaxVersion = tls.VersionTLS12
			}
			at := 0
			l := newLink(sc, cc, NewSlots(1), func(p []byte) []byte { return edit(p, &at, script) })
			l.client.Start()
			synctest.Wait()
			l.server.End(io.EOF)
			l.client.End(io.EOF)
			synctest.Wait()
			if len(l.server.done) != 1 || len(l.client.done) != 1 {
				t.Fatalf("%d and %d results", len(l.server.done), len(l.client.done))
			}
			s, c := &l.server.done[0], &l.client.done[0]
			if len(script) < 4 && (s.Err != nil || c.Err != nil) {
				t.Fatalf("nothing was changed: %v, %v", s.Err, c.Err)
			}
			if s.Err == nil && c.Err == nil && (!bytes.Equal(s.Params.In.Secret, c.Params.Out.Secret) || !bytes.Equal(s.Params.In.Key, c.Params.Out.Key)) {
				t.Error("the ends do not agree")
			}
		})
	})
}

// Whatever else is taken for a record of ours or of the peer, and whichever of ours are missing: it is refused. (Of TLS 1.3 it cannot
// be known that the last ones are missing.)
func FuzzTakeOver(f *testing.F) {
	for _, tls13 := range []bool{false, true} {
		for _, client := range []bool{false, true} {
			f.Add(tls13, client, []byte{0, 9}, uint8(0), false)
			f.Add(tls13, client, []byte{23, 3, 3, 0, 1, 0, 22, 3, 3, 0, 0}, uint8(1), true)
			f.Add(tls13, client, append([]byte{23, 3, 3, 4, 0}, make([]byte, mostIn)...), uint8(0), true)
			f.Add(tls13, client, []byte{20, 3, 3, 0, 1, 1, 22, 3, 3, 0, 2, 1, 1}, uint8(9), false)
		}
	}
	f.Fuzz(func(t *testing.T, tls13, client bool, p []byte, drop uint8, in bool) {
		version := versions[0]
		if tls13 {
			version = versions[1]
		}
		synctest.Test(t, func(t *testing.T) {
			s := shakenOf(t, version, client)
			seen := &s.gate.seen
			left := max(0, len(seen.outSealed)-int(drop))
			dropped := left < len(seen.outSealed)
			seen.outSealed = seen.outSealed[:left]
			came := seen.inBytes
			if in && len(p) >= headerLen {
				seen.in(p)
			} else {
				seen.out(p)
			}
			bad := seen.broken || len(seen.outSealed) > left || left == 0 || !tls13 && (dropped || seen.inBytes > came)
			if _, err := s.try(); (err != nil) != bad {
				t.Errorf("%v", err)
			}
		})
	})
}
