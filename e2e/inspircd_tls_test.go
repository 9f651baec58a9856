//go:build e2e

package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/handoff/protocol"
)

// selfSigned makes a certificate, writes it and its key into dir, and answers its fingerprint.
func selfSigned(t *testing.T, dir, name string) (cert tls.Certificate, fingerprint string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, name+".crt"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	writeFile(t, filepath.Join(dir, name+".key"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	sum := sha256.Sum256(der)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, hex.EncodeToString(sum[:])
}

// asOpenSSL is a fingerprint as openssl x509 -fingerprint prints it.
func asOpenSSL(fingerprint string) string {
	var pairs []string
	for pair := range slices.Chunk([]byte(strings.ToUpper(fingerprint)), 2) {
		pairs = append(pairs, string(pair))
	}
	return strings.Join(pairs, ":")
}

// TestInspIRCdControlWithTLS: control by TCP with TLS lets in who has the certificate, also while the world stands still.
func TestInspIRCdControlWithTLS(t *testing.T) { onBoth(t, inspIRCdControlWithTLS) }

func inspIRCdControlWithTLS(t *testing.T, v *inspVersion) {
	v.needGnuTLS(t)
	a := v.new(t, "a")
	selfSigned(t, a.dir, "ircd")
	cert, fingerprint := selfSigned(t, a.dir, "ferry")
	port := freePort(t)
	writeFile(t, a.conf, readFile(a.conf)+fmt.Sprintf(`
<module name="ssl_gnutls">
<sslprofile name="Handoff" provider="gnutls" certfile="%[1]s/ircd.crt" keyfile="%[1]s/ircd.key" hash="sha256">
<bind address="127.0.0.1" port="%[2]d" type="handoff" sslprofile="Handoff">
<handoff fingerprint="0123 %[3]s">
`, a.dir, port, asOpenSSL(fingerprint)))
	a.run()
	h := newHand(t, a)
	ann := h.open("i.1", "ann", nil)

	d := protocol.Dialer{TLS: &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{cert}}}
	c, err := d.Dial(t.Context(), fmt.Sprintf("tcp:127.0.0.1:%d", port))
	h.ok(err)
	defer c.Close()
	h.c = c
	_, err = c.Hello(t.Context(), protocol.Hello{Name: "i"})
	h.ok(err)
	ann.ask("JOIN #sea")
	tx, users, _ := h.export(ann)
	if len(users) != 1 {
		t.Errorf("%d users", len(users))
	}
	<-time.After(50 * time.Millisecond) // a coordinator has to think, and the ircd looks for its word many times in vain
	if st, err := c.Status(t.Context(), tx); err != nil || st.Source != protocol.SourceFrozen {
		t.Errorf("%+v, %v; want it still frozen", st, err)
	}
	h.ok(c.Resume(t.Context(), tx))
	ann.ask("PING there")
	tx, _, records := h.export(ann)
	h.ok(c.Release(t.Context(), tx, ""))
	tx, _ = h.prepare(records...)
	ann = h.attach(tx, tx, "i.1")
	_, err = c.Commit(t.Context(), tx)
	h.ok(err)
	h.ok(ann.answer(protocol.VerbLive))
	ann.ask("PING there")

	// More than the sockets hold, to one who is slow to read: the last byte has to come while the world stands still.
	tx, _ = h.prepare(imported("i.2", "long", "x.inspircd.ext.swhois", strings.Repeat("y", 3<<20)))
	long := h.attach(tx, tx, "i.2")
	_, err = c.Commit(t.Context(), tx)
	h.ok(err)
	h.ok(long.answer(protocol.VerbLive))
	narrow, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	h.ok(err)
	h.ok(narrow.(*net.TCPConn).SetReadBuffer(16 << 10))
	h.c = protocol.NewControl(tls.Client(narrow, d.TLS.Clone()))
	defer h.c.Close()
	_, err = h.c.Hello(t.Context(), protocol.Hello{Name: "i"})
	h.ok(err)
	for range 3 {
		begin := time.Now()
		tx, users, _ = h.export(long)
		if value := users["i.2"].Get("x.inspircd.ext.swhois"); len(value) != 3<<20 {
			t.Errorf("%d bytes came of 3 MiB", len(value))
		}
		h.ok(h.c.Resume(t.Context(), tx))
		if took := time.Since(begin); took > 4*time.Second {
			t.Errorf("an export of 3 MiB took %v, the whole of its freeze", took)
		}
	}

	other, _ := selfSigned(t, a.dir, "other")
	for name, certs := range map[string][]tls.Certificate{"no certificate": nil, "another certificate": {other}} {
		d.TLS.Certificates = certs
		c, err := d.Dial(t.Context(), fmt.Sprintf("tcp:127.0.0.1:%d", port))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_, err = c.Hello(t.Context(), protocol.Hello{Name: "i"})
		h.fails(err, protocol.CodeDenied)
		_ = c.Close()
	}
}
