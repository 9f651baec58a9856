package wire

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

const (
	suite13 = tls.TLS_AES_128_GCM_SHA256
	suite12 = tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
	chacha2 = tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
)

// forge makes a record of any type and content under the keys of o.
func (o *ours) forge(typ uint8, content []byte) []byte {
	o.t.Helper()
	w := o.s.sealer(o.id, o.s.TLS(o.id))
	w.record(typ, content)
	return bytes.Clone(w.commit())
}

// forgePadded makes a TLS 1.3 record with pad bytes of padding, at least one.
func (o *ours) forgePadded(typ uint8, content []byte, pad int) []byte {
	o.t.Helper()
	inner := append(append(bytes.Clone(content), typ), make([]byte, pad-1)...)
	return o.forge(0, inner)
}

// forgeUpdate makes a KeyUpdate in records of these many bytes and a last one with what is left, and goes over to the next keys.
func (o *ours) forgeUpdate(request uint8, pieces ...int) []byte {
	o.t.Helper()
	w := o.s.sealer(o.id, o.s.TLS(o.id))
	message := []byte{msgKeyUpdate, 0, 0, 1, request}
	for _, n := range append(pieces, len(message)) {
		n = min(n, len(message))
		w.record(typeHandshake, message[:n])
		message = message[n:]
	}
	w.su.update(&w.r.Keys, w.keys)
	w.keys, w.aead = &w.r.Keys, w.su.aead(&w.r.Keys)
	w.r.Updated, w.r.Seq = 1, 0
	return bytes.Clone(w.commit())
}

func flipped(b []byte, i int) []byte {
	b = bytes.Clone(b)
	b[(i+len(b))%len(b)] ^= 1
	return b
}

func repeat(n int, one func() []byte) []byte {
	var all []byte
	for range n {
		all = append(all, one()...)
	}
	return all
}

