package protocol

import (
	"crypto/tls"
	"crypto/x509"
)

// ServerTLS is for the ircd's control listener over TCP: cert says who the ircd is, and only coordinators are let in whose certificate leads to
// one of coordinators, or is one of them. Put it into tls.NewListener; the coordinator's end is Dialer.TLS.
func ServerTLS(cert tls.Certificate, coordinators *x509.CertPool) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: coordinators, MinVersion: tls.VersionTLS12}
}
