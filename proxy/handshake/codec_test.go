package handshake

import (
	"bufio"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"hash"
	"io"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/ircferry/ircferry/proxy/wire"
)

// codec is a small record layer that goes on with what a handshake gave, written for these tests alone.
type codec struct {
	r       *bufio.Reader
	w       io.Writer
	in, out way
	other   int // records of post-handshake messages that came
}

type way struct {
	aead  cipher.AEAD
	iv    [12]byte
	seq   uint64
	salt  bool // GCM of TLS 1.2: the nonce is salt and number
	tls13 bool
}

func newCodec(p *wire.TLSParams, rest []byte, conn io.ReadWriter) *codec {
	return &codec{r: bufio.NewReader(io.MultiReader(newBytes(rest), conn)), w: conn, in: newWay(p, &p.In), out: newWay(p, &p.Out)}
}

func newBytes(p []byte) io.Reader { return io.LimitReader(&onceReader{p}, int64(len(p))) }

type onceReader struct{ p []byte }

func (o *onceReader) Read(p []byte) (int, error) {
	n := copy(p, o.p)
	o.p = o.p[n:]
	return n, nil
}

func newWay(p *wire.TLSParams, d *wire.TLSTraffic) way {
	w := way{seq: d.Seq, tls13: p.Version == tls.VersionTLS13}
	key, iv := d.Key, d.IV
	if w.tls13 {
		h, size := sha256.New, 32
		switch p.Suite {
		case tls.TLS_AES_128_GCM_SHA256:
			size = 16
		case tls.TLS_AES_256_GCM_SHA384:
			h = sha512.New384
		}
		key, iv = label(h, d.Secret, "key", size), label(h, d.Secret, "iv", 12)
	}
	w.salt = len(iv) == 4
	copy(w.iv[:], iv)
	var err error
	switch p.Suite {
	case tls.TLS_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256:
		w.aead, err = chacha20poly1305.New(key)
	default:
		var b cipher.Block
		if b, err = aes.NewCipher(key); err == nil {
			w.aead, err = cipher.NewGCM(b)
		}
	}
	if err != nil {
		panic(err)
	}
	return w
}

func label(h func() hash.Hash, secret []byte, name string, n int) []byte {
	info := string([]byte{byte(n >> 8), byte(n), byte(6 + len(name))}) + "tls13 " + name + "\x00"
	out, err := hkdf.Expand(h, secret, info, n)
	if err != nil {
		panic(err)
	}
	return out
}

func (w *way) nonce() []byte {
	n := w.iv
	for i := range 8 {
		n[4+i] ^= byte(w.seq >> (8 * (7 - i)))
	}
	return n[:]
}

func (w *way) aad(head []byte, n int) []byte {
	if w.tls13 {
		return head
	}
	b := binary.BigEndian.AppendUint64(nil, w.seq)
	return binary.BigEndian.AppendUint16(append(b, head[:3]...), uint16(n))
}

// Write seals p as one record of application data.
func (c *codec) Write(p []byte) (int, error) {
	w := &c.out
	plain, nonce, explicit := p, w.nonce(), []byte(nil)
	if w.tls13 {
		plain = append(append([]byte(nil), p...), typeData)
	}
	if w.salt {
		explicit = nonce[4:]
	}
	n := len(explicit) + len(plain) + 16
	rec := append([]byte{typeData, 3, 3, byte(n >> 8), byte(n)}, explicit...)
	rec = w.aead.Seal(rec, nonce, plain, w.aad(rec[:5:5], len(p)))
	w.seq++
	_, err := c.w.Write(rec)
	return len(p), err
}

// next is the application data of the next record that has any.
func (c *codec) next() ([]byte, error) {
	for {
		kind, plain, err := c.record()
		if err != nil {
			return nil, err
		}
		switch kind {
		case typeData:
			return plain, nil
		case typeAlert:
			return nil, io.EOF
		}
		c.other++
	}
}

func (c *codec) record() (byte, []byte, error) {
	w := &c.in
	head := make([]byte, 5)
	if _, err := io.ReadFull(c.r, head); err != nil {
		return 0, nil, err
	}
	body := make([]byte, binary.BigEndian.Uint16(head[3:]))
	if _, err := io.ReadFull(c.r, body); err != nil {
		return 0, nil, err
	}
	nonce := w.nonce()
	if w.salt {
		copy(nonce[4:], body[:8])
		body = body[8:]
	}
	plain, err := w.aead.Open(nil, nonce, body, w.aad(head, len(body)-16))
	if err != nil {
		return 0, nil, fmt.Errorf("record %d of the peer: %w", w.seq, err)
	}
	w.seq++
	if !w.tls13 {
		return head[0], plain, nil
	}
	n := len(plain)
	for plain[n-1] == 0 {
		n--
	}
	return plain[n-1], plain[:n-1], nil
}