// Each is refused with this reason and alert, and what was before it is still given.
func TestHostileRecords(t *testing.T) {
	app := func(p *ours) []byte { return p.seal([]byte("line\r\n")) }
	sent := func(typ uint8, content ...byte) func(p *ours) []byte {
		return func(p *ours) []byte { return p.forge(typ, content) }
	}
	raw := func(b ...byte) func(p *ours) []byte { return func(*ours) []byte { return b } }
	both := func(a, b func(p *ours) []byte) func(p *ours) []byte {
		return func(p *ours) []byte { return append(a(p), b(p)...) }
	}
	for _, c := range []struct {
		name   string
		suite  uint16
		client bool // we are the client
		bytes  func(p *ours) []byte
		want   string // reason and alert
	}{
		{"tag", suite13, false, func(p *ours) []byte { return flipped(app(p), -1) }, "bad_record 20"},
		{"tag 1.2", suite12, false, func(p *ours) []byte { return flipped(app(p), -1) }, "bad_record 20"},
		{"tag 1.2 ChaCha20", chacha2, false, func(p *ours) []byte { return flipped(app(p), -1) }, "bad_record 20"},
		{"ciphertext", suite13, false, func(p *ours) []byte { return flipped(app(p), 6) }, "bad_record 20"},
		{"nonce 1.2", suite12, false, func(p *ours) []byte { return flipped(app(p), 9) }, "bad_record 20"},
		{"version in the header", suite13, false, func(p *ours) []byte { return flipped(app(p), 2) }, "bad_record 20"},
		{"version in the header 1.2", suite12, false, func(p *ours) []byte { return flipped(app(p), 2) }, "record_version 70"},
		{"type in the header 1.2", suite12, false, func(p *ours) []byte { return flipped(app(p), 0) }, "bad_record 20"},
		{"replay", suite13, false, func(p *ours) []byte { b := app(p); return append(b, b...) }, "bad_record 20"},
		{"replay 1.2", suite12, false, func(p *ours) []byte { b := app(p); return append(b, b...) }, "bad_record 20"},
		{"dropped", suite13, false, func(p *ours) []byte { app(p); return app(p) }, "bad_record 20"},
		{"swapped 1.2", chacha2, false, func(p *ours) []byte { b := app(p); return append(app(p), b...) }, "bad_record 20"},
		{"header of 16641", suite13, false, raw(23, 3, 3, 0x41, 0x01), "oversize 22"},
		{"header of 18433 1.2", suite12, false, raw(23, 3, 3, 0x48, 0x01), "oversize 22"},
		{"content of 16385", suite13, false, func(p *ours) []byte { return p.forge(23, make([]byte, 16385)) }, "oversize 22"},
		{"content and padding of 16385", suite13, false, func(p *ours) []byte { return p.forgePadded(23, make([]byte, 16000), 385) }, "oversize 22"},
		{"content of 16385 1.2", suite12, false, func(p *ours) []byte { return p.forge(23, make([]byte, 16385)) }, "oversize 22"},
		{"header of 16", suite13, false, raw(23, 3, 3, 0, 16), "bad_record 20"},
		{"header of 0", suite13, false, raw(23, 3, 3, 0, 0), "bad_record 20"},
		{"header of 23 1.2", suite12, false, raw(23, 3, 3, 0, 23), "bad_record 20"},
		{"plaintext alert", suite13, false, raw(21, 3, 3, 0, 2, 2, 40), "unexpected_message 10"},
		{"plaintext alert 1.2", suite12, false, raw(21, 3, 3, 0, 2, 2, 40), "bad_record 20"},
		{"change_cipher_spec", suite13, false, raw(20, 3, 3, 0, 1, 1), "unexpected_message 10"},
		{"change_cipher_spec 1.2", suite12, false, sent(20, 1), "unexpected_message 10"},
		{"plaintext hello", suite13, false, raw(22, 3, 1, 2, 0), "unexpected_message 10"},
		{"plaintext IRC", suite13, false, raw([]byte("NICK a\r\n")...), "unexpected_message 10"},
		{"plaintext IRC 1.2", suite12, false, raw([]byte("NICK a\r\n")...), "unexpected_message 10"},
		{"heartbeat", suite13, false, sent(24, 1), "unexpected_message 10"},
		{"heartbeat 1.2", suite12, false, raw(24, 3, 3, 0, 30), "unexpected_message 10"},
		{"inner change_cipher_spec", suite13, false, sent(20, 1), "unexpected_message 10"},
		{"no type", suite13, false, sent(0, 0, 0, 0), "unexpected_message 10"},
		{"empty handshake", suite13, false, sent(22), "unexpected_message 10"},
		{"empty handshake 1.2", suite12, false, sent(22), "unexpected_message 10"},
		{"empty alert", suite13, false, sent(21), "unexpected_message 10"},
		{"half an alert", suite13, false, sent(21, 1), "malformed 50"},
		{"two alerts 1.2", suite12, false, sent(21, 1, 90, 1, 90), "malformed 50"},
		{"alert of no level 1.2", suite12, false, sent(21, 3, 90), "malformed 47"},
		{"their alert", suite13, false, sent(21, 2, 80), "alert 0"},
		{"their alert as a warning", suite13, false, sent(21, 1, 80), "alert 0"},
		{"their alert 1.2", suite12, false, sent(21, 2, 80), "alert 0"},
		{"33 empty records", suite13, false, func(p *ours) []byte { return repeat(33, func() []byte { return p.forge(23, nil) }) }, "flood 10"},
		{"33 padded records", suite13, false, func(p *ours) []byte { return repeat(33, func() []byte { return p.forgePadded(23, nil, 99) }) }, "flood 10"},
		{"1,000 empty records", suite13, false, func(p *ours) []byte { return repeat(1000, func() []byte { return p.forge(23, nil) }) }, "flood 10"},
		{"1,000 empty records 1.2", suite12, false, func(p *ours) []byte { return repeat(1000, func() []byte { return p.forge(23, nil) }) }, "flood 10"},
		{"1,000 warnings", suite13, false, func(p *ours) []byte { return repeat(1000, func() []byte { return p.forge(21, []byte{1, 90}) }) }, "flood 10"},
		{"1,000 warnings 1.2", suite12, false, func(p *ours) []byte { return repeat(1000, func() []byte { return p.forge(21, []byte{1, 41}) }) }, "flood 10"},
		{"10,000 key updates", suite13, false, func(p *ours) []byte { return repeat(10_000, func() []byte { return p.forgeUpdate(0) }) }, "flood 10"},
		{"33 answered key updates", suite13, false, func(p *ours) []byte { return repeat(33, func() []byte { return p.forgeUpdate(1) }) }, "flood 10"},
		{"33 tickets", suite13, true, func(p *ours) []byte { return repeat(33, func() []byte { return p.forge(22, []byte{4, 0, 0, 1, 0}) }) }, "flood 10"},
		{"33 tickets in a record", suite13, true, func(p *ours) []byte { return p.forge(22, bytes.Repeat([]byte{4, 0, 0, 1, 0}, 33)) }, "flood 10"},
		{"33 hello requests 1.2", suite12, true, func(p *ours) []byte { return p.forge(22, bytes.Repeat([]byte{0, 0, 0, 0}, 33)) }, "flood 10"},
		{"data between the pieces of a message", suite13, false, both(sent(22, 24, 0), app), "interleaved 10"},
		{"alert between the pieces of a message", suite13, false, both(sent(22, 24, 0), sent(21, 1, 0)), "interleaved 10"},
		{"data in a ticket", suite13, true, both(sent(22, 4, 0, 1, 0, 7), app), "interleaved 10"},
		{"data in a hello 1.2", suite12, false, both(sent(22, 1, 0, 1, 0, 7), app), "interleaved 10"},
		{"key update with more behind it", suite13, false, sent(22, 24, 0, 0, 1, 0, 24), "unexpected_message 10"},
		{"two key updates in a record", suite13, false, sent(22, 24, 0, 0, 1, 0, 24, 0, 0, 1, 0), "unexpected_message 10"},
		{"key update with 2", suite13, false, sent(22, 24, 0, 0, 1, 2), "malformed 47"},
		{"key update of two bytes", suite13, false, sent(22, 24, 0, 0, 2, 0, 0), "malformed 50"},
		{"key update of no byte", suite13, false, sent(22, 24, 0, 0, 0), "malformed 50"},
		{"key update 1.2", suite12, false, sent(22, 24, 0, 0, 1, 0), "unexpected_message 10"},
		{"client hello", suite13, false, sent(22, 1, 0, 1, 0), "unexpected_message 10"},
		{"ticket to a server", suite13, false, sent(22, 4), "unexpected_message 10"},
		{"end of early data", suite13, false, sent(22, 5, 0, 0, 0), "unexpected_message 10"},
		{"finished", suite13, false, sent(22, 20, 0, 0, 32), "unexpected_message 10"},
		{"certificate request", suite13, true, sent(22, 13, 0, 0, 9), "unexpected_message 10"},
		{"hello request", suite13, true, sent(22, 0, 0, 0, 0), "unexpected_message 10"},
		{"hello request to a server 1.2", suite12, false, sent(22, 0, 0, 0, 0), "unexpected_message 10"},
		{"hello request with a body 1.2", suite12, true, sent(22, 0, 0, 0, 1, 0), "malformed 50"},
		{"ticket after the handshake 1.2", suite12, true, sent(22, 4, 0, 0, 9), "unexpected_message 10"},
		{"empty ticket", suite13, true, sent(22, 4, 0, 0, 0), "malformed 50"},
		{"ticket over 64 KiB", suite13, true, sent(22, 4, 1, 0, 1), "malformed 50"},
		{"ticket of 16 MiB", suite13, true, sent(22, 4, 255, 255, 255), "malformed 50"},
		{"second renegotiation 1.2", suite12, false, both(sent(22, 1, 0, 0, 2, 3, 3), sent(22, 1, 0, 0, 2, 3, 3)), "renegotiation 40"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, p := newPair(t, c.suite)
			if c.client {
				o, p = p, o
			}
			first := p.seal([]byte("first\r\n"))
			plain, got, err := o.read(append(first, c.bytes(p)...))
			var e *TLSError
			if !errors.As(err, &e) {
				t.Fatalf("got %q, %+v, %v; want %s", plain, got, err, c.want)
			}
			if s := fmt.Sprintf("%s %d", e.Reason, e.Alert); s != c.want {
				t.Errorf("refused with %s, want %s", s, c.want)
			}
			if !bytes.HasPrefix(plain, []byte("first\r\n")) {
				t.Errorf("what was before is %q", plain)
			}
			if !slices.Contains(TLSReasons, e.Reason) {
				t.Errorf("%s is not among the reasons", e.Reason)
			}
			if (e.Got != 0) != (e.Reason == "alert") || e.Got != 0 && e.Got != 80 {
				t.Errorf("alert of the peer: %d", e.Got)
			}
			mustBeBroken(t, o, p)
		})
	}
}

