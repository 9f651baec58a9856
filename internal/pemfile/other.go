package pemfile

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
)

// pkcs12 is how PKCS #12 begins behind its outer header: version 3 (RFC 7292 section 4).
var pkcs12 = []byte{0x02, 0x01, 0x03, 0x30}

// signedData is the OID of PKCS #7 signed data, which is what a .p7b is.
var signedData = []byte{0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02}

// notPEM says what a file without a block is.
func notPEM(path string, data []byte) error {
	head := data[:min(len(data), 32)]
	switch {
	case len(bytes.TrimSpace(data)) == 0:
		return errors.New("it is empty")
	case len(data) > 0 && data[0] != 0x30:
		return errors.New("it has no -----BEGIN line, so it is no PEM file")
	case bytes.Contains(head, pkcs12):
		return fmt.Errorf("it is PKCS #12 (.p12, .pfx): openssl pkcs12 -in %s -nokeys -out chain.pem, and for the key openssl pkcs12 -in %s -nocerts -noenc -out key.pem", path, path)
	case bytes.Contains(head, signedData):
		return fmt.Errorf("it is PKCS #7 (.p7b): openssl pkcs7 -inform DER -in %s -print_certs -out chain.pem", path)
	}
	if _, err := x509.ParseCertificate(data); err == nil {
		return fmt.Errorf("it is a certificate as DER: openssl x509 -inform DER -in %s -out cert.pem", path)
	}
	if isKey(data) {
		return fmt.Errorf("it is a key as DER: openssl pkey -inform DER -in %s -out key.pem", path)
	}
	return errors.New("it is no PEM file; it may be DER, see openssl asn1parse -inform DER")
}

func isKey(der []byte) bool {
	_, err8 := x509.ParsePKCS8PrivateKey(der)
	_, err1 := x509.ParsePKCS1PrivateKey(der)
	_, errEC := x509.ParseECPrivateKey(der)
	return err8 == nil || err1 == nil || errEC == nil
}
