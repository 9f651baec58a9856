package wire

import (
	"bytes"
	"crypto/tls"
	"io"
	"testing"
)

// Beside crypto/tls, for orientation: a line of 80 bytes is what an IRC client or ircd sends at a time. Uncached is what the first
// line after a silence costs more.

var benchSuites = []uint16{tls.TLS_AES_128_GCM_SHA256, tls.TLS_AES_256_GCM_SHA384, tls.TLS_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}

// unchecked is for figures: CheckOwner costs more than a record.
func unchecked(b testing.TB) {
	CheckOwner(false)
	b.Cleanup(func() { CheckOwner(true) })
}

func BenchmarkSeal80(b *testing.B) {
	unchecked(b)
	line := bytes.Repeat([]byte("x"), 80)
	for _, id := range benchSuites {
		o, _ := newPair(b, id)
		name := tls.CipherSuiteName(id)
		b.Run(name+"/cached", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := o.s.Seal(o.id, line); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/uncached", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				o.s.tls.forget(o.id)
				if _, err := o.s.Seal(o.id, line); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkOpen80(b *testing.B) {
	unchecked(b)
	line := bytes.Repeat([]byte("x"), 80)
	for _, id := range benchSuites {
		o, other := newPair(b, id)
		record := other.seal(line)
		t := o.s.TLS(o.id)
		seq := t.InSeq
		name := tls.CipherSuiteName(id)
		open := func(b *testing.B) {
			copy(o.s.ReadRoom(o.id), record)
			t.InSeq = seq // the same record again
			if _, err := o.s.Open(o.id, len(record), 0); err != nil {
				b.Fatal(err)
			}
		}
		b.Run(name+"/cached", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				open(b)
			}
		})
		b.Run(name+"/uncached", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				o.s.tls.forget(o.id)
				open(b)
			}
		})
	}
}

// BenchmarkSealBatch is 40 lines that were read together: one record.
func BenchmarkSealBatch(b *testing.B) {
	unchecked(b)
	lines := bytes.Repeat([]byte("x"), 40*80)
	o, _ := newPair(b, tls.TLS_AES_128_GCM_SHA256)
	b.ReportAllocs()
	b.SetBytes(int64(len(lines)))
	for b.Loop() {
		if _, err := o.s.Seal(o.id, lines); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCryptoTLSWrite80(b *testing.B) {
	p, _ := tlsCases()[0].shake(b)
	p.pipe.out = nil
	line := bytes.Repeat([]byte("x"), 80)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Write(line); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCryptoTLSRead80(b *testing.B) {
	unchecked(b)
	const n = 1000
	p, params := tlsCases()[0].shake(b)
	o := newOurs(b, params)
	line := bytes.Repeat([]byte("x"), 80)
	buf := make([]byte, 80)
	b.ReportAllocs()
	for left := 0; b.Loop(); left-- {
		if left == 0 {
			b.StopTimer()
			for range n {
				p.feed(o.seal(line))
			}
			left = n
			b.StartTimer()
		}
		if _, err := io.ReadFull(p, buf); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpenPipelined is a read with 16 records of a line each, as from a client that writes line by line; figures are per line.
func BenchmarkOpenPipelined(b *testing.B) {
	unchecked(b)
	o, p := newPair(b, tls.TLS_AES_128_GCM_SHA256)
	line := bytes.Repeat([]byte("x"), 80)
	records := repeat(16, func() []byte { return p.seal(line) })
	t := o.s.TLS(o.id)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%16 != 0 {
			continue
		}
		t.InSeq = 0
		got, err := o.s.Open(o.id, copy(o.s.ReadRoom(o.id), records), 0)
		if err != nil || len(got.Plain) != 16*80 {
			b.Fatal(err)
		}
	}
}

// BenchmarkAEAD is what the cipher alone takes of BenchmarkSeal80.
func BenchmarkAEAD(b *testing.B) {
	o, _ := newPair(b, tls.TLS_AES_128_GCM_SHA256)
	aead := suiteOf(tls.TLS_AES_128_GCM_SHA256).aead(&o.s.TLS(o.id).Out)
	buf := make([]byte, 200)
	nonce := make([]byte, 12)
	for b.Loop() {
		aead.Seal(buf[5:5], nonce, buf[5:86], buf[:5])
	}
}