// mustBeBroken says that nothing more is opened, nothing is kept, and that an alert can still be sent, once.
func mustBeBroken(t *testing.T, o, p *ours) {
	t.Helper()
	plain, _, err := o.read(p.seal([]byte("later\r\n")))
	var e *TLSError
	if len(plain) > 0 || !errors.As(err, &e) || e.Alert != 0 {
		t.Errorf("after the error: %q, %v", plain, err)
	}
	if n := o.a.Stats().Chunks; n != 0 {
		t.Errorf("%d chunks in use", n)
	}
	alert, err := o.s.SealAlert(o.id, 20)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = p.read(bytes.Clone(alert))
	if !errors.As(err, &e) || e.Reason != "alert" && e.Reason != "bad_record" || e.Got != 20 && e.Reason == "alert" {
		t.Errorf("the peer reads our alert as %v", err)
	}
	if _, err := o.s.Seal(o.id, []byte("x")); !errors.Is(err, ErrTLSEnded) {
		t.Errorf("seal behind the alert: %v", err)
	}
	if _, err := o.s.SealAlert(o.id, 0); !errors.Is(err, ErrTLSEnded) {
		t.Errorf("second alert: %v", err)
	}
	if _, err := o.s.SealReply(o.id); !errors.Is(err, ErrTLSEnded) {
		t.Errorf("reply behind the alert: %v", err)
	}
}

