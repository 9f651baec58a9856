package wire

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	mrand "math/rand/v2"
	"sync"
	"testing"
)

var (
	testRSAOnce  sync.Once
	testRSAValue tls.Certificate
)

func testRSACert(t testing.TB) tls.Certificate {
	t.Helper()
	testRSAOnce.Do(func() {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		testRSAValue = selfSigned(t, key.Public(), key)
	})
	return testRSAValue
}

// What crypto/tls writes we open and what we seal it reads, whatever the sizes and the pieces in which it comes.
func TestBothWaysWithCryptoTLS(t *testing.T) {
	for _, c := range tlsCases() {
		t.Run(c.name, func(t *testing.T) {
			p, params := c.shake(t)
			o := newOurs(t, params)
			rnd := mrand.New(mrand.NewPCG(3, uint64(c.suite)))
			for i := range 36 {
				text := make([]byte, rnd.IntN([]int{10, 600, 20_000, 200_000}[i%4]))
				for k := range text {
					text[k] = byte(rnd.Uint32())
				}
				if _, err := p.Write(text); err != nil {
					t.Fatal(err)
				}
				var got []byte
				for b := p.sent(); len(b) > 0; {
					n := 1 + rnd.IntN(min(len(b), max(7, len(text)/[]int{50, 7, 2}[i%3])))
					got = append(got, o.mustRead(b[:n])...)
					b = b[n:]
				}
				if !bytes.Equal(got, text) {
					t.Fatalf("round %d: %d bytes of crypto/tls come out otherwise", i, len(text))
				}
				back := text[:min(len(text), StagingSize)]
				p.feed(o.seal(back))
				if !bytes.Equal(p.read(t, len(back)), back) {
					t.Fatalf("round %d: %d bytes of ours come out otherwise", i, len(back))
				}
			}
			if n := o.a.Stats().Chunks; n != 0 {
				t.Errorf("%d chunks in use", n)
			}
		})
	}
}

// Bytes that came behind the Finished are opened first, whole records and the beginning of another.
func TestKeptBytesComeFirst(t *testing.T) {
	for _, suite := range []uint16{suite13, suite12} {
		o, p := newPair(t, suite)
		b := append(p.seal([]byte("one\r\n")), p.seal([]byte("two\r\n"))...)
		third := p.seal([]byte("three\r\n"))
		if err := o.s.Keep(o.id, b); err != nil {
			t.Fatal(err)
		}
		if err := o.s.Keep(o.id, third[:7]); err != nil {
			t.Fatal(err)
		}
		got, err := o.s.Open(o.id, 0, 0)
		if string(got.Plain) != "one\r\ntwo\r\n" || err != nil {
			t.Errorf("%q, %v", got.Plain, err)
		}
		if got, err := o.s.Open(o.id, 0, 0); len(got.Plain) > 0 || err != nil {
			t.Errorf("again: %q, %v", got.Plain, err)
		}
		if plain := o.mustRead(third[7:]); string(plain) != "three\r\n" {
			t.Errorf("%q", plain)
		}
		if n := o.a.Stats().Chunks; n != 0 {
			t.Errorf("%d chunks in use", n)
		}
		if n := o.s.TLS(o.id).Totals.Received; int(n) != len(b)+len(third) {
			t.Errorf("received %d, want %d", n, len(b)+len(third))
		}
	}
}

func TestKeepLeavesRoomForARead(t *testing.T) {
	o, p := newPair(t, suite13)
	b := repeat(3, func() []byte { return p.seal(make([]byte, maxContent)) })
	if err := o.s.Keep(o.id, b); err != nil {
		t.Fatal(err)
	}
	if err := o.s.Keep(o.id, make([]byte, maxKept)); !errors.Is(err, ErrFull) {
		t.Errorf("too much: %v", err)
	}
	if n := len(o.s.ReadRoom(o.id)); n != StagingSize-len(b) {
		t.Errorf("room for %d bytes", n)
	}
	got, err := o.s.Open(o.id, 0, 0)
	if len(got.Plain) != 3*maxContent || err != nil {
		t.Errorf("%d bytes, %v", len(got.Plain), err)
	}
	if err := o.s.Keep(o.id, p.seal(make([]byte, 60<<10))); err != nil {
		t.Errorf("what is read of a client during its handshake: %v", err)
	}
	if len(o.s.ReadRoom(o.id)) == 0 {
		t.Error("no room for a read")
	}
}

