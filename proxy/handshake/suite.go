package handshake

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"encoding/binary"
	"hash"

	"golang.org/x/crypto/chacha20poly1305"
)

// suite is a cipher suite that can be taken over: AEAD with ephemeral keys.
type suite struct {
	version uint16
	name    string // as ircds show it: the RFC's in TLS 1.3, OpenSSL's in 1.2
	keyLen  int
	salt    int // bytes of IV in the key block: 4 for GCM in TLS 1.2, else 12
	hash    func() hash.Hash
	hashLen int
	aead    func(key []byte) (cipher.AEAD, error)
}

func newGCM(key []byte) (cipher.AEAD, error) {
	b, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(b)
}

var suites = map[uint16]*suite{
	tls.TLS_AES_128_GCM_SHA256: {tls.VersionTLS13, "TLS_AES_128_GCM_SHA256", 16, 12, sha256.New, 32, newGCM},
	tls.TLS_AES_256_GCM_SHA384: {tls.VersionTLS13, "TLS_AES_256_GCM_SHA384", 32, 12, sha512.New384, 48, newGCM},
	tls.TLS_CHACHA20_POLY1305_SHA256: {tls.VersionTLS13, "TLS_CHACHA20_POLY1305_SHA256", 32, 12, sha256.New, 32,
		chacha20poly1305.New},

	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256: {tls.VersionTLS12, "ECDHE-ECDSA-AES128-GCM-SHA256", 16, 4, sha256.New, 32, newGCM},
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384: {tls.VersionTLS12, "ECDHE-ECDSA-AES256-GCM-SHA384", 32, 4, sha512.New384, 48, newGCM},
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256: {tls.VersionTLS12, "ECDHE-ECDSA-CHACHA20-POLY1305", 32, 12, sha256.New, 32,
		chacha20poly1305.New},
	tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256: {tls.VersionTLS12, "ECDHE-RSA-AES128-GCM-SHA256", 16, 4, sha256.New, 32, newGCM},
	tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384: {tls.VersionTLS12, "ECDHE-RSA-AES256-GCM-SHA384", 32, 4, sha512.New384, 48, newGCM},
	tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256: {tls.VersionTLS12, "ECDHE-RSA-CHACHA20-POLY1305", 32, 12, sha256.New, 32,
		chacha20poly1305.New},
}

func (su *suite) is13() bool { return su.version == tls.VersionTLS13 }

// opener13 opens records of TLS 1.3 that were sealed with a traffic secret, from the first one on: RFC 8446 section 7.3.
func (su *suite) opener13(trafficSecret []byte) (*opener, error) {
	key, err := su.expandLabel(trafficSecret, "key", su.keyLen)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	iv, err := su.expandLabel(trafficSecret, "iv", su.salt)
	if err != nil {
		return nil, err
	}
	defer clear(iv)
	return su.opener(key, iv)
}

// expandLabel is HKDF-Expand-Label with an empty context: RFC 8446 section 7.1.
func (su *suite) expandLabel(secret []byte, label string, n int) ([]byte, error) {
	info := make([]byte, 0, 32)
	info = binary.BigEndian.AppendUint16(info, uint16(n))
	info = append(info, byte(len("tls13 ")+len(label)))
	info = append(info, "tls13 "...)
	info = append(info, label...)
	info = append(info, 0)
	return hkdf.Expand(su.hash, secret, string(info), n)
}

// keyBlock is that of TLS 1.2, without MAC keys: RFC 5246 sections 5 and 6.3.
func (su *suite) keyBlock(master, clientRandom, serverRandom []byte) []byte {
	seed := make([]byte, 0, 80)
	seed = append(seed, "key expansion"...)
	seed = append(seed, serverRandom...)
	seed = append(seed, clientRandom...)
	n := 2*su.keyLen + 2*su.salt
	block := make([]byte, 0, n+su.hashLen)
	mac := hmac.New(su.hash, master)
	mac.Write(seed)
	a := mac.Sum(nil)
	for len(block) < n {
		mac.Reset()
		mac.Write(a)
		mac.Write(seed)
		block = mac.Sum(block)
		mac.Reset()
		mac.Write(a)
		a = mac.Sum(a[:0])
	}
	clear(a)
	clear(block[n:cap(block)])
	return block[:n:n]
}