// What is at the bounds, but within them.
func TestUnusualButAllowed(t *testing.T) {
	for _, c := range []struct {
		name   string
		suite  uint16
		client bool
		bytes  func(p *ours) []byte
		want   int // bytes of application data
	}{
		{"padding", suite13, false, func(p *ours) []byte { return p.forgePadded(23, []byte("abc"), 200) }, 3},
		{"as much padding as there may be", suite13, false, func(p *ours) []byte { return p.forgePadded(23, []byte("abc"), 16384-3) }, 3},
		{"16384 bytes", suite13, false, func(p *ours) []byte { return p.forge(23, make([]byte, 16384)) }, 16384},
		{"16384 bytes 1.2", suite12, false, func(p *ours) []byte { return p.forge(23, make([]byte, 16384)) }, 16384},
		{"zeros at the end", suite13, false, func(p *ours) []byte { return p.forge(23, []byte{1, 0, 0}) }, 3},
		{"32 empty records, twice", suite13, false, func(p *ours) []byte {
			empty := func() []byte { return repeat(32, func() []byte { return p.forge(23, nil) }) }
			return append(append(empty(), p.forge(23, []byte("a"))...), empty()...)
		}, 1},
		{"user_canceled", suite13, false, func(p *ours) []byte { return append(p.forge(21, []byte{1, 90}), p.forge(23, []byte("a"))...) }, 1},
		{"a warning 1.2", suite12, false, func(p *ours) []byte { return append(p.forge(21, []byte{1, 100}), p.forge(23, []byte("a"))...) }, 1},
		{"tickets", suite13, true, func(p *ours) []byte {
			return append(p.forge(22, append([]byte{4, 0, 0, 2, 1, 2}, 4, 0, 0, 1, 9)), p.forge(23, []byte("a"))...)
		}, 1},
		{"a ticket of 64 KiB", suite13, true, func(p *ours) []byte {
			ticket := append([]byte{4, 1, 0, 0}, make([]byte, 1<<16)...)
			var all []byte
			for len(ticket) > 0 {
				n := min(len(ticket), 9999)
				all, ticket = append(all, p.forge(22, ticket[:n])...), ticket[n:]
			}
			return append(all, p.forge(23, []byte("a"))...)
		}, 1},
		{"a key update byte by byte", suite13, false, func(p *ours) []byte {
			return append(p.forgeUpdate(0, 1, 1, 1, 1), p.forge(23, []byte("a"))...)
		}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, p := newPair(t, c.suite)
			if c.client {
				o, p = p, o
			}
			plain, got, err := o.read(c.bytes(p))
			if err != nil || len(plain) != c.want || got.Closed {
				t.Errorf("%d bytes, %+v, %v; want %d", len(plain), got, err, c.want)
			}
			if n := o.a.Stats().Chunks; n != 0 {
				t.Errorf("%d chunks in use", n)
			}
			if plain := o.mustRead(p.seal([]byte("and on\r\n"))); string(plain) != "and on\r\n" {
				t.Errorf("behind it comes %q", plain)
			}
		})
	}
}

