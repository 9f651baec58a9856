package handshake

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"testing"

	"github.com/ircferry/ircferry/internal/certs/certtest"
)

// A certificate that the standard library cannot read, or a proof that is none, is counted as that, whatever the alert was and whether it
// was sealed. Clients do come with such: secp256k1 and brainpool keys are in use for SASL EXTERNAL.
func TestCertificatesThatCannotBeTaken(t *testing.T) {
	server, alice := certtest.SelfSigned(t, certtest.Options{}), certtest.SelfSigned(t, certtest.Options{CN: "alice"})
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der := alice.Cert.Certificate[0]
	tests := map[string]tls.Certificate{
		"of a curve that is not known": {Certificate: [][]byte{edited(t, der, curveP256, curve239v3)}, PrivateKey: alice.Cert.PrivateKey},
		"garbage":                      {Certificate: [][]byte{[]byte("garbage")}, PrivateKey: alice.Cert.PrivateKey},
		"of a chain that is not known": {Certificate: [][]byte{der, edited(t, der, curveP256, curve239v3)}, PrivateKey: alice.Cert.PrivateKey},
		"RSA of 8,200 bits":            {Certificate: [][]byte{hugeRSA(t, alice)}, PrivateKey: alice.Cert.PrivateKey},
		"of somebody else":             {Certificate: [][]byte{der}, PrivateKey: other},
	}
	for name, cert := range tests {
		for _, version := range versions {
			t.Run(name+", "+tls.VersionName(version), func(t *testing.T) {
				a, b := pair(t)
				done := serve(b, serverConfig(server, ServerOptions{Tickets: NewTickets(), RequestCert: true}))
				cfg := newClient(server, version)
				cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
				go func() {
					c := tls.Client(a, cfg.Config)
					c.Handshake()
					c.Read(make([]byte, 1)) // in TLS 1.3 the client is ready before we have seen its certificate
				}()
				failed(t, wait(t, done), reasonPeerCert)

				a, b = pair(t)
				done = shakeAsClient(b, ClientConfig(ClientOptions{RootCAs: alice.Roots(), ServerName: "irc.test"}))
				go tls.Server(a, &tls.Config{MaxVersion: version, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &cert, nil }}).Handshake()
				failed(t, wait(t, done), reasonPeerCert)
			})
		}
	}
}

// Two curves, as certificates name them; X9.62 prime239v3 is nobody's.
const curveP256, curve239v3 = "\x2a\x86\x48\xce\x3d\x03\x01\x07", "\x2a\x86\x48\xce\x3d\x03\x01\x06"

func edited(t *testing.T, der []byte, old, put string) []byte {
	t.Helper()
	if bytes.Count(der, []byte(old)) != 1 {
		t.Fatal("not the certificate that it was")
	}
	return bytes.Replace(der, []byte(old), []byte(put), 1)
}

func hugeRSA(t *testing.T, by *certtest.Pair) []byte {
	t.Helper()
	n := new(big.Int).Lsh(big.NewInt(1), 8199)
	der, err := x509.CreateCertificate(rand.Reader, by.Leaf(), by.Leaf(), &rsa.PublicKey{N: n.Add(n, big.NewInt(1)), E: 65537}, by.Cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return der
}
