package wire

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/fips140"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"

	"golang.org/x/crypto/chacha20poly1305"
)

// Of all our AEADs.
const (
	tagSize   = 16
	nonceSize = 12
)

// suite is what sealing and opening need to know of a cipher suite.
type suite struct {
	version  uint16
	keySize  int
	chacha   bool
	explicit int // bytes of nonce in each record: 8 for GCM in TLS 1.2
	hash     func() hash.Hash
	secret   int // TLS 1.3: size of the traffic secrets
}

var (
	aes128TLS13 = suite{version: tls.VersionTLS13, keySize: 16, hash: sha256.New, secret: 32}
	aes256TLS13 = suite{version: tls.VersionTLS13, keySize: 32, hash: sha512.New384, secret: 48}
	chachaTLS13 = suite{version: tls.VersionTLS13, keySize: 32, chacha: true, hash: sha256.New, secret: 32}
	aes128TLS12 = suite{version: tls.VersionTLS12, keySize: 16, explicit: 8}
	aes256TLS12 = suite{version: tls.VersionTLS12, keySize: 32, explicit: 8}
	chachaTLS12 = suite{version: tls.VersionTLS12, keySize: 32, chacha: true}
)

// suiteOf answers nil for what we do not speak: only the AEAD suites with ephemeral keys are taken over.
func suiteOf(id uint16) *suite {
	switch id {
	case tls.TLS_AES_128_GCM_SHA256:
		return &aes128TLS13
	case tls.TLS_AES_256_GCM_SHA384:
		return &aes256TLS13
	case tls.TLS_CHACHA20_POLY1305_SHA256:
		return &chachaTLS13
	case tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256:
		return &aes128TLS12
	case tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384:
		return &aes256TLS12
	case tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256:
		return &chachaTLS12
	}
	return nil
}

func findSuite(version, id uint16) (*suite, error) {
	if fips140.Enforced() {
		return nil, errors.New("TLS record layer under GODEBUG=fips140=only, which allows no nonces of ours")
	}
	su := suiteOf(id)
	if su == nil || su.version != version {
		return nil, fmt.Errorf("TLS version %#04x with suite %#04x: not one of ours", version, id)
	}
	return su, nil
}

func (su *suite) tls13() bool { return su.version == tls.VersionTLS13 }

// check says whether the handshake gave what the suite needs.
func (su *suite) check(p *TLSTraffic) error {
	switch {
	case su.tls13() && len(p.Secret) != su.secret:
		return fmt.Errorf("TLS traffic secret of %d bytes, want %d", len(p.Secret), su.secret)
	case !su.tls13() && (len(p.Key) != su.keySize || len(p.IV) != nonceSize-su.explicit):
		return fmt.Errorf("TLS key of %d bytes with %d bytes of IV, want %d and %d", len(p.Key), len(p.IV), su.keySize, nonceSize-su.explicit)
	}
	return nil
}

// traffic makes the keys of a direction from what the handshake gave.
func (su *suite) traffic(k *TLSKeys, p *TLSTraffic) {
	if su.tls13() {
		copy(k.Secret[:], p.Secret)
		su.derive(k)
		return
	}
	copy(k.Key[:], p.Key)
	copy(k.IV[:], p.IV)
}

// derive makes key and IV from the secret: RFC 8446 section 7.3.
func (su *suite) derive(k *TLSKeys) {
	su.expand(k.Key[:su.keySize], k, "key")
	su.expand(k.IV[:], k, "iv")
}

// update makes the next generation of old; to may be old itself. RFC 8446 section 7.2.
func (su *suite) update(to, old *TLSKeys) {
	su.expand(to.Secret[:su.secret], old, "traffic upd")
	to.Epoch = old.Epoch + 1
	su.derive(to)
}

// expand is HKDF-Expand-Label with an empty context, of the secret in k: RFC 8446 section 7.1.
func (su *suite) expand(to []byte, k *TLSKeys, label string) {
	info := make([]byte, 0, 32)
	info = binary.BigEndian.AppendUint16(info, uint16(len(to)))
	info = append(info, byte(len("tls13 ")+len(label)))
	info = append(info, "tls13 "...)
	info = append(info, label...)
	info = append(info, 0)
	out, err := hkdf.Expand(su.hash, k.Secret[:su.secret], string(info), len(to))
	if err != nil {
		panic("wire: " + err.Error()) // the lengths are ours
	}
	copy(to, out)
	clear(out)
}

// aead makes the cipher of a direction. It copies the key.
func (su *suite) aead(k *TLSKeys) cipher.AEAD {
	if su.chacha {
		c, err := chacha20poly1305.New(k.Key[:])
		if err != nil {
			panic("wire: " + err.Error())
		}
		return c
	}
	b, err := aes.NewCipher(k.Key[:su.keySize])
	if err != nil {
		panic("wire: " + err.Error())
	}
	c, err := cipher.NewGCM(b)
	if err != nil {
		panic("wire: " + err.Error())
	}
	return c
}

// nonce fills n for the record of number seq. For GCM in TLS 1.2 it is the salt and what the record carries (RFC 5288 section 3),
// for all else the IV xor the number (RFC 8446 section 5.3, RFC 7905 section 2).
func (su *suite) nonce(n *[nonceSize]byte, k *TLSKeys, seq uint64) {
	*n = k.IV
	if su.explicit > 0 {
		binary.BigEndian.PutUint64(n[4:], seq)
		return
	}
	binary.BigEndian.PutUint64(n[4:], binary.BigEndian.Uint64(n[4:])^seq)
}
