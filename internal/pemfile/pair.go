package pemfile

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// primeField is the OID of a prime field, which stands in a key only if the parameters of its curve are written out.
var primeField = []byte{0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x01, 0x01}

// Pair makes the certificate, with its chain, and its key out of the texts of their files.
func Pair(certPath string, cert []byte, keyPath string, key []byte) (tls.Certificate, error) {
	certs, err := Blocks(certPath, cert)
	if err == nil {
		err = onlyCertificates(certPath, certs)
	}
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certificate %s: %w", certPath, err)
	}
	keys, err := Blocks(keyPath, key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("key %s: %w", keyPath, err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err == nil {
		return pair, nil
	}
	for _, k := range keys {
		switch {
		case encrypted(k):
			return pair, fmt.Errorf("key %s: it is encrypted; write it without a passphrase (openssl pkey -in OLD -out NEW)", keyPath)
		case strings.HasSuffix(k.Type, "PRIVATE KEY") && bytes.Contains(k.Bytes, primeField):
			return pair, fmt.Errorf("key %s: the parameters of its curve are explicit; name the curve (openssl ec -in OLD -param_enc named_curve -out NEW)", keyPath)
		}
	}
	if n := ownerOf(certs, keys); n > 1 {
		return pair, fmt.Errorf("certificate %s: the key %s belongs to certificate %d of the file, and the server's own must be the first: cat OWN.pem CHAIN.pem > NEW",
			certPath, keyPath, n)
	}
	return pair, fmt.Errorf("certificate %s with key %s: %s", certPath, keyPath, strings.TrimPrefix(err.Error(), "tls: "))
}

// encrypted reports whether a block is a key that needs a passphrase: PKCS #8's own kind, or OpenSSL's of before.
func encrypted(b *pem.Block) bool {
	return b.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(b.Headers["Proc-Type"], "ENCRYPTED")
}

// onlyCertificates refuses what has certificates in a wrapping that would be passed over.
func onlyCertificates(path string, blocks []*pem.Block) error {
	for _, b := range blocks {
		switch b.Type {
		case "PKCS7":
			return fmt.Errorf("it is PKCS #7: openssl pkcs7 -in %s -print_certs -out chain.pem", path)
		case "TRUSTED CERTIFICATE", "X509 CERTIFICATE":
			return fmt.Errorf("it is a %s of OpenSSL's own kind: openssl x509 -in %s -out cert.pem", b.Type, path)
		case "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST":
			return errors.New("it is a certificate request; the certificate is what the CA has made of it")
		}
	}
	return nil
}

// ownerOf is the number of the certificate that the key belongs to, 0 if there is none.
func ownerOf(certs, keys []*pem.Block) int {
	var public crypto.PublicKey
	for _, k := range keys {
		for _, parse := range []func([]byte) (any, error){
			x509.ParsePKCS8PrivateKey,
			func(b []byte) (any, error) { return x509.ParsePKCS1PrivateKey(b) },
			func(b []byte) (any, error) { return x509.ParseECPrivateKey(b) },
		} {
			if private, err := parse(k.Bytes); err == nil {
				if s, ok := private.(crypto.Signer); ok {
					public = s.Public()
				}
			}
		}
	}
	n := 0
	for _, b := range certs {
		if b.Type != "CERTIFICATE" {
			continue
		}
		n++
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			continue
		}
		if k, ok := c.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); ok && public != nil && k.Equal(public) {
			return n
		}
	}
	return 0
}

// Roots makes a pool of the certificates of a file.
func Roots(path string, data []byte) (*x509.CertPool, error) {
	blocks, err := Blocks(path, data)
	if err == nil {
		err = onlyCertificates(path, blocks)
	}
	switch {
	case err != nil && !bytes.Contains(data, begin):
		return nil, fmt.Errorf("%s has no certificate in it: %w", path, err)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("%s has no certificate in it", path)
	}
	return pool, nil
}
