package wire

import (
	"bytes"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	mrand "math/rand/v2"
	"testing"
)

// world is what is outside of the process that has the connection: it stays when that is killed.
type world struct {
	in       []byte // from the peer
	consumed int    // bytes of in that a read has taken out of the kernel
	opened   []byte // application data that was passed on
	text     []byte // to the peer
	sent     []byte // records that a write has given to the kernel
}

// carry relays what is left, in pieces of any size. Which ones does not matter for what comes out.
func (w *world) carry(t testing.TB, s *Shard, id TLSID, rnd *mrand.Rand) {
	t.Helper()
	annex := s.TLS(id)
	for w.consumed < len(w.in) || int(annex.Totals.Sealed) < len(w.text) {
		if w.consumed < len(w.in) {
			room := s.ReadRoom(id)
			n := copy(room, w.in[w.consumed:min(len(w.in), w.consumed+1+rnd.IntN(9000))])
			w.consumed += n
			w.open(t, s, id, n)
		}
		if left := w.text[annex.Totals.Sealed:]; len(left) > 0 {
			b, err := s.Seal(id, left[:1+rnd.IntN(min(len(left), 20_000))])
			if err != nil {
				t.Fatal(err)
			}
			w.sent = append(w.sent, b...)
		}
	}
}

func (w *world) open(t testing.TB, s *Shard, id TLSID, n int) {
	t.Helper()
	got, err := s.Open(id, n, 0)
	if err != nil {
		t.Fatal(err)
	}
	w.opened = append(w.opened, got.Plain...)
}

// takeOver does what a successor does first: what the kernel has given and taken, beside what was committed, tells what lies in the
// staging buffers.
func (w *world) takeOver(t testing.TB, s *Shard, id TLSID) {
	t.Helper()
	annex := s.TLS(id)
	l := s.redoLog()
	last := &l.Records[l.Commits&1]
	if n := int(annex.Totals.Opened) - len(w.opened); n > 0 {
		if last.Dir != tlsIn || last.TLS != id || int(last.Made) < n {
			t.Fatalf("%d opened bytes are nowhere", n)
		}
		w.opened = append(w.opened, s.plain()[int(last.Made)-n:last.Made]...)
	}
	if n := int(annex.Totals.Sent) - len(w.sent); n > 0 {
		if last.Dir != tlsOut || last.TLS != id || int(last.Made) < n {
			t.Fatalf("%d sealed bytes are nowhere", n)
		}
		w.sent = append(w.sent, s.sealed()[int(last.Made)-n:last.Made]...)
	}
	if n := w.consumed - int(annex.Totals.Received); n > 0 {
		s.ReadRoom(id) // the bytes behind the partial record are still there
		w.open(t, s, id, n)
	}
}

// A process may end at any step of any transaction: another one that gets a copy of the file goes on, byte-exact, with key updates
// under way, and no record is sealed twice with different bytes.
func TestGoOnAfterAnyStep(t *testing.T) {
	for _, suite := range []uint16{suite13, tls.TLS_AES_256_GCM_SHA384, suite12, chacha2} {
		t.Run(tls.CipherSuiteName(suite), func(t *testing.T) {
			unchecked(t)
			o, p := newPair(t, suite)
			_, peer := newPair(t, suite) // opens what we seal; p seals what we open
			rnd := mrand.New(mrand.NewPCG(5, uint64(suite)))
			w := &world{text: pattern(120_000)}
			want := pattern(90_000)
			for left := want; len(left) > 0; {
				n := min(len(left), rnd.IntN(17_000))
				w.in = append(w.in, p.seal(left[:n])...)
				left = left[n:]
				if suiteOf(suite).tls13() {
					w.in = append(w.in, p.forgeUpdate(uint8(rnd.IntN(2)), 2, 1)...)
				}
			}
			o.s.tls.updates = 3

			type cut struct {
				step string
				fd   int
				w    world
			}
			var cuts []cut
			steps := map[string]int{}
			o.s.tls.step = func(step string) {
				steps[step]++
				cuts = append(cuts, cut{step, copyFile(t, o.a), *w})
			}
			w.carry(t, o.s, o.id, rnd)
			o.s.tls.step = nil
			if len(steps) != 4 || len(cuts) < 80 {
				t.Fatalf("%d cuts at the steps %v", len(cuts), steps)
			}
			check := func(what string, w *world) {
				t.Helper()
				if !bytes.Equal(w.opened, want) {
					t.Fatalf("%s: %d bytes opened, %d of them right", what, len(w.opened), commonPrefix(w.opened, want))
				}
				fresh := clonePeer(t, peer)
				if got := fresh.mustRead(w.sent); !bytes.Equal(got, w.text) {
					t.Fatalf("%s: the peer reads %d bytes, %d of them right", what, len(got), commonPrefix(got, w.text))
				}
			}
			check("uncut", w)
			for i, c := range cuts {
				t.Run(fmt.Sprintf("%d %s", i, c.step), func(t *testing.T) {
					a := attach(t, c.fd)
					c.w.opened, c.w.sent = bytes.Clone(c.w.opened), bytes.Clone(c.w.sent)
					s := a.Shard(0)
					s.tls.updates = 3
					c.w.takeOver(t, s, o.id)
					c.w.carry(t, s, o.id, rnd)
					check(c.step, &c.w)
					s.FreeTLS(o.id)
					if n := a.Stats().Chunks; n != 0 {
						t.Errorf("%d chunks in use", n)
					}
				})
			}
		})
	}
}

