package handshake

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ircferry/ircferry/internal/certs/certtest"
)

// TestOpenSSL has another implementation for a client: full and resumed handshakes, groups that want a HelloRetryRequest, each suite, with and
// without a certificate.
func TestOpenSSL(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("needs openssl in PATH")
	}
	dir := t.TempDir()
	alice := certtest.SelfSigned(t, certtest.Options{CN: "alice"})
	cert, key := alice.Write(t, dir, "alice")
	withCert := []string{"-cert", cert, "-key", key}
	tests := []struct {
		name, cipher string
		rsa          bool
		args         []string
	}{
		{"1.3", "TLS_AES_128_GCM_SHA256", false, []string{"-tls1_3"}},
		{"1.3 RSA", "TLS_AES_256_GCM_SHA384", true, []string{"-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384"}},
		{"1.3 ChaCha20", "TLS_CHACHA20_POLY1305_SHA256", false, []string{"-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"}},
		{"1.3 P-256", "TLS_AES_128_GCM_SHA256", false, []string{"-tls1_3", "-groups", "P-256"}},
		{"1.3 retry", "TLS_AES_128_GCM_SHA256", false, []string{"-tls1_3", "-groups", "X448:P-521"}},
		{"1.2", "ECDHE-ECDSA-AES128-GCM-SHA256", false, []string{"-tls1_2"}},
		{"1.2 AES-256", "ECDHE-ECDSA-AES256-GCM-SHA384", false, []string{"-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"}},
		{"1.2 ChaCha20", "ECDHE-ECDSA-CHACHA20-POLY1305", false, []string{"-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"}},
		{"1.2 RSA", "ECDHE-RSA-AES128-GCM-SHA256", true, []string{"-tls1_2"}},
		{"1.2 RSA ChaCha20", "ECDHE-RSA-CHACHA20-POLY1305", true, []string{"-tls1_2", "-cipher", "ECDHE-RSA-CHACHA20-POLY1305"}},
	}
	for _, tt := range tests {
		for _, who := range [][]string{nil, withCert} {
			t.Run(tt.name, func(t *testing.T) {
				cfg := serverConfig(certtest.SelfSigned(t, certtest.Options{RSA: tt.rsa}), ServerOptions{Tickets: NewTickets(), RequestCert: true})
				session := filepath.Join(t.TempDir(), "session")
				for i, args := range [][]string{{"-sess_out", session}, {"-sess_in", session}} {
					args = append(append(args, tt.args...), who...)
					f, said := visitByOpenSSL(t, openssl, cfg, args)
					if said != "hello\n" {
						t.Errorf("came back: %q", said)
					}
					if f.Cipher != tt.cipher || f.Resumed != (i == 1) || f.SNI != "irc.test" {
						t.Errorf("visit %d: %+v", i, f)
					}
					if who != nil && f.CertFP != alice.Fingerprint() || who == nil && f.CertFP != "" {
						t.Errorf("visit %d: fingerprint %q", i, f.CertFP)
					}
				}
			})
		}
	}
}

// visitByOpenSSL has s_client say hello, sends it back and ends.
func visitByOpenSSL(t *testing.T, openssl string, cfg *tls.Config, args []string) (Facts, string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	args = append([]string{"s_client", "-connect", ln.Addr().String(), "-quiet", "-servername", "irc.test"}, args...)
	cmd := exec.CommandContext(t.Context(), openssl, args...)
	cmd.Stdin = strings.NewReader("hello\n")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	e := wait(t, serve(conn, cfg))
	if e.Err == nil {
		c := newCodec(&e.Params, e.rest, conn)
		p, err := c.next()
		if err != nil {
			t.Error(err)
		}
		c.Write(p)
	}
	conn.Close()
	cmd.Wait() // it does not like to miss close_notify
	if e.Err != nil {
		t.Fatalf("%v\n%s", e.Err, errs.Bytes())
	}
	return e.Facts, out.String()
}

// TestOpenSSLServer has s_server for a backend; -rev makes it send back each line, turned round.
func TestOpenSSLServer(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("needs openssl in PATH")
	}
	dir := t.TempDir()
	root := certtest.NewAuthority(t, "test root")
	cert, key := root.Issue(t, certtest.Options{}).Write(t, dir, "server")
	ours := root.Issue(t, certtest.Options{CN: "the proxy"})
	for _, args := range [][]string{{"-tls1_3"}, {"-tls1_2"}, {"-tls1_3", "-verify", "1"}, {"-tls1_2", "-verify", "1"}, {"-tls1_3", "-num_tickets", "7"},
		{"-tls1_3", "-groups", "P-521"}, {"-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), openssl, append([]string{"s_server", "-accept", "127.0.0.1:0", "-naccept", "1", "-rev", "-cert", cert, "-key", key}, args...)...)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer cmd.Wait()
			addr := ""
			for lines := bufio.NewScanner(out); addr == "" && lines.Scan(); {
				if a, ok := strings.CutPrefix(lines.Text(), "ACCEPT "); ok {
					addr = a
				}
			}
			go io.Copy(io.Discard, out)
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			e := must(t, shakeAsClient(conn, ClientConfig(ClientOptions{RootCAs: root.Roots(), ServerName: "irc.test", Certificate: &ours.Cert})))
			c := newCodec(&e.Params, e.rest, conn)
			for range 3 {
				c.Write([]byte("hello\n"))
				if p, err := c.next(); err != nil || strings.TrimSpace(string(p)) != "olleh" {
					t.Fatalf("came back: %q, %v", p, err)
				}
			}
		})
	}
}
