package wire

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"strings"
	"testing"
)

var suites13All = []uint16{tls.TLS_AES_128_GCM_SHA256, tls.TLS_AES_256_GCM_SHA384, tls.TLS_CHACHA20_POLY1305_SHA256}

// crypto/tls follows our key updates, also when the limit comes in the middle of a Seal.
func TestCryptoTLSFollowsOurKeyUpdates(t *testing.T) {
	for _, suite := range suites13All {
		for _, client := range []bool{false, true} {
			c := tlsCase{version: tls.VersionTLS13, suite: suite, client: client}
			p, params := c.shake(t)
			o := newOurs(t, params)
			o.s.tls.updates = 2
			text := pattern(3*maxContent + 100) // four records: the update comes in the middle
			for i := range 40 {
				p.feed(o.seal(text))
				if got := p.read(t, len(text)); !bytes.Equal(got, text) {
					t.Fatalf("round %d: comes out otherwise", i)
				}
				text = text[len(text)/40:]
			}
			if e := o.s.TLS(o.id).Out.Epoch; e < 20 {
				t.Errorf("%d key updates", e)
			}
		}
	}
}

// crypto/tls answers a request with an update of its own keys, which we follow. We ask for none ourselves: the request is forged.
func TestWeFollowCryptoTLSKeyUpdates(t *testing.T) {
	for _, suite := range suites13All {
		for _, client := range []bool{false, true} {
			c := tlsCase{version: tls.VersionTLS13, suite: suite, client: client}
			p, params := c.shake(t)
			o := newOurs(t, params)
			for i := range 20 {
				p.feed(append(o.forgeUpdate(1), o.seal([]byte("question"))...))
				if got := p.read(t, 8); string(got) != "question" {
					t.Fatalf("round %d: %q", i, got)
				}
				if _, err := p.Write([]byte("answer")); err != nil {
					t.Fatal(err)
				}
				plain, got, err := o.read(p.sent())
				if string(plain) != "answer" || got.Reply || err != nil {
					t.Fatalf("round %d: %q, %+v, %v", i, plain, got, err)
				}
			}
			state := o.s.TLS(o.id)
			if state.In.Epoch != 20 || state.Out.Epoch != 20 {
				t.Errorf("epochs %d in, %d out", state.In.Epoch, state.Out.Epoch)
			}
		}
	}
}

// However often the peer asks before we write, it gets one update_not_requested.
func TestOneReplyToManyRequests(t *testing.T) {
	o, p := newPair(t, suite13)
	_, got, err := o.read(append(p.forgeUpdate(1), append(p.forgeUpdate(1), p.forgeUpdate(0)...)...))
	if !got.Reply || err != nil {
		t.Fatalf("%+v, %v", got, err)
	}
	reply, err := o.s.SealReply(o.id)
	if err != nil {
		t.Fatal(err)
	}
	_, got, err = p.read(bytes.Clone(reply))
	if got.Reply || err != nil {
		t.Errorf("our reply asks for a reply: %+v, %v", got, err)
	}
	if e := p.s.TLS(p.id).In.Epoch; e != 1 {
		t.Errorf("%d updates in our reply", e)
	}
	if b, err := o.s.SealReply(o.id); len(b) > 0 || err != nil {
		t.Errorf("another reply of %d bytes, %v", len(b), err)
	}
	// Without SealReply the next Seal has it.
	o.mustRead(p.forgeUpdate(1))
	if got := p.mustRead(o.seal([]byte("line\r\n"))); string(got) != "line\r\n" || p.s.TLS(p.id).In.Epoch != 2 {
		t.Errorf("%q after %d updates", got, p.s.TLS(p.id).In.Epoch)
	}
}

