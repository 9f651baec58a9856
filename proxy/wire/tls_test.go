package wire

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
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
