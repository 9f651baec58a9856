// Package certtest makes certificates for tests, benchmarks and the demo: in memory, and as PEM files where somebody reads files.
//
// Make returns an error for programs; SelfSigned, NewAuthority and Issue end the test instead.
package certtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"
)

// Options say what a certificate is. The zero value is one for "irc.test" by an ECDSA key, valid from an hour ago for 90 days, good
// for both ends of a connection.
type Options struct {
	Names               []string // DNS names and IP addresses; none: irc.test
	CN                  string   // "": the first name
	NotBefore, NotAfter time.Time
	RSA                 bool   // a 2048 bit RSA key instead of ECDSA P-256; all of a process are the same key
	P224                bool   // a key that crypto/tls cannot use
	Authority           bool   // may sign others
	Nameless            bool   // no alternative names, and without CN no name at all
	ClientOnly          bool   // not good for servers
	IssuerURL           string // where the issuer's certificate is to be had, as public CAs say it
}

// Pair is a certificate with its key. It is not changed after it was made; any goroutine may use it.
type Pair struct {
	Cert    tls.Certificate // with its chain and its Leaf, ready for a tls.Config
	CertPEM []byte          // the whole chain without the root
	KeyPEM  []byte          // PKCS #8
}

// Leaf is the parsed certificate.
func (p *Pair) Leaf() *x509.Certificate { return p.Cert.Leaf }

// Fingerprint is the SHA-256 of the certificate in lower-case hex, as ircds write it.
func (p *Pair) Fingerprint() string {
	sum := sha256.Sum256(p.Cert.Leaf.Raw)
	return hex.EncodeToString(sum[:])
}

// Roots is a pool with this certificate alone: what a peer must have to trust it, or whom it has signed.
func (p *Pair) Roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(p.Cert.Leaf)
	return pool
}

// rsaKey is one for all: making one takes longer than most tests.
var rsaKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

func newKey(o Options) (crypto.Signer, error) {
	if o.RSA {
		return rsaKey()
	}
	if o.P224 {
		return ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	}
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

func (o Options) template() (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("draw serial number: %w", err)
	}
	if o.Nameless {
		o.Names = nil
	} else if len(o.Names) == 0 {
		o.Names = []string{"irc.test"}
	}
	if o.CN == "" && !o.Nameless {
		o.CN = o.Names[0]
	}
	if o.NotBefore.IsZero() {
		o.NotBefore = time.Now().Add(-time.Hour)
	}
	if o.NotAfter.IsZero() {
		o.NotAfter = o.NotBefore.Add(90 * 24 * time.Hour)
	}
	c := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: o.CN}, NotBefore: o.NotBefore, NotAfter: o.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true}
	if o.ClientOnly {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	}
	if o.IssuerURL != "" {
		c.IssuingCertificateURL = []string{o.IssuerURL}
	}
	if o.Authority {
		c.IsCA, c.KeyUsage, c.ExtKeyUsage = true, x509.KeyUsageCertSign, nil
		return c, nil
	}
	for _, name := range o.Names {
		if ip := net.ParseIP(name); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
		} else {
			c.DNSNames = append(c.DNSNames, name)
		}
	}
	return c, nil
}

// Make makes a certificate that by has signed; nil: that it has signed itself.
func Make(by *Pair, o Options) (*Pair, error) {
	key, err := newKey(o)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	template, err := o.template()
	if err != nil {
		return nil, err
	}
	parent, signer := template, key
	if by != nil {
		parent, signer = by.Cert.Leaf, by.Cert.PrivateKey.(crypto.Signer)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return nil, fmt.Errorf("make certificate %s: %w", template.Subject.CommonName, err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read certificate: %w", err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("write key: %w", err)
	}
	p := &Pair{Cert: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, KeyPEM: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})}
	if by != nil && by.Leaf().Issuer.CommonName != by.Leaf().Subject.CommonName { // an intermediate comes along, a root does not
		p.Cert.Certificate = append(p.Cert.Certificate, by.Cert.Certificate...)
	}
	for _, c := range p.Cert.Certificate {
		p.CertPEM = append(p.CertPEM, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c})...)
	}
	return p, nil
}

// SelfSigned makes a certificate that trusts itself.
func SelfSigned(t testing.TB, o Options) *Pair { return issue(t, nil, o) }

// NewAuthority makes a root.
func NewAuthority(t testing.TB, name string) *Pair {
	return issue(t, nil, Options{CN: name, Authority: true})
}

// Issue makes a certificate that p has signed.
func (p *Pair) Issue(t testing.TB, o Options) *Pair { return issue(t, p, o) }

func issue(t testing.TB, by *Pair, o Options) *Pair {
	t.Helper()
	p, err := Make(by, o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
