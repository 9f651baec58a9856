package certs

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ircferry/ircferry/internal/certs/certtest"
	"github.com/ircferry/ircferry/internal/config"
)

// rig is a store with what it has told.
type rig struct {
	*Store
	told []string
}

func newRig() *rig {
	r := &rig{}
	r.Store = NewStore(func(n Notice) { r.told = append(r.told, fmt.Sprintf("%s %v: %s", n.Word, n.Listeners, n.Text)) })
	return r
}

// use loads and uses, as a start and a reload do.
func (r *rig) use(t *testing.T, ls ...config.Listener) *Set {
	t.Helper()
	set, err := r.Load(ls)
	if err != nil {
		t.Fatal(err)
	}
	r.Use(set)
	return set
}

// expect wants exactly these notices since the last call, each told by its beginning.
func (r *rig) expect(t *testing.T, want ...string) {
	t.Helper()
	for i := range max(len(want), len(r.told)) {
		switch {
		case i >= len(want):
			t.Errorf("told too much: %s", r.told[i])
		case i >= len(r.told):
			t.Errorf("not told: %s", want[i])
		case !strings.Contains(r.told[i], want[i]):
			t.Errorf("told %s\nwant %s", r.told[i], want[i])
		}
	}
	r.told = nil
}

func listens(name string, certs ...config.Cert) config.Listener {
	return config.Listener{Name: name, TLS: &config.ListenerTLS{Certs: certs}}
}

func written(t *testing.T, p *certtest.Pair, dir, name string) config.Cert {
	t.Helper()
	cert, key := p.Write(t, dir, name)
	return config.Cert{Cert: cert, Key: key}
}

