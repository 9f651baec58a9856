package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/ircferry/ircferry/internal/config"
)

// maxFile bounds what is read of one file: a chain is some kilobytes.
const maxFile = 1 << 20

// Read reads one certificate with its chain and its key. Its errors name the file, and never hold what is in the key.
func Read(files config.Cert) (*tls.Certificate, error) {
	chain, err := readFile(files.Cert)
	if err != nil {
		return nil, fmt.Errorf("read certificate: %w", err)
	}
	key, err := readFile(files.Key)
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	defer clear(key)
	c, err := tls.X509KeyPair(chain, key)
	if err != nil {
		if encrypted(key) {
			err = errors.New("it is encrypted; write it without a passphrase (openssl pkey -in OLD -out NEW)")
			return nil, fmt.Errorf("key %s: %w", files.Key, err)
		}
		return nil, fmt.Errorf("certificate %s with key %s: %s", files.Cert, files.Key, strings.TrimPrefix(err.Error(), "tls: "))
	}
	if err := usable(&c); err != nil {
		return nil, fmt.Errorf("certificate %s: %w", files.Cert, err)
	}
	return &c, nil
}

// everything is a client that can do all that crypto/tls can sign with.
var everything = tls.ClientHelloInfo{
	SupportedVersions: []uint16{tls.VersionTLS13, tls.VersionTLS12},
	SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256, tls.ECDSAWithP384AndSHA384, tls.ECDSAWithP521AndSHA512, tls.Ed25519,
		tls.PSSWithSHA256, tls.PSSWithSHA384, tls.PSSWithSHA512},
}

// usable refuses a certificate that no client could be shown, such as one of a curve that TLS does not have.
func usable(c *tls.Certificate) error {
	if c.Leaf == nil { // only if GODEBUG says so
		leaf, err := x509.ParseCertificate(c.Certificate[0])
		if err != nil {
			return err
		}
		c.Leaf = leaf
	}
	if everything.SupportsCertificate(c) != nil {
		return fmt.Errorf("TLS cannot be spoken with a key of its kind (%s); RSA of 2048 bits, ECDSA P-256 and Ed25519 are good", keyWords(c.Leaf))
	}
	return nil
}

// readFile does not wait, also not for the writer of a pipe that has the name of a file.
func readFile(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxFile)
	}
	return data, nil
}

// encrypted reports whether a key file holds a key that needs a passphrase: PKCS #8's own kind, or OpenSSL's of before.
func encrypted(key []byte) bool {
	for block, rest := pem.Decode(key); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
			return true
		}
	}
	return bytes.Contains(key, []byte("BEGIN ENCRYPTED PRIVATE KEY"))
}

// stamp is what tells from outside whether files are still those that were read.
type stamp struct{ cert, key os.FileInfo }

func stampOf(files config.Cert) stamp {
	var s stamp
	s.cert, _ = os.Stat(files.Cert)
	s.key, _ = os.Stat(files.Key)
	return s
}

func (s stamp) same(o stamp) bool { return sameFile(s.cert, o.cert) && sameFile(s.key, o.key) }

func sameFile(a, b os.FileInfo) bool {
	return a != nil && b != nil && os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// clockTick is more than what passes between two changes that a file system cannot tell apart by their times.
const clockTick = 2 * time.Second

// fresh reports whether a file was written so short before now that a second change could have left the same stamp.
func (s stamp) fresh(now time.Time) bool {
	is := func(f os.FileInfo) bool { return f != nil && now.Sub(f.ModTime()).Abs() < clockTick }
	return is(s.cert) || is(s.key)
}
