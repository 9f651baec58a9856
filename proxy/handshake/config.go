package handshake

import (
	"crypto/tls"
	"crypto/x509"
)

// protocol is the one that we answer to a client which asks by ALPN (registered with IANA). A client that asks only for others is refused with
// no_application_protocol, as RFC 7301 wants it; one that does not ask is not.
const protocol = "irc"

// suites12 are the suites of TLS 1.2 that can be taken over. Those of TLS 1.3 all can, and crypto/tls lets nobody choose among them.
var suites12 = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

// ServerOptions are what differs between listeners.
type ServerOptions struct {
	GetCertificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	MinVersion     uint16   // 0: TLS 1.2, and nothing lower is spoken
	RequestCert    bool     // ask for a certificate; one that nobody vouches for is as good as another, its fingerprint counts
	Tickets        *Tickets // nil: no session is resumed
}

// ServerConfig is the configuration of a listener. It may be used by any number of handshakes at the same time.
func ServerConfig(o ServerOptions) *tls.Config {
	c := &tls.Config{
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			cert, err := o.GetCertificate(hello)
			if err != nil {
				return nil, errNoCertificate
			}
			return cert, nil
		},
		MinVersion:             max(o.MinVersion, tls.VersionTLS12),
		CipherSuites:           suites12,
		NextProtos:             []string{protocol},
		SessionTicketsDisabled: o.Tickets == nil,
	}
	if o.RequestCert {
		c.ClientAuth = tls.RequestClientCert
	}
	if o.Tickets != nil {
		o.Tickets.use(c)
	}
	return c
}

// ClientOptions say whom we trust as a backend and who we are there.
type ClientOptions struct {
	RootCAs     *x509.CertPool // nil: those of the system
	ServerName  string         // that the certificate must be for
	Certificate *tls.Certificate
}

// ClientConfig is the configuration towards a backend. Without a certificate none is ever presented: there are ircds that would show it as
// the user's.
func ClientConfig(o ClientOptions) *tls.Config {
	c := &tls.Config{RootCAs: o.RootCAs, ServerName: o.ServerName, MinVersion: tls.VersionTLS12, CipherSuites: suites12}
	if o.Certificate != nil {
		c.Certificates = []tls.Certificate{*o.Certificate}
	}
	return c
}