// aged gives the files a time that is past the doubt about their stamps, as files have that were there for a while.
func aged(t *testing.T, files config.Cert) config.Cert {
	t.Helper()
	for _, f := range []string{files.Cert, files.Key} {
		at := time.Now().Add(-time.Hour)
		if err := os.Chtimes(f, at, at); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// served is the fingerprint of what a client gets that asks for name, by a handshake.
func served(t *testing.T, get func(*tls.ClientHelloInfo) (*tls.Certificate, error), client *tls.Config) string {
	t.Helper()
	a, b := net.Pipe()
	server := tls.Server(a, &tls.Config{GetCertificate: get})
	done := make(chan error, 1)
	go func() { done <- server.HandshakeContext(t.Context()) }()
	client = client.Clone()
	client.InsecureSkipVerify = true
	c := tls.Client(b, client)
	if err := c.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	a.Close()
	b.Close()
	return fingerprint(c.ConnectionState().PeerCertificates[0])
}

func TestNewFilesReachTheNextClient(t *testing.T) {
	dir, r := t.TempDir(), newRig()
	first, second := certtest.SelfSigned(t, certtest.Options{Names: []string{"irc.test", "old.test"}}), certtest.SelfSigned(t, certtest.Options{})
	files := aged(t, written(t, first, dir, "irc"))
	get := r.use(t, listens("ircs", files), listens("more", files)).GetCertificate("ircs")
	r.look()
	if got := served(t, get, &tls.Config{ServerName: "irc.test"}); got != first.Fingerprint() {
		t.Errorf("got %s, want the first", got)
	}
	r.expect(t)
	written(t, second, dir, "irc")
	r.look()
	r.expect(t, "reloaded [ircs more]: valid until")
	r.look()
	r.expect(t)
	if got := served(t, get, &tls.Config{ServerName: "irc.test"}); got != second.Fingerprint() {
		t.Errorf("got %s, want the second", got)
	}
	if got := r.States(); len(got) != 2 || got[0].Fingerprint != second.Fingerprint() || got[1].Fingerprint != second.Fingerprint() {
		t.Errorf("states %+v", got)
	}
}

func TestANewCertificateWithoutANameOfTheOldOneIsTold(t *testing.T) {
	dir, r := t.TempDir(), newRig()
	files := written(t, certtest.SelfSigned(t, certtest.Options{Names: []string{"irc.test", "old.test"}}), dir, "irc")
	r.use(t, listens("ircs", files))
	written(t, certtest.SelfSigned(t, certtest.Options{}), dir, "irc")
	r.look()
	r.expect(t, "without old.test, which the old one had")
}

// Links that are turned to other files, as certbot does it.
func TestLinksAreFollowed(t *testing.T) {
	dir, r := t.TempDir(), newRig()
	first, second := certtest.SelfSigned(t, certtest.Options{}), certtest.SelfSigned(t, certtest.Options{})
	link := config.Cert{Cert: filepath.Join(dir, "live.pem"), Key: filepath.Join(dir, "live.key")}
	turn := func(to config.Cert) {
		t.Helper()
		for from, to := range map[string]string{link.Cert: to.Cert, link.Key: to.Key} {
			if err := os.Symlink(to, from+".new"); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(from+".new", from); err != nil {
				t.Fatal(err)
			}
		}
	}
	a, b := aged(t, written(t, first, dir, "a")), aged(t, written(t, second, dir, "b"))
	turn(a)
	r.use(t, listens("ircs", link))
	turn(b)
	r.look()
	r.expect(t, "reloaded [ircs]")
	if got := r.States()[0].Fingerprint; got != second.Fingerprint() {
		t.Errorf("got %s, want the second", got)
	}
}

func TestBrokenFilesLeaveTheOldCertificate(t *testing.T) {
	good := certtest.SelfSigned(t, certtest.Options{})
	other := certtest.SelfSigned(t, certtest.Options{})
	past := certtest.SelfSigned(t, certtest.Options{NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-24 * time.Hour)})
	future := certtest.SelfSigned(t, certtest.Options{NotBefore: time.Now().Add(24 * time.Hour)})
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, dir string, files config.Cert)
		want   string
	}{
		{"key of another", func(t *testing.T, dir string, files config.Cert) { write(t, files.Key, other.KeyPEM) }, "private key does not match public key"},
		{"certificate of another", func(t *testing.T, dir string, files config.Cert) { write(t, files.Cert, other.CertPEM) }, "private key does not match public key"},
		{"certificate gone", func(t *testing.T, dir string, files config.Cert) { remove(t, files.Cert) }, "no such file"},
		{"key gone", func(t *testing.T, dir string, files config.Cert) { remove(t, files.Key) }, "no such file"},
		{"certificate empty", func(t *testing.T, dir string, files config.Cert) { write(t, files.Cert, nil) }, "it is empty"},
		{"certificate cut", func(t *testing.T, dir string, files config.Cert) { write(t, files.Cert, good.CertPEM[:200]) }, "block 1 of 1 (line 1) is cut"},
		{"files the wrong way round", func(t *testing.T, dir string, files config.Cert) {
			write(t, files.Cert, good.KeyPEM)
			write(t, files.Key, good.CertPEM)
		}, "PEM inputs may have been switched"},
		{"key with a passphrase", func(t *testing.T, dir string, files config.Cert) {
			write(t, files.Key, []byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"))
		}, "it is encrypted; write it without a passphrase"},
		{"a directory", func(t *testing.T, dir string, files config.Cert) {
			remove(t, files.Cert)
			if err := os.Mkdir(files.Cert, 0o700); err != nil {
				t.Fatal(err)
			}
		}, "is no file"},
		{"a pipe", func(t *testing.T, dir string, files config.Cert) {
			remove(t, files.Key)
			if err := syscall.Mkfifo(files.Key, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "is no file"},
		{"a key that TLS has no use for", func(t *testing.T, dir string, files config.Cert) {
			written(t, certtest.SelfSigned(t, certtest.Options{P224: true}), dir, "irc")
		}, "TLS cannot be spoken with a key of its kind (ECDSA P-224)"},
		{"a file without end", func(t *testing.T, dir string, files config.Cert) { write(t, files.Cert, make([]byte, maxFile+1)) }, "is larger than"},
		{"one that has expired", func(t *testing.T, dir string, files config.Cert) { written(t, past, dir, "irc") }, "the new one has expired on"},
		{"one that is not valid yet", func(t *testing.T, dir string, files config.Cert) { written(t, future, dir, "irc") }, "the new one is not valid before"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, r := t.TempDir(), newRig()
			files := aged(t, written(t, good, dir, "irc"))
			conf := listens("ircs", files)
			get := r.use(t, conf).GetCertificate("ircs")
			c.damage(t, dir, files)
			r.look()
			r.expect(t) // it could be in the middle of being replaced
			r.look()
			r.expect(t, "broken [ircs]: ")
			r.look()
			r.expect(t) // told once
			s := r.States()[0]
			if !strings.Contains(s.Broken, c.want) || s.Since.IsZero() || s.Fingerprint != good.Fingerprint() {
				t.Errorf("got %+v, want %q", s, c.want)
			}
			for _, secret := range strings.Split(string(good.KeyPEM), "\n")[1:3] {
				if strings.Contains(s.Broken, secret) {
					t.Error("the key is in the text")
				}
			}
			if got := served(t, get, &tls.Config{}); got != good.Fingerprint() {
				t.Errorf("clients get %s, want the old one", got)
			}
			if _, err := r.Load([]config.Listener{conf}); err == nil || !strings.Contains(err.Error(), "listener ircs: ") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("a reload says %v, want %s", err, c.want)
			}
			r.expect(t)
			os.RemoveAll(files.Cert)
			aged(t, written(t, good, dir, "irc")) // as if it had been put back from a copy
			r.look()
			r.expect(t, "mended [ircs]")
			if s := r.States()[0]; s.Broken != "" || !s.Since.IsZero() {
				t.Errorf("got %+v", s)
			}
		})
	}
}

