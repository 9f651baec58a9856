//go:build e2e

package e2e

import (
	"crypto/tls"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// talk sends the whole text, changing keys in the middle of it, and returns when all that was wanted has come.
func (v *visit) talk(t *testing.T, w io.Writer, changeKeys func(n int)) {
	t.Helper()
	say := func(p []byte) {
		if _, err := w.Write(p); err != nil {
			t.Fatalf("send: %v", err)
		}
	}
	say([]byte("NICK " + v.nick + "\r\n"))
	heard, err := v.b.of(v.nick)
	if err != nil {
		t.Fatal(err)
	}
	sent := 0
	for i, piece := range pieces(v.b.up, keyChanges+1) {
		say(piece)
		sent += len(piece)
		all(t, "the backend", heard, sent)
		if i == 0 {
			v.known(t)
		}
		if i < keyChanges {
			changeKeys(i)
		}
	}
	all(t, v.name, v.got, len(v.got.want))
}

// all waits until that many bytes have come.
func all(t *testing.T, who string, a *arrival, n int) {
	t.Helper()
	for got := 0; got < n; {
		var err error
		if got, err = a.past(got); err != nil {
			t.Fatalf("%s has got %d of %d bytes: %v", who, got, n, err)
		}
	}
}

// keyChanges are key updates of the client; every second one asks us for one of ours.
const keyChanges = 4

// byOpenSSL is openssl s_client. -quiet keeps its words apart from the data, -no_ign_eof brings its commands back.
func byOpenSSL(t *testing.T, v *visit) {
	session, messages := filepath.Join(v.dir, "session"), filepath.Join(v.dir, "messages."+v.nick)
	args := append([]string{"s_client", "-connect", v.s.addr(), "-servername", v.server, "-verify_hostname", v.server, "-CAfile", v.s.ca,
		"-verify_return_error", "-quiet", "-no_ign_eof", "-msg", "-msgfile", messages}, v.args...)
	if v.resumes {
		args = append(args, "-sess_in", session)
	} else {
		args = append(args, "-sess_out", session)
	}
	if v.pair != nil {
		_, cert, key := writeCert(t, v.dir, v.pair)
		args = append(args, "-cert", cert, "-key", key)
	}
	p := startInto(t, v.got, nil, need(t, "openssl", "openssl"), args...)
	v.talk(t, p.stdin, func(n int) {
		if strings.HasPrefix(v.suite, "TLSv1.2") {
			return
		}
		command := [...]string{"K\n", "k\n"}[n%2]
		if _, err := io.WriteString(p.stdin, command); err != nil {
			t.Fatal(err)
		}
		eventually(t, 30*time.Second, "s_client has read "+command, func() bool { return strings.Count(p.out.String(), "KEYUPDATE") == n+1 })
	})
	_ = p.stdin.Close()
	if code := p.await(30 * time.Second); code != 0 {
		t.Errorf("openssl: exit code %d", code)
	}
	said := messageCounts(readFile(messages))
	want := map[string]int{">>> KeyUpdate": 0, "<<< KeyUpdate": 0, ">>> ClientHello": 1, "<<< Certificate": 1}
	if strings.HasPrefix(v.suite, "TLSv1.3") {
		want[">>> KeyUpdate"], want["<<< KeyUpdate"] = keyChanges, keyChanges/2
	}
	if v.retry {
		want[">>> ClientHello"] = 2
	}
	if v.resumes {
		want["<<< Certificate"] = 0
	}
	for message, n := range want {
		if said[message] != n {
			t.Errorf("%s: %d times, want %d", message, said[message], n)
		}
	}
}

// messageCounts reads what -msg has written: "<<< TLS 1.3, Handshake [length 0005], KeyUpdate".
func messageCounts(text string) map[string]int {
	counts := map[string]int{}
	for line := range strings.Lines(text) {
		if fields := strings.Split(strings.TrimSpace(line), ", "); len(fields) == 3 && len(line) > 4 {
			counts[line[:4]+fields[2]]++
		}
	}
	return counts
}

// byGnuTLS is gnutls-cli. What it says goes into a file of its own, if it is told so.
func byGnuTLS(t *testing.T, v *visit) {
	log := filepath.Join(v.dir, "log."+v.nick)
	host, port, _ := cutLast(v.s.addr(), ":")
	args := append([]string{host, "-p", port, "--sni-hostname", v.server, "--verify-hostname", v.server, "--x509cafile", v.s.ca, "--logfile", log,
		"--inline-commands", "--priority"}, v.args...)
	if v.resumes {
		args = append(args, "--resume", "--waitresumption")
	}
	if v.pair != nil {
		_, cert, key := writeCert(t, v.dir, v.pair)
		args = append(args, "--x509certfile", cert, "--x509keyfile", key)
	}
	p := startInto(t, byTick(t, v.got), nil, need(t, "gnutls-cli", "gnutls-bin"), args...)
	v.talk(t, p.stdin, func(n int) {
		if strings.HasPrefix(v.suite, "TLSv1.2") {
			return
		}
		if _, err := io.WriteString(p.stdin, [...]string{"^rekey^\n", "^rekey1^\n"}[n%2]); err != nil {
			t.Fatal(err)
		}
	})
	_ = p.stdin.Close()
	if code := p.await(30 * time.Second); code != 0 {
		t.Errorf("gnutls-cli: exit code %d\n%s", code, readFile(log))
	}
	said := readFile(log)
	if strings.Contains(said, "This is a resumed session") != v.resumes {
		t.Errorf("resumed: want %t\n%s", v.resumes, said)
	}
	if want, n := keyChanges, strings.Count(said, "Rekey was completed"); strings.HasPrefix(v.suite, "TLSv1.3") && n != want {
		t.Errorf("%d key updates, want %d\n%s", n, want, said)
	}
}

// byTick is a pipe that is read a few hundred times a second, and that no poll knows of. gnutls-cli writes its data byte by byte, and to wake
// somebody for each of them takes far more time than all else here.
func byTick(t *testing.T, to io.Writer) *os.File {
	t.Helper()
	var ends [2]int
	if err := syscall.Pipe2(ends[:], syscall.O_CLOEXEC); err != nil { // os.Pipe would be polled
		t.Fatal(err)
	}
	r, w := os.NewFile(uintptr(ends[0]), "r"), os.NewFile(uintptr(ends[1]), "w")
	t.Cleanup(func() { _ = w.Close() })
	tick := time.NewTicker(3 * time.Millisecond)
	go func() {
		defer func() {
			tick.Stop()
			_ = r.Close()
		}()
		buf := make([]byte, 64<<10)
		for range tick.C {
			n, err := r.Read(buf)
			if err != nil {
				return
			}
			_, _ = to.Write(buf[:n])
		}
	}()
	return w
}

// byGo is crypto/tls, which answers key updates and begins none.
func byGo(t *testing.T, v *visit) {
	cfg := &tls.Config{RootCAs: v.s.root.Roots(), ServerName: v.server, MinVersion: tls.VersionTLS13, ClientSessionCache: v.cache}
	if strings.HasPrefix(v.suite, "TLSv1.2") {
		cfg.MinVersion, cfg.MaxVersion = 0, tls.VersionTLS12
		cfg.CipherSuites = []uint16{map[string]uint16{"irc.test": tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
			"rsa.test": tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}[v.server]}
	}
	if v.pair != nil {
		cfg.Certificates = []tls.Certificate{v.pair.Cert}
	}
	conn, err := tls.Dial("tcp", v.s.addr(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if s := conn.ConnectionState(); s.DidResume != v.resumes {
		t.Errorf("resumed: %t, want %t", s.DidResume, v.resumes)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(v.got, conn)
		ended <- err
	}()
	v.talk(t, conn, func(int) {})
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended: // by a close_notify, else it is io.ErrUnexpectedEOF
		if err != nil {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Error("the connection does not end")
	}
}