// What a read got behind a partial record that another connection's read has overwritten would be nonsense: that is a mistake of
// the caller.
func TestOpenWithoutReadRoom(t *testing.T) {
	a := testArena(t, Options{Slots: 8, Shards: 1, MaxBytes: 2 << 20})
	o, other := newOursOn(t, a.Shard(0), pairParams(suite13, false)), newOursOn(t, a.Shard(0), pairParams(suite13, false))
	_, p := newPair(t, suite13)
	b := p.seal([]byte("x"))
	o.mustRead(b[:9])
	mustPanic := func(n int) {
		t.Helper()
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		o.s.Open(o.id, n, 0)
	}
	n := copy(o.s.ReadRoom(o.id), b[9:12])
	if _, err := o.s.Open(o.id, n, 0); err != nil {
		t.Fatal(err)
	}
	mustPanic(1) // behind what was opened already
	n = copy(o.s.ReadRoom(o.id), b[12:])
	other.mustRead(b)
	mustPanic(n)
}

// A connection that gets the annex of another one does not get its ciphers.
func TestAnnexAgainWithOtherKeys(t *testing.T) {
	o := newOurs(t, pairParams(suite13, false))
	for i := range byte(3) {
		in, out := testTraffic(suite13, 10+i), testTraffic(suite13, 20+i)
		id, err := o.s.NewTLS(&TLSParams{Version: tls.VersionTLS13, Suite: suite13, In: in, Out: out})
		if err != nil {
			t.Fatal(err)
		}
		in, out = testTraffic(suite13, 10+i), testTraffic(suite13, 20+i)
		p := newOurs(t, &TLSParams{Version: tls.VersionTLS13, Suite: suite13, Client: true, In: out, Out: in})
		mine := &ours{t: t, a: o.a, s: o.s, id: id}
		if a, b := mine.mustRead(p.seal([]byte("to"))), p.mustRead(mine.seal([]byte("fro"))); string(a) != "to" || string(b) != "fro" {
			t.Errorf("%q and %q", a, b)
		}
		o.s.FreeTLS(id)
	}
}

// Each of many connections of one shard has its own partial record, in any order of pieces.
func TestPiecesOfManyConnections(t *testing.T) {
	a := testArena(t, Options{Slots: 64, Shards: 1, MaxBytes: 4 << 20})
	rnd := mrand.New(mrand.NewPCG(9, 9))
	type conn struct {
		o         *ours
		in        []byte
		got, want []byte
	}
	cs := make([]*conn, 20)
	for i := range cs {
		suite := fuzzSuites[i%4]
		_, p := newPair(t, suite)
		c := &conn{o: newOursOn(t, a.Shard(0), pairParams(suite, false))}
		for range 10 {
			text := bytes.Repeat([]byte{byte('A' + i)}, rnd.IntN(3000))
			c.in, c.want = append(c.in, p.seal(text)...), append(c.want, text...)
		}
		cs[i] = c
	}
	for left := len(cs); left > 0; {
		c := cs[rnd.IntN(len(cs))]
		if len(c.in) == 0 {
			continue
		}
		n := 1 + rnd.IntN(min(len(c.in), 2500))
		c.got = append(c.got, c.o.mustRead(c.in[:n])...)
		if c.in = c.in[n:]; len(c.in) == 0 {
			left--
		}
	}
	for i, c := range cs {
		if !bytes.Equal(c.got, c.want) {
			t.Errorf("connection %d: comes out otherwise", i)
		}
	}
	if n := a.Stats().Chunks; n != 0 {
		t.Errorf("%d chunks in use", n)
	}
}

// Without memory for a partial record the connection is lost, and says so.
func TestNoMemoryForAPartialRecord(t *testing.T) {
	o, p := newPair(t, suite13)
	b := p.seal(make([]byte, maxContent))
	var q Queue
	for o.s.Append(&q, pattern(777)) == nil {
	}
	for o.s.Append(&q, []byte("x")) == nil {
	}
	if _, _, err := o.read(b[:9000]); !errors.Is(err, ErrFull) {
		t.Fatalf("half a record without memory: %v", err)
	}
	o.s.Clear(&q)
	if _, _, err := o.read(b); err != errEnded {
		t.Errorf("and once more: %v", err)
	}
	if _, err := o.s.SealAlert(o.id, 80); err != nil {
		t.Errorf("an alert can still be sent: %v", err)
	}
	o.s.FreeSlot(o.slot)
	mustBeIdle(t, o.a)
}