// The certificate first and the key at the next look: nothing to tell but the new one.
func TestFilesThatAreReplacedSlowlyAreNotCalledBroken(t *testing.T) {
	dir, r := t.TempDir(), newRig()
	next := certtest.SelfSigned(t, certtest.Options{})
	files := aged(t, written(t, certtest.SelfSigned(t, certtest.Options{}), dir, "irc"))
	r.use(t, listens("ircs", files))
	write(t, files.Cert, next.CertPEM)
	r.look()
	write(t, files.Key, next.KeyPEM)
	r.look()
	r.expect(t, "reloaded [ircs]")
}

// What was moved away and came back is the file that was read, and yet no longer broken.
func TestFilesThatComeBackAreMended(t *testing.T) {
	dir, r := t.TempDir(), newRig()
	files := aged(t, written(t, certtest.SelfSigned(t, certtest.Options{}), dir, "irc"))
	r.use(t, listens("ircs", files))
	move := func(from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	away := files.Key + ".away"
	for range 2 { // a short absence each: never called broken
		move(files.Key, away)
		r.look()
		move(away, files.Key)
		r.look()
	}
	r.expect(t)
	move(files.Key, away)
	r.look()
	r.look()
	r.expect(t, "broken [ircs]")
	move(away, files.Key)
	r.look()
	r.expect(t, "mended [ircs]")
}

// A reload that changes nothing tells nothing.
func TestReloadOfTheSameFiles(t *testing.T) {
	dir, r := t.TempDir(), newRig()
	files := written(t, certtest.SelfSigned(t, certtest.Options{NotAfter: time.Now().Add(time.Hour)}), dir, "irc")
	r.use(t, listens("ircs", files))
	r.expect(t, "expiring [ircs]")
	before := r.States()[0]
	r.use(t, listens("ircs", files))
	r.expect(t)
	if after := r.States()[0]; !after.Read.Equal(before.Read) {
		t.Errorf("read at %v, and before at %v", after.Read, before.Read)
	}
}

// A second change with the same size, in the same tick of the file system's clock.
func TestAChangeThatLeavesNoTraceIsSeen(t *testing.T) {
	dir, r := t.TempDir(), newRig()
	a := certtest.SelfSigned(t, certtest.Options{})
	files := written(t, a, dir, "irc")
	r.use(t, listens("ircs", files))
	before := stampOf(files)
	other := certtest.SelfSigned(t, certtest.Options{})
	write(t, files.Key, other.KeyPEM)
	for _, f := range []os.FileInfo{before.cert, before.key} {
		if err := os.Chtimes(filepath.Join(dir, f.Name()), f.ModTime(), f.ModTime()); err != nil {
			t.Fatal(err)
		}
	}
	if !before.same(stampOf(files)) {
		t.Fatal("the test does not do what it wants to")
	}
	r.look()
	r.look()
	r.expect(t, "broken [ircs]")
}

func TestLoadIsAllOrNothing(t *testing.T) {
	dir, r := t.TempDir(), newRig()
	a, b := certtest.SelfSigned(t, certtest.Options{}), certtest.SelfSigned(t, certtest.Options{})
	fa, fb := written(t, a, dir, "a"), written(t, b, dir, "b")
	get := r.use(t, listens("one", fa), config.Listener{Name: "plain"}).GetCertificate("one")
	written(t, certtest.SelfSigned(t, certtest.Options{}), dir, "a")
	write(t, fb.Key, []byte("no key"))
	_, err := r.Load([]config.Listener{listens("one", fa, config.Cert{Cert: "/nonexistent", Key: fa.Key}), listens("two", fb)})
	if err == nil || strings.Count(err.Error(), "\n") != 1 || !strings.Contains(err.Error(), "listener one: read certificate: open /nonexistent") || !strings.Contains(err.Error(), "listener two: ") {
		t.Errorf("got %v", err)
	}
	if got := served(t, get, &tls.Config{}); got != a.Fingerprint() {
		t.Errorf("got %s, want the old one", got)
	}
	r.expect(t)
}

// A reload takes new files at once, tells the broken ones at once, and a set that is no longer in use serves who still has it.
func TestReload(t *testing.T) {
	dir, r := t.TempDir(), newRig()
	a, b := certtest.SelfSigned(t, certtest.Options{}), certtest.SelfSigned(t, certtest.Options{})
	files := written(t, a, dir, "irc")
	old := r.use(t, listens("ircs", files)).GetCertificate("ircs")
	written(t, b, dir, "irc")
	first := r.set
	set := r.use(t, listens("renamed", files))
	r.expect(t, "reloaded [renamed]")
	if !set.Renewed(first) || set.Renewed(set) || first.Renewed(&Set{}) {
		t.Error("what was renewed is not known")
	}
	if set.GetCertificate("ircs") != nil {
		t.Error("a listener that is gone has certificates")
	}
	if got := served(t, set.GetCertificate("renamed"), &tls.Config{}); got != b.Fingerprint() {
		t.Errorf("got %s, want the new one", got)
	}
	if got := served(t, old, &tls.Config{}); got != a.Fingerprint() {
		t.Errorf("got %s of the old set", got)
	}
	write(t, files.Key, a.KeyPEM)
	if _, err := r.Load([]config.Listener{listens("renamed", files)}); err == nil {
		t.Error("no error")
	}
	r.expect(t, "broken [renamed]")
	write(t, files.Key, b.KeyPEM)
	r.use(t, listens("renamed", files))
	r.expect(t, "mended [renamed]")
}

func TestRunLooksAndReminds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, r := t.TempDir(), newRig()
		now := time.Now() // of the bubble
		files := written(t, certtest.SelfSigned(t, certtest.Options{NotBefore: now, NotAfter: now.Add(15 * 24 * time.Hour)}), dir, "irc")
		r.use(t, listens("ircs", files))
		r.expect(t)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { r.Run(ctx); close(done) }()
		written(t, certtest.SelfSigned(t, certtest.Options{NotBefore: now, NotAfter: now.Add(14*24*time.Hour + time.Hour)}), dir, "irc")
		time.Sleep(every + time.Second)
		synctest.Wait()
		r.expect(t, "reloaded [ircs]: valid until 2000-01-15 01:00 UTC, which is earlier than before")
		cancel()
		<-done
		time.Sleep(2 * time.Hour)
		for range 14 {
			r.look()
			r.look()
			time.Sleep(24 * time.Hour)
		}
		r.look()
		text := strings.Join(r.told, "\n")
		if len(r.told) != 15 || !strings.HasPrefix(text, "expiring [ircs]: expires on 2000-01-15 01:00 UTC, in 13 days") ||
			!strings.Contains(r.told[12], "in 1 day") || !strings.Contains(r.told[13], "within a day") || !strings.Contains(r.told[14], "has expired on") {
			t.Errorf("told %d: %s", len(r.told), text)
		}
	})
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}