func commonPrefix(a, b []byte) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

// clonePeer makes another connection with the state of p, which has opened nothing yet.
func clonePeer(t testing.TB, p *ours) *ours {
	t.Helper()
	state := p.s.TLS(p.id)
	if state.Receiver != (TLSReceiver{}) || state.In.Epoch != 0 {
		t.Fatal("this peer has opened something")
	}
	_, fresh := newPair(t, state.Suite)
	return fresh
}

// secretsOf are all secret values in the annex that the file could still hold later.
func secretsOf(annex *TLS) map[string][]byte {
	m := map[string][]byte{}
	for name, k := range map[string]*TLSKeys{"in": &annex.In, "out": &annex.Out} {
		m[name+" secret"] = bytes.Clone(k.Secret[:32])
		m[name+" key"] = bytes.Clone(k.Key[:16])
		m[name+" IV"] = bytes.Clone(k.IV[:])
		if suiteOf(annex.Suite).explicit > 0 {
			delete(m, name+" IV") // four bytes can be anywhere
		}
		if !suiteOf(annex.Suite).tls13() {
			delete(m, name+" secret")
		}
	}
	return m
}

// count says how often b is in the file.
func count(t testing.TB, fd int, b []byte) int {
	t.Helper()
	n := 0
	eachExtent(t, fd, func(_ int64, p []byte) { n += bytes.Count(p, b) })
	return n
}

// Keys are in the file as long as they are in use, once, and then nowhere.
func TestSecretsAreZeroedInTheFile(t *testing.T) {
	for _, suite := range []uint16{suite13, tls.TLS_AES_256_GCM_SHA384, tls.TLS_CHACHA20_POLY1305_SHA256, suite12, chacha2} {
		t.Run(tls.CipherSuiteName(suite), func(t *testing.T) {
			o, p := newPair(t, suite)
			annex := o.s.TLS(o.id)
			first := secretsOf(annex)
			inFile := func(secrets map[string][]byte, want int, when string) {
				t.Helper()
				for name, b := range secrets {
					if n := count(t, o.a.Fd(), b); n != want {
						t.Errorf("%s: %s is %d times in the file, want %d", when, name, n, want)
					}
				}
			}
			o.mustRead(p.seal([]byte("a")))
			o.seal([]byte("b"))
			inFile(first, 1, "in use")
			current := first
			if suiteOf(suite).tls13() {
				for range 3 {
					o.mustRead(p.forgeUpdate(1))
					o.seal([]byte("c"))
				}
				current = secretsOf(annex)
				inFile(first, 0, "after key updates")
				inFile(current, 1, "after key updates")
			}
			o.mustRead(p.seal([]byte("half"))[:9])
			o.s.FreeSlot(o.slot)
			inFile(current, 0, "freed")
			if st := o.a.Stats(); st.TLS != 0 || st.Slots != 0 || st.Chunks != 0 {
				t.Errorf("stats %+v", st)
			}
		})
	}
}

// A process that ends before the commit leaves keys in the record, and Recover wipes them.
func TestRecoverWipesWhatWasNotCommitted(t *testing.T) {
	for _, step := range []string{"recorded", "committed", "half applied", "applied"} {
		o, p := newPair(t, suite13)
		before := o.s.TLS(o.id).In.Secret
		fd := -1
		o.s.tls.step = func(at string) {
			if at == step {
				fd = copyFile(t, o.a)
			}
		}
		o.mustRead(p.forgeUpdate(0))
		o.s.tls.step = nil
		after := o.s.TLS(o.id).In.Secret
		a := attach(t, fd)
		want := after
		if step == "recorded" {
			want = before
		}
		if got := a.annex(o.id).In.Secret; got != want || before == after {
			t.Errorf("%s: secret %s", step, hex.EncodeToString(got[:4]))
		}
		for _, secret := range [][48]byte{before, after} {
			if n, most := count(t, fd, secret[:32]), map[bool]int{true: 1}[secret == want]; n != most {
				t.Errorf("%s: a secret is %d times in the file, want %d", step, n, most)
			}
		}
	}
}

// A redo record is about one use of an annex: it is not applied to the next one.
func TestRecoverLeavesOthersAlone(t *testing.T) {
	o, p := newPair(t, suite13)
	o.mustRead(p.seal([]byte("x")))
	o.s.FreeTLS(o.id)
	o.s.Slot(o.slot).ClientTLS = 0
	in, out := testTraffic(suite13, 8), testTraffic(suite13, 9)
	id, err := o.s.NewTLS(&TLSParams{Version: tls.VersionTLS13, Suite: suite13, In: in, Out: out})
	if err != nil || id != o.id {
		t.Fatalf("annex %d, %v; want %d again", id, err, o.id)
	}
	before := *o.s.TLS(id)
	o.a.Recover()
	if after := *o.s.TLS(id); after != before {
		t.Errorf("recovered to\n%+v, was\n%+v", after, before)
	}
	if before.Ops < 3 {
		t.Errorf("annex begins again at Ops %d", before.Ops)
	}
}