func TestNewTLSTakesSenseOnly(t *testing.T) {
	o := newOurs(t, pairParams(suite13, false))
	for name, change := range map[string]func(p *TLSParams){
		"version":       func(p *TLSParams) { p.Version = tls.VersionTLS12 },
		"suite":         func(p *TLSParams) { p.Suite = tls.TLS_RSA_WITH_AES_128_GCM_SHA256 },
		"CBC":           func(p *TLSParams) { p.Version, p.Suite = tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA },
		"nothing":       func(p *TLSParams) { *p = TLSParams{} },
		"short secret":  func(p *TLSParams) { p.In.Secret = p.In.Secret[:31] },
		"no secret out": func(p *TLSParams) { p.Out.Secret = nil },
		"SHA-384":       func(p *TLSParams) { p.Suite = tls.TLS_AES_256_GCM_SHA384 },
	} {
		p := pairParams(suite13, false)
		secret := p.In.Secret
		change(p)
		if id, err := o.s.NewTLS(p); err == nil || errors.Is(err, ErrFull) {
			t.Errorf("%s: annex %d, %v", name, id, err)
		}
		if name != "nothing" && name != "short secret" && !bytes.Equal(secret, make([]byte, len(secret))) {
			t.Errorf("%s: the secret is not zeroed", name)
		}
	}
	for name, change := range map[string]func(p *TLSParams){
		"IV of ChaCha20": func(p *TLSParams) { p.Out.IV = make([]byte, 12) },
		"key of 32":      func(p *TLSParams) { p.Out.Key = make([]byte, 32) },
		"no key":         func(p *TLSParams) { p.In = TLSTraffic{} },
	} {
		p := pairParams(suite12, false)
		change(p)
		if id, err := o.s.NewTLS(p); err == nil {
			t.Errorf("%s: annex %d", name, id)
		}
	}
	if st := o.a.Stats(); st.TLS != 1 {
		t.Errorf("stats %+v", st)
	}
}

func TestNewTLSKeepsWhatIsAskedLater(t *testing.T) {
	o := newOurs(t, pairParams(suite13, false))
	p := pairParams(suite12, true)
	p.CertFP, p.HasCert, p.Exporter, p.HasExporter = [32]byte{1, 2, 3}, true, [32]byte{4, 5, 6}, true
	key := p.Out.Key
	id, err := o.s.NewTLS(p)
	if err != nil {
		t.Fatal(err)
	}
	got := o.s.TLS(id)
	if got.CertFP != [32]byte{1, 2, 3} || got.Exporter != [32]byte{4, 5, 6} || !got.Flags.Has(TLSUsed|TLSClient|TLSHasCert|TLSHasExporter) ||
		got.Version != tls.VersionTLS12 || got.Suite != suite12 || got.InSeq != 1 || got.OutSeq != 1 {
		t.Errorf("annex %+v", got)
	}
	if !bytes.Equal(key, make([]byte, 16)) || p.Exporter != [32]byte{} {
		t.Error("the secrets are not zeroed")
	}
	o.s.FreeTLS(id)
	if after := *o.s.a.annex(id); after != (TLS{Ops: after.Ops}) {
		t.Errorf("freed annex %+v", after)
	}
	defer func() {
		if recover() == nil {
			t.Error("a freed annex can be used")
		}
	}()
	o.s.TLS(id)
}