// One key update a second is no flood, for as long as it goes on, also if the clock begins anew in another process.
func TestSlowKeyUpdatesAreNoFlood(t *testing.T) {
	o, p := newPair(t, suite13)
	for i := range 200 {
		o.now = time.Duration(i%150) * time.Second
		o.mustRead(p.forgeUpdate(0))
	}
	if got := o.s.TLS(o.id).In.Epoch; got != 200 {
		t.Errorf("epoch %d", got)
	}
	o.mustRead(repeat(maxMessages-2, func() []byte { return p.forgeUpdate(0) }))
	if _, _, err := o.read(repeat(3, func() []byte { return p.forgeUpdate(0) })); err == nil {
		t.Error("more than the bucket holds is no flood")
	}
}

func TestCloseNotifyEndsIt(t *testing.T) {
	for _, suite := range []uint16{suite13, suite12, chacha2} {
		o, p := newPair(t, suite)
		b := p.seal([]byte("last\r\n"))
		alert, err := p.s.SealAlert(p.id, AlertCloseNotify)
		if err != nil {
			t.Fatal(err)
		}
		b = append(append(b, alert...), "something that is no record"...)
		plain, got, err := o.read(b)
		if string(plain) != "last\r\n" || !got.Closed || err != nil || !o.s.TLS(o.id).Flags.Has(TLSClosed) {
			t.Errorf("%q, %+v, %v", plain, got, err)
		}
		plain, got, err = o.read([]byte("more of it"))
		if len(plain) > 0 || !got.Closed || err != nil || o.a.Stats().Chunks != 0 {
			t.Errorf("behind the end: %q, %+v, %v", plain, got, err)
		}
		// Our direction is open until we end it.
		if got := p.mustRead(o.seal([]byte("answer\r\n"))); string(got) != "answer\r\n" {
			t.Errorf("peer reads %q", got)
		}
	}
}

// An attempt at renegotiation is answered with one warning, and the connection goes on.
func TestRenegotiationIsRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		client bool
		hello  []byte
	}{
		{"server", false, append([]byte{1, 0, 2, 0}, make([]byte, 512)...)},
		{"client", true, []byte{0, 0, 0, 0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, p := newPair(t, suite12)
			if c.client {
				o, p = p, o
			}
			half := len(c.hello) / 2
			if _, got, err := o.read(p.forge(22, c.hello[:half])); got.Reply || err != nil {
				t.Fatalf("half of it: %+v, %v", got, err)
			}
			plain, got, err := o.read(append(p.forge(22, c.hello[half:]), p.forge(23, []byte("x"))...))
			if string(plain) != "x" || !got.Reply || err != nil {
				t.Fatalf("%q, %+v, %v", plain, got, err)
			}
			reply, err := o.s.SealReply(o.id)
			if err != nil {
				t.Fatal(err)
			}
			mustBeAlert(t, p, reply, levelWarning, alertNoRenegotiation)
			if again, err := o.s.SealReply(o.id); len(again) > 0 || err != nil {
				t.Errorf("a second reply of %d bytes, %v", len(again), err)
			}
			if c.client { // a server may ask again; it is told nothing more
				if _, got, err := o.read(p.forge(22, c.hello)); got.Reply || err != nil {
					t.Errorf("again: %+v, %v", got, err)
				}
			}
		})
	}
}

// mustBeAlert opens one record with the keys of p and looks at its content.
func mustBeAlert(t *testing.T, p *ours, record []byte, level, alert uint8) {
	t.Helper()
	state := p.s.TLS(p.id)
	su := suiteOf(state.Suite)
	o := opener{s: p.s, r: p.s.begin(p.id, state, tlsIn), su: su, keys: &state.In, aead: su.aead(&state.In), plain: p.s.plain()}
	typ, content, err := o.unprotect(record)
	if err != nil || typ != typeAlert || !bytes.Equal(content, []byte{level, alert}) {
		t.Errorf("record of type %d with %x, %v; want alert %d %d", typ, content, err, level, alert)
	}
}
