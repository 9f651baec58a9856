package cluster

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"

	"github.com/ircferry/ircferry/internal/config"
	"github.com/ircferry/ircferry/internal/pemfile"
)

// identity is who this member is to the others, and whom it believes.
type identity struct {
	pair  tls.Certificate
	roots *x509.CertPool
}

// maxPEM is far above what a certificate file of many roots needs.
const maxPEM = 4 << 20

// readIdentity reads certificate, key and roots. Errors name the key of the configuration and the file, and hold nothing of what is in it.
func readIdentity(k config.Cluster) (id identity, err error) {
	ca, err := pemfile.Read(k.RPC.CA, maxPEM)
	if err != nil {
		return id, fmt.Errorf("cluster.rpc.ca: %w", err)
	}
	if id.roots, err = pemfile.Roots(k.RPC.CA, ca); err != nil {
		return id, fmt.Errorf("cluster.rpc.ca: %w", err)
	}
	cert, err := pemfile.Read(k.RPC.Cert, maxPEM)
	if err != nil {
		return id, fmt.Errorf("cluster.rpc.cert: %w", err)
	}
	key, err := pemfile.Read(k.RPC.Key, maxPEM)
	if err != nil {
		return id, fmt.Errorf("cluster.rpc.key: %w", err)
	}
	defer clear(key)
	if id.pair, err = pemfile.Pair(k.RPC.Cert, cert, k.RPC.Key, key); err != nil {
		return id, fmt.Errorf("cluster.rpc.cert: use %s with %s: %w", k.RPC.Cert, k.RPC.Key, err)
	}
	if id.pair.Leaf, err = x509.ParseCertificate(id.pair.Certificate[0]); err != nil {
		return id, fmt.Errorf("cluster.rpc.cert: %w", err)
	}
	return id, id.fits(k)
}

// fits says whether the others would take the certificate for that of this member.
func (id identity) fits(k config.Cluster) error {
	if err := id.pair.Leaf.VerifyHostname(k.Member()); err != nil {
		return fmt.Errorf("cluster.rpc.cert: %s is not for the name of this member, %q, which must be among its DNS names (subject alternative names): %w",
			k.RPC.Cert, k.Member(), err)
	}
	between := x509.NewCertPool()
	for _, der := range id.pair.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			between.AddCert(c)
		}
	}
	for use, what := range map[x509.ExtKeyUsage]string{x509.ExtKeyUsageServerAuth: "servers", x509.ExtKeyUsageClientAuth: "clients"} {
		o := x509.VerifyOptions{Roots: id.roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{use}, CurrentTime: middle(id.pair.Leaf)}
		if _, err := id.pair.Leaf.Verify(o); err != nil {
			return fmt.Errorf("cluster.rpc.cert: %s does not lead to a root of %s as one for %s, so that the others would refuse it: %w", k.RPC.Cert, k.RPC.CA, what, err)
		}
	}
	return nil
}

// serverConfig is how members that ask are met: no tickets, so that each connection shows its certificate.
func (id identity) serverConfig() *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{id.pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: id.roots, MinVersion: tls.VersionTLS13,
		NextProtos: []string{"h2"}, SessionTicketsDisabled: true}
}

// clientConfig is how members are asked; whose name is asked for, the URL says.
func (id identity) clientConfig() *tls.Config {
	return &tls.Config{RootCAs: id.roots, MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &id.pair, nil }}
}