// There are two annexes for each slot; then ErrFull, and those of another shard after it gave them back.
func TestAnnexesEnd(t *testing.T) {
	a := testArena(t, Options{Slots: 100, Shards: 2, MaxBytes: 2 << 20})
	var ids []TLSID
	seen := map[TLSID]bool{}
	for range 200 {
		id, err := a.Shard(0).NewTLS(pairParams(suite13, false))
		if err != nil || seen[id] {
			t.Fatalf("annex %d after %d: %v", id, len(ids), err)
		}
		seen[id] = true
		ids = append(ids, id)
	}
	for i := range 2 {
		if _, err := a.Shard(i).NewTLS(pairParams(suite13, false)); !errors.Is(err, ErrFull) {
			t.Errorf("shard %d: %v", i, err)
		}
	}
	for _, id := range ids {
		a.Shard(0).FreeTLS(id)
	}
	for i := range 200 - 3*annexBatch {
		if _, err := a.Shard(1).NewTLS(pairParams(suite13, false)); err != nil {
			t.Fatalf("annex %d of the other shard: %v", i, err)
		}
	}
}

// An idle connection over TLS costs its slot and its annex.
func TestIdleTLSCosts512Bytes(t *testing.T) {
	const n = 2000
	a := testArena(t, Options{Slots: n, Shards: 1})
	before := a.Stats()
	s := a.Shard(0)
	for range n {
		newOursOn(t, s, pairParams(suite13, false))
	}
	if each := float64(a.Stats().Resident-before.Resident) / n; each > SlotSize+annexSize+16 {
		t.Errorf("%.1f bytes of memory for an idle connection", each)
	}
}

// Nothing is allocated for a record whose cipher is kept.
func TestNoAllocationPerRecord(t *testing.T) {
	unchecked(t)
	for _, suite := range fuzzSuites {
		o, p := newPair(t, suite)
		line := bytes.Repeat([]byte("x"), 80)
		record := p.seal(line)
		state := o.s.TLS(o.id)
		seq := state.InSeq
		if n := testing.AllocsPerRun(100, func() {
			state.InSeq = seq
			half := copy(o.s.ReadRoom(o.id), record[:50])
			if _, err := o.s.Open(o.id, half, 0); err != nil {
				t.Fatal(err)
			}
			got, err := o.s.Open(o.id, copy(o.s.ReadRoom(o.id), record[half:]), 0)
			if err != nil || len(got.Plain) != len(line) {
				t.Fatal(got, err)
			}
			if _, err := o.s.Seal(o.id, got.Plain); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", tls.CipherSuiteName(suite), n)
		}
	}
}

// More directions than ciphers are kept, in an order that hits and misses, and all of them go on.
func TestCiphersComeAndGo(t *testing.T) {
	unchecked(t)
	const n = 700 // with two directions each
	a := testArena(t, Options{Slots: n, Shards: 1})
	s := a.Shard(0)
	_, p := newPair(t, suite13)
	record := p.seal([]byte("x"))
	all := make([]*ours, n)
	for i := range all {
		all[i] = newOursOn(t, s, pairParams(suite13, false))
	}
	rnd := mrand.New(mrand.NewPCG(1, 1))
	for i := range 20_000 {
		o := all[rnd.IntN(n)]
		if rnd.IntN(2) == 0 {
			o.seal([]byte("y"))
		} else {
			s.TLS(o.id).InSeq = 0
			o.mustRead(record)
		}
		switch {
		case i%5000 == 4999:
			s.TrimCiphers()
		case i%50 == 0:
			k := rnd.IntN(n)
			s.FreeSlot(all[k].slot)
			all[k] = newOursOn(t, s, pairParams(suite13, false))
		}
	}
	c := &s.tls.ciphers
	if len(c.entries) > maxCiphers || len(c.entries) < maxCiphers/2 {
		t.Errorf("%d ciphers are kept", len(c.entries))
	}
	mustBeConsistent(t, c)
	s.TrimCiphers()
	s.TrimCiphers()
	if len(c.entries) != 0 {
		t.Errorf("%d ciphers are kept of nobody who is active", len(c.entries))
	}
	mustBeConsistent(t, c)
}

func mustBeConsistent(t *testing.T, c *ciphers) {
	t.Helper()
	n := 0
	for of, i := range c.where {
		if i == 0 {
			continue
		}
		n++
		if int(i) > len(c.entries) || c.entries[i-1].of != uint32(of) || c.entries[i-1].aead == nil {
			t.Fatalf("%d is said to be at %d of %d", of, i-1, len(c.entries))
		}
	}
	if n != len(c.entries) {
		t.Fatalf("%d of %d entries are found", n, len(c.entries))
	}
}
