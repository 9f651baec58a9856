package certs

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"time"

	"github.com/ircferry/ircferry/internal/config"
	"github.com/ircferry/ircferry/internal/pemfile"
)

// maxFile bounds what is read of one file: a chain is some kilobytes.
const maxFile = 1 << 20

// Read reads one certificate with its chain and its key. Its errors name the file, and never hold what is in the key.
func Read(files config.Cert) (*tls.Certificate, error) {
	chain, err := pemfile.Read(files.Cert, maxFile)
	if err != nil {
		return nil, fmt.Errorf("read certificate: %w", err)
	}
	key, err := pemfile.Read(files.Key, maxFile)
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	defer clear(key)
	c, err := pemfile.Pair(files.Cert, chain, files.Key, key)
	if err != nil {
		return nil, err
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
