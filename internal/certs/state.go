package certs

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/ircferry/ircferry/internal/config"
)

// State is one certificate of one listener as it is now.
type State struct {
	Listener            string
	Files               config.Cert
	Default             bool     // for clients that ask for a name that no certificate has, or for none
	Names               []string // never empty
	Issuer, Key         string   // "R11", "ECDSA P-256"
	NotBefore, NotAfter time.Time
	Fingerprint         string // SHA-256, lower-case hex
	Read                time.Time
	Broken              string    // what is wrong with its files, which is why this one goes on; "": nothing
	Since               time.Time // that they are
}

// States lists what is in use, by listener in the order of the configuration.
func (s *Store) States() []State {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []State
	for _, l := range s.set.listeners {
		for i, p := range l.pairs {
			leaf := p.cert.Leaf
			all = append(all, State{Listener: l.name, Files: p.files, Default: i == 0, Names: Names(leaf), Issuer: issuer(leaf), Key: keyWords(leaf),
				NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter, Fingerprint: fingerprint(leaf), Read: p.read, Broken: p.broken, Since: p.since})
		}
	}
	return all
}

func fingerprint(leaf *x509.Certificate) string {
	sum := sha256.Sum256(leaf.Raw)
	return hex.EncodeToString(sum[:])
}

// Names are all that a certificate is for, names before addresses; "(no name)" alone if it is for nothing.
func Names(leaf *x509.Certificate) []string {
	names := slices.Clone(hostNames(leaf))
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return []string{"(no name)"}
	}
	return names
}

func issuer(leaf *x509.Certificate) string {
	switch i := leaf.Issuer; {
	case i.CommonName != "":
		return i.CommonName
	case len(i.Organization) > 0:
		return i.Organization[0]
	}
	return leaf.Issuer.String()
}

func keyWords(leaf *x509.Certificate) string {
	switch k := leaf.PublicKey.(type) {
	case *ecdsa.PublicKey:
		return "ECDSA " + k.Curve.Params().Name
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d", k.N.BitLen())
	case ed25519.PublicKey:
		return "Ed25519"
	}
	return leaf.PublicKeyAlgorithm.String()
}