// 10,000 of ours, as in some years of a busy connection; each once the limit is reached and not before.
func TestTenThousandKeyUpdatesOfOurs(t *testing.T) {
	unchecked(t)
	o, p := newPair(t, suite13)
	o.s.tls.updates = 2
	for i := range 20_000 {
		p.now += 1e9
		if got := p.mustRead(o.seal([]byte("line\r\n"))); string(got) != "line\r\n" {
			t.Fatalf("record %d: %q", i, got)
		}
		if e := o.s.TLS(o.id).Out.Epoch; int(e) != i/2 {
			t.Fatalf("after %d records: %d updates", i+1, e)
		}
	}
	if e := p.s.TLS(p.id).In.Epoch; e != 9_999 {
		t.Errorf("peer: epoch %d", e)
	}
}

func TestKeyUpdateComesInTime(t *testing.T) {
	o, p := newPair(t, suite13)
	o.s.TLS(o.id).OutSeq, p.s.TLS(p.id).InSeq = updateAfter-2, updateAfter-2
	for i, want := range []uint32{0, 0, 1, 1} {
		p.mustRead(o.seal([]byte("line\r\n")))
		if e := o.s.TLS(o.id).Out.Epoch; e != want {
			t.Errorf("record %d: %d updates, want %d", i, e, want)
		}
	}
	// TLS 1.2 has none and goes on, up to numbers that nobody reaches.
	o, p = newPair(t, suite12)
	o.s.TLS(o.id).OutSeq, p.s.TLS(p.id).InSeq = 1<<40, 1<<40
	p.mustRead(o.seal([]byte("line\r\n")))
	o.s.TLS(o.id).OutSeq = maxSeq + 1
	if _, err := o.s.Seal(o.id, []byte("x")); !errors.Is(err, ErrTLSEnded) {
		t.Errorf("after 2^63 records: %v", err)
	}
	if _, err := o.s.SealAlert(o.id, 0); !errors.Is(err, ErrTLSEnded) {
		t.Errorf("alert after 2^63 records: %v", err)
	}
	p.s.TLS(p.id).InSeq = maxSeq
	if _, _, err := p.read(p.forge(23, []byte("x"))); err == nil {
		t.Error("opens after 2^63 records")
	}
}

// The alerts mean to crypto/tls what they should.
func TestCryptoTLSUnderstandsOurAlerts(t *testing.T) {
	for _, c := range tlsCases() {
		p, params := c.shake(t)
		o := newOurs(t, params)
		end, err := o.s.SealAlert(o.id, AlertCloseNotify)
		if err != nil {
			t.Fatal(err)
		}
		p.feed(bytes.Clone(end))
		if _, err := p.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("%s: close_notify is %v", c.name, err)
		}
		if err := p.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if _, got, err := o.read(p.sent()); !got.Closed || err != nil {
			t.Errorf("%s: its close_notify is %+v, %v", c.name, got, err)
		}

		p, params = c.shake(t)
		o = newOurs(t, params)
		bad, err := o.s.SealAlert(o.id, alertRecordOverflow)
		if err != nil {
			t.Fatal(err)
		}
		p.feed(bytes.Clone(bad))
		if _, err := p.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "record overflow") {
			t.Errorf("%s: record_overflow is %v", c.name, err)
		}
	}
}

// A server of crypto/tls sends its ticket at the end of the handshake: as client we have it as our first record.
func TestTicketIsSkipped(t *testing.T) {
	c := tlsCase{version: tls.VersionTLS13, suite: suite13, client: true, tickets: true}
	p, params := c.shake(t)
	o := newOurs(t, params)
	if _, err := p.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	_, tickets := splitTickets(t, p)
	if got := o.mustRead(tickets); string(got) != "hello" || o.s.TLS(o.id).InSeq != 2 {
		t.Errorf("%q at sequence number %d", got, o.s.TLS(o.id).InSeq)
	}
}

// splitTickets takes the records of the handshake off what the server has sent: the last two are the ticket and the data.
func splitTickets(t *testing.T, p *peer) (handshake, rest []byte) {
	t.Helper()
	all := p.pipe.out.all
	var at []int
	for i := 0; i < len(all); i += headerLen + int(all[i+3])<<8 + int(all[i+4]) {
		at = append(at, i)
	}
	n := at[len(at)-2]
	return all[:n], all[n:]
}
