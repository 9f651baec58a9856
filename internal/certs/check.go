package certs

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/ircferry/ircferry/internal/config"
)

// Check reads the listeners' certificates and says what cannot be of them (errors) and what should not be (warnings): an expired
// certificate is a warning, since refusing a start for it would take the other listeners from their clients too.
func Check(cfg config.Config) []config.Finding { return check(cfg, time.Now()) }

func check(cfg config.Config, now time.Time) []config.Finding {
	c := &checker{now: now}
	seen := map[config.Cert]bool{}
	for i, l := range cfg.Listeners {
		if l.TLS == nil {
			continue
		}
		for j, files := range l.TLS.Certs {
			if files.Cert == "" || files.Key == "" || seen[files] { // what is missing, config.Verify says
				continue
			}
			seen[files] = true
			c.key = fmt.Sprintf("listeners[%d].tls.certs[%d]", i, j)
			c.pair(files)
		}
	}
	return c.found
}

type checker struct {
	now   time.Time
	key   string
	found []config.Finding
}

func (c *checker) warnf(format string, args ...any) {
	c.found = append(c.found, config.Finding{Severity: config.SeverityWarning, Key: c.key, Text: fmt.Sprintf(format, args...)})
}

func (c *checker) pair(files config.Cert) {
	cert, err := Read(files)
	if err != nil {
		c.found = append(c.found, config.Finding{Severity: config.SeverityError, Key: c.key, Text: err.Error()})
		return
	}
	if info, err := os.Stat(files.Key); err == nil && info.Mode().Perm()&0o007 != 0 {
		c.warnf("the key %s can be used by everybody (%04o); chmod 0600, or 0640 with a group that this daemon is in", files.Key, info.Mode().Perm())
	}
	c.validity(files.Cert, cert.Leaf)
	c.fitness(files.Cert, cert.Leaf)
	c.chain(files.Cert, cert.Certificate, cert.Leaf)
}

func (c *checker) validity(file string, leaf *x509.Certificate) {
	switch left := leaf.NotAfter.Sub(c.now); {
	case left < 0:
		c.warnf("%s has expired on %s: clients will refuse it", file, day(leaf.NotAfter))
	case c.now.Before(leaf.NotBefore):
		c.warnf("%s is not valid before %s: clients will refuse it", file, day(leaf.NotBefore))
	case left < soon:
		c.warnf("%s expires on %s", file, day(leaf.NotAfter))
	}
}

// minRSA is what the libraries of clients take at their usual level of security.
const minRSA = 2048

func (c *checker) fitness(file string, leaf *x509.Certificate) {
	switch {
	case len(hostNames(leaf)) == 0 && len(leaf.IPAddresses) == 0:
		c.warnf("%s has no name: clients that check it will refuse it", file)
	case len(leaf.DNSNames) == 0 && len(leaf.IPAddresses) == 0:
		c.warnf("%s has its name as common name only (%q): clients look for it as subject alternative name, and will refuse it", file, leaf.Subject.CommonName)
	}
	if len(leaf.ExtKeyUsage) > 0 && !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageServerAuth) && !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageAny) {
		c.warnf("%s is not one for servers (extended key usage): clients will refuse it", file)
	}
	if k, ok := leaf.PublicKey.(*rsa.PublicKey); ok && k.N.BitLen() < minRSA {
		c.warnf("%s has an RSA key of %d bits: many clients refuse less than %d", file, k.N.BitLen(), minRSA)
	}
}

// chain looks for the two usual mistakes: the certificate without its chain, and a chain out of order. One of a CA of one's own, that
// clients have the root of, rightly comes alone; one of a public CA says where its issuer's certificate is to be had.
func (c *checker) chain(file string, der [][]byte, leaf *x509.Certificate) {
	if len(der) == 1 && len(leaf.IssuingCertificateURL) > 0 && !bytes.Equal(leaf.RawIssuer, leaf.RawSubject) {
		c.warnf("%s comes without its chain: clients may not find the way to its root; name the file that has it (certbot: fullchain.pem)", file)
	}
	at := leaf
	for i, raw := range der[1:] {
		next, err := x509.ParseCertificate(raw)
		if err != nil {
			c.warnf("certificate %d in %s: %v", i+2, file, err)
			return
		}
		if !bytes.Equal(at.RawIssuer, next.RawSubject) {
			c.warnf("certificate %d in %s is not that of who has signed the one before it: the order is certificate, issuer, its issuer", i+2, file)
			return
		}
		if c.now.After(next.NotAfter) {
			c.warnf("certificate %d in %s has expired on %s", i+2, file, day(next.NotAfter))
		}
		at = next
	}
}
