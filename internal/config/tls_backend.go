package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/ircferry/ircferry/internal/pemfile"
)

// aeadSuites are the suites of TLS 1.2 that are spoken: with forward secrecy and an AEAD, as all of TLS 1.3 are.
var aeadSuites = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

// maxPEM is far above what a certificate file of many roots needs.
const maxPEM = 4 << 20

// ClientConfig reads the files and returns how to shake hands with the backend as a client. host is the one that is dialled, for the case
// that there is no server_name. A certificate is presented only if one is configured. Errors name the key and the file, and hold nothing
// of what is in it.
func (t *BackendTLS) ClientConfig(host string) (*tls.Config, error) {
	cfg := &tls.Config{ServerName: t.ServerName, MinVersion: tls.VersionTLS12, CipherSuites: aeadSuites}
	if cfg.ServerName == "" {
		cfg.ServerName = host
	}
	var err error
	if t.CA != "" {
		if cfg.RootCAs, err = readRoots(t.CA); err != nil {
			return nil, fmt.Errorf("tls.ca: %w", err)
		}
	}
	if t.Cert == "" && t.Key == "" {
		return cfg, nil
	}
	cert, err := readPair(t.Cert, t.Key)
	if err != nil {
		return nil, fmt.Errorf("tls.cert and tls.key: %w", err)
	}
	// Not by Certificates: from there nothing is sent to who asks for certificates of other roots only, and then the ircd cannot say who
	// it is that it refuses.
	cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	return cfg, nil
}

func readRoots(path string) (*x509.CertPool, error) {
	data, err := pemfile.Read(path, maxPEM)
	if err != nil {
		return nil, err
	}
	return pemfile.Roots(path, data)
}

func readPair(certFile, keyFile string) (tls.Certificate, error) {
	if certFile == "" || keyFile == "" {
		return tls.Certificate{}, errors.New("one without the other")
	}
	cert, err := pemfile.Read(certFile, maxPEM)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := pemfile.Read(keyFile, maxPEM)
	if err != nil {
		return tls.Certificate{}, err
	}
	defer clear(key)
	pair, err := pemfile.Pair(certFile, cert, keyFile, key)
	if err != nil {
		return pair, fmt.Errorf("use %s with %s: %w", certFile, keyFile, err)
	}
	return pair, nil
}
