package certtest

import (
	"crypto/tls"
	"crypto/x509"
	"testing"
)

// What Write writes is what the standard library reads, and it leads to its root.
func TestWrittenPairIsAPair(t *testing.T) {
	root := NewAuthority(t, "test root")
	middle := root.Issue(t, Options{CN: "test intermediate", Authority: true})
	for _, c := range []struct {
		name string
		pair *Pair
		root *Pair
	}{
		{"ECDSA", root.Issue(t, Options{Names: []string{"irc.test", "127.0.0.1"}}), root},
		{"RSA", root.Issue(t, Options{RSA: true}), root},
		{"self-signed", SelfSigned(t, Options{}), nil},
		{"with an intermediate", middle.Issue(t, Options{}), root},
	} {
		t.Run(c.name, func(t *testing.T) {
			cert, key := c.pair.Write(t, t.TempDir(), "irc")
			read, err := tls.LoadX509KeyPair(cert, key)
			if err != nil {
				t.Fatal(err)
			}
			roots := c.pair.Roots()
			if c.root != nil {
				roots = c.root.Roots()
			}
			between := x509.NewCertPool()
			for _, der := range read.Certificate[1:] {
				x, err := x509.ParseCertificate(der)
				if err != nil {
					t.Fatal(err)
				}
				between.AddCert(x)
			}
			for _, use := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
				o := x509.VerifyOptions{DNSName: "irc.test", Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{use}}
				if _, err := read.Leaf.Verify(o); err != nil {
					t.Errorf("verify: %v", err)
				}
			}
		})
	}
}
