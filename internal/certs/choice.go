package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"slices"
	"strings"
)

// choice is the certificates of one listener as a handshake asks for them. It is never changed.
type choice struct {
	all    []*tls.Certificate            // in the order of the configuration; the first is the default
	byName map[string][]*tls.Certificate // "irc.example", and "*.example" for any one label before ".example"
}

func newChoice(all []*tls.Certificate) *choice {
	c := &choice{all: all, byName: map[string][]*tls.Certificate{}}
	for _, cert := range all {
		for _, name := range hostNames(cert.Leaf) {
			if !slices.Contains(c.byName[name], cert) {
				c.byName[name] = append(c.byName[name], cert)
			}
		}
	}
	return c
}

// get is a tls.Config's GetCertificate: of the certificates that have the name, exactly before by a wildcard, the first that the client
// can take (it may know RSA only); without one the first of all, so that the client learns at least whom it has reached.
func (c *choice) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if len(c.all) == 0 {
		return nil, errors.New("no certificate")
	}
	name := normal(hello.ServerName)
	candidates := c.byName[name]
	if _, parent, ok := strings.Cut(name, "."); ok && len(candidates) == 0 {
		candidates = c.byName["*."+parent]
	}
	if name == "" || len(candidates) == 0 {
		candidates = c.all
	}
	if len(candidates) > 1 {
		nameless := *hello
		nameless.ServerName = "" // it was looked at above, and the default is for those that do not have it
		for _, cert := range candidates {
			if nameless.SupportsCertificate(cert) == nil {
				return cert, nil
			}
		}
	}
	return candidates[0], nil
}

// hostNames are the names that clients can ask for. A certificate without any subject alternative name has its common name, as
// home-made ones do.
func hostNames(leaf *x509.Certificate) []string {
	names := leaf.DNSNames
	if len(names) == 0 && len(leaf.IPAddresses) == 0 && leaf.Subject.CommonName != "" {
		names = []string{leaf.Subject.CommonName}
	}
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = normal(n)
	}
	return out
}

func normal(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }
