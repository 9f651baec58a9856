package pemfile

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// signed is a certificate and its key, PEM.
func signed(t *testing.T, name string, by *x509.Certificate, byKey *ecdsa.PrivateKey) (cert, key []byte, c *x509.Certificate, k *ecdsa.PrivateKey) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, IsCA: by == nil,
		BasicConstraintsValid: true, NotAfter: time.Now().Add(time.Hour)}
	if by == nil {
		by, byKey = tmpl, k
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, by, &k.PublicKey, byKey)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	p8, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: p8}), c, k
}

// Issue 10, 8 (golang/go#7042, bbb-install#656): a chain joined without a newline, or cut, was served with one certificate and not a word; and what was
// no PEM at all was "failed to find any PEM data".
func TestWhatAFileIs(t *testing.T) {
	root, _, rootCert, rootKey := signed(t, "root", nil, nil)
	leaf, key, _, _ := signed(t, "irc.test", rootCert, rootKey)
	chain := slicesConcat(leaf, root)
	block, _ := pem.Decode(leaf)
	keyBlock, _ := pem.Decode(key)
	indent := func(p []byte) []byte {
		return bytes.ReplaceAll(append([]byte("  "), p...), []byte("\n"), []byte("\n  "))
	}
	for _, c := range []struct {
		name      string
		cert, key []byte
		want      string // "": good
	}{
		{"good", chain, key, ""},
		{"with text before and between", slicesConcat([]byte("subject: x\n"), leaf, []byte("\nissuer\n"), root), key, ""},
		{"CR LF", bytes.ReplaceAll(chain, []byte("\n"), []byte("\r\n")), key, ""},
		{"no newline at the end", bytes.TrimRight(chain, "\n"), key, ""},
		{"joined without a newline", slicesConcat(bytes.TrimRight(leaf, "\n"), root), key, "block 2 of 2 (line "},
		{"last block cut", chain[:len(chain)-40], key, "block 2 of 2 (line"},
		{"first block cut", slicesConcat(leaf[:len(leaf)-30], root), key, "block 1 of 2 (line 1) is cut"},
		{"beginning cut", slicesConcat(leaf[40:], root), key, "its beginning is cut"},
		{"base64 broken", slicesConcat(leaf, bytes.Replace(root, root[60:64], []byte("%%%%"), 1)), key, "block 2 of 2"},
		{"leaf last", slicesConcat(root, leaf), key, "belongs to certificate 2 of the file"},
		{"mark", slicesConcat([]byte("\xef\xbb\xbf"), chain), key, "byte order mark"},
		{"mark before the key", chain, slicesConcat([]byte("\xef\xbb\xbf"), key), "byte order mark"},
		{"UTF-16", []byte("\xff\xfe-\x00-\x00"), key, "iconv -f UTF-16"},
		{"indented", indent(chain), key, "is indented"},
		{"indented key", chain, indent(key), "is indented"},
		{"backslash n", bytes.ReplaceAll(chain, []byte("\n"), []byte(`\n`)), key, `printf '%b'`},
		{"CR", bytes.ReplaceAll(chain, []byte("\n"), []byte("\r")), key, `tr '\r'`},
		{"DER", block.Bytes, key, "openssl x509 -inform DER"},
		{"key as DER", chain, keyBlock.Bytes, "openssl pkey -inform DER"},
		{"empty", nil, key, "it is empty"},
		{"nonsense", []byte("hello\n"), key, "no -----BEGIN line"},
		{"request", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: []byte("x")}), key, "certificate request"},
		{"PKCS #7 as PEM", pem.EncodeToMemory(&pem.Block{Type: "PKCS7", Bytes: []byte("x")}), key, "openssl pkcs7 -in"},
		{"encrypted key", chain, pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("x")}), "it is encrypted"},
		{"another's key", chain, func() []byte { _, k, _, _ := signed(t, "x", nil, nil); return k }(), "private key does not match"},
	} {
		t.Run(c.name, func(t *testing.T) {
			pair, err := Pair("c.pem", c.cert, "k.pem", c.key)
			switch {
			case c.want == "" && (err != nil || len(pair.Certificate) != 2):
				t.Errorf("%d certificates, %v", len(pair.Certificate), err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want %s", err, c.want)
			}
			if err != nil && len(c.key) > 60 && strings.Contains(err.Error(), string(c.key[30:60])) {
				t.Errorf("the key is in the error")
			}
		})
	}
	if _, err := Roots("ca.pem", slicesConcat(bytes.TrimRight(root, "\n"), root)); err == nil || !strings.Contains(err.Error(), "without a newline") {
		t.Errorf("roots that are joined: %v", err)
	}
	if _, err := Roots("ca.pem", chain); err != nil {
		t.Errorf("roots: %v", err)
	}
}

func slicesConcat(ps ...[]byte) []byte { return bytes.Join(ps, nil) }

// What OpenSSL itself writes, and what the commands in the errors make of it.
func TestOpenSSLFiles(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("no openssl here: apt-get install openssl")
	}
	dir := t.TempDir()
	run := func(line string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), openssl, strings.Fields(line)...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("openssl %s: %v %s", line, err, out)
		}
	}
	run("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=irc.test -keyout key.pem -out cert.pem -days 1")
	run("pkcs12 -export -in cert.pem -inkey key.pem -out both.p12 -passout pass:x")
	run("crl2pkcs7 -nocrl -certfile cert.pem -outform DER -out chain.p7b")
	run("ec -in key.pem -param_enc explicit -out explicit.pem")
	run("x509 -in cert.pem -trustout -addtrust serverAuth -out trusted.pem")
	for _, c := range []struct{ cert, key, want string }{
		{"both.p12", "key.pem", "it is PKCS #12"},
		{"cert.pem", "both.p12", "it is PKCS #12"},
		{"chain.p7b", "key.pem", "it is PKCS #7"},
		{"cert.pem", "explicit.pem", "openssl ec -in OLD -param_enc named_curve"},
		{"trusted.pem", "key.pem", "openssl x509 -in"},
	} {
		read := func(name string) []byte {
			data, err := Read(filepath.Join(dir, name), 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			return data
		}
		if _, err := Pair(c.cert, read(c.cert), c.key, read(c.key)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s with %s: got %v, want %s", c.cert, c.key, err, c.want)
		}
	}
}

// certbot's live/ links into archive/, and neither may be entered by others.
func TestClosedDirectoryIsNamed(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root may enter every directory; the e2e tests do this as another user")
	}
	dir := t.TempDir()
	closed := filepath.Join(dir, "archive")
	if err := os.Mkdir(closed, 0); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "fullchain.pem")
	if err := os.Symlink("archive/fullchain1.pem", link); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(link, 1000); err == nil || !strings.Contains(err.Error(), "the directory "+closed) {
		t.Errorf("got %v", err)
	}
}

// FuzzBlocks: whatever the file is, it is judged without a panic, and taken only if nothing in it looks like a block and is none.
func FuzzBlocks(f *testing.F) {
	good := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("hello")}))
	for _, s := range []string{"", good, good + good, strings.TrimSpace(good) + good, " " + good, good[:20], "-----BEGIN ", "\xef\xbb\xbf" + good, "-----END X-----\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		blocks, err := Blocks("x", data)
		if err == nil && len(blocks) != bytes.Count(data, begin) {
			t.Errorf("%d blocks of %q", len(blocks), data)
		}
		_, _ = Pair("x", data, "y", data)
	})
}
