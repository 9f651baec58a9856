package config

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
)

// ErrFingerprint marks a certificate that is none of those that a link knows.
var ErrFingerprint = errors.New("its certificate is none of fingerprints")

// DialConfig reads the files and returns how to shake hands as a client with who is at host. Errors name the key and the file, and hold nothing
// of what is in it.
func (t *LinkTLS) DialConfig(host string) (*tls.Config, error) {
	as := BackendTLS{CA: t.CA, ServerName: t.ServerName, Cert: t.Cert, Key: t.Key}
	cfg, err := as.ClientConfig(host)
	if err == nil && len(t.Fingerprints) > 0 {
		cfg.InsecureSkipVerify = true // the fingerprint says more than a chain
		cfg.VerifyConnection = t.known
	}
	return cfg, err
}

// ListenConfig reads the files and returns how to shake hands as a server. With fingerprints the client must show one of those certificates.
func (t *LinkTLS) ListenConfig() (*tls.Config, error) {
	pair, err := t.pair()
	if err != nil {
		return nil, err
	}
	// Without tickets every connection shows its certificate.
	cfg := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, CipherSuites: aeadSuites, SessionTicketsDisabled: true}
	if len(t.Fingerprints) > 0 {
		cfg.ClientAuth = tls.RequireAnyClientCert
		cfg.VerifyConnection = t.known
	}
	return cfg, nil
}

func (t *LinkTLS) pair() (tls.Certificate, error) {
	pair, err := readPair(t.Cert, t.Key)
	if err != nil {
		return pair, fmt.Errorf("tls.cert and tls.key: %w", err)
	}
	return pair, nil
}

// OwnFingerprint is that of Cert: what the other end has to know.
func (t *LinkTLS) OwnFingerprint() (Fingerprint, error) {
	pair, err := t.pair()
	if err != nil {
		return "", err
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return "", fmt.Errorf("tls.cert: %w", err)
	}
	return FingerprintOf(leaf), nil
}

// known looks for the other end's certificate among those of the configuration.
func (t *LinkTLS) known(s tls.ConnectionState) error {
	if len(s.PeerCertificates) == 0 {
		return errors.New("it shows no certificate")
	}
	if got := FingerprintOf(s.PeerCertificates[0]); !slices.Contains(t.Fingerprints, got) {
		return fmt.Errorf("%w: it has %s", ErrFingerprint, got)
	}
	return nil
}

// FingerprintOf is the SHA-256 of a certificate, as Fingerprint is written.
func FingerprintOf(c *x509.Certificate) Fingerprint {
	sum := sha256.Sum256(c.Raw)
	return Fingerprint(hex.EncodeToString(sum[:]))
}
