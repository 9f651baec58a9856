//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/internal/certs/certtest"
)

// Issue 10, 8 (golang/go#7042, bbb-install#656): a chain whose blocks were joined without a newline, at the start, at a check and at a renewal.
func TestFieldJoinedChain(t *testing.T) {
	a := startEmbedded(t, "a")
	dir := shortDir(t)
	pair, ca := certtest.SelfSigned(t, certtest.Options{Names: []string{"irc.test"}}), certtest.SelfSigned(t, certtest.Options{})
	cert, key := pair.Write(t, dir, "irc")
	good := string(pair.CertPEM) + string(ca.CertPEM)
	joined := strings.TrimRight(string(pair.CertPEM), "\n") + string(ca.CertPEM)

	writeFile(t, cert, good)
	f := startFerry(t, nil, fmt.Sprintf("    tls: {certs: [{cert: %s, key: %s}]}", cert, key), a.backend())
	writeFile(t, cert, joined)
	check := start(t, nil, binary("ircferry"), "check", "-c", f.configFile())
	const words = "is joined to the end of the one before it without a newline: sed -i"
	if code := check.await(20 * time.Second); code != 1 || !strings.Contains(check.out.String(), words) {
		t.Errorf("check: exit %d\n%s", code, check.out.String())
	}
	eventually(t, 20*time.Second, "the renewal is told", func() bool { return strings.Contains(f.proc.out.String(), words) })
	f.shows(t, words, "status")
	other := newFerry(t, fmt.Sprintf("    tls: {certs: [{cert: %s, key: %s}]}", cert, key), a.backend())
	p := start(t, nil, binary("ircferry"), "run", "-c", other.configFile())
	if code := p.await(20 * time.Second); code == 0 || !strings.Contains(p.out.String(), words) {
		t.Errorf("start: exit %d\n%s", code, p.out.String())
	}
}

// A directory that the daemon's user may not enter is named, as certbot's archive is one.
func TestFieldClosedDirectory(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("this must be run as root, which can be somebody else")
	}
	dir := shortDir(t)
	archive := filepath.Join(dir, "archive")
	if err := os.Mkdir(archive, 0o700); err != nil {
		t.Fatal(err)
	}
	pair := certtest.SelfSigned(t, certtest.Options{})
	pair.Write(t, archive, "irc")
	for _, name := range []string{"irc.pem", "irc.key"} {
		if err := os.Symlink("archive/"+name, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	f := newFerry(t, fmt.Sprintf("    tls: {certs: [{cert: %s/irc.pem, key: %s/irc.key}]}", dir, dir), "{name: a, handoff: \"unix:/nowhere\"}")
	program := filepath.Join(dir, "ircferry")
	if out, err := exec.Command("cp", binary("ircferry"), program).CombinedOutput(); err != nil {
		t.Fatal(string(out))
	}
	for path, mode := range map[string]os.FileMode{dir: 0o755, f.dir: 0o755, f.configFile(): 0o644} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	p := start(t, nil, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", program, "check", "--offline", "-c", f.configFile())
	p.await(20 * time.Second)
	if want := "the directory " + archive + " (0700, uid 0 gid 0) may not be entered by uid 65534"; !strings.Contains(p.out.String(), want) {
		t.Errorf("check:\n%s\nwant %s", p.out.String(), want)
	}
}

// Issue 10, 10: the final dot of a name that a user has typed; the log says what it was.
func TestFieldServerNameWithADot(t *testing.T) {
	openssl := need(t, "openssl", "openssl")
	a := startEmbedded(t, "a")
	dir := shortDir(t)
	cert, key := certtest.SelfSigned(t, certtest.Options{Names: []string{"irc.test"}}).Write(t, dir, "irc")
	f := startFerry(t, nil, fmt.Sprintf("    tls: {certs: [{cert: %s, key: %s}]}", cert, key), a.backend())
	start(t, nil, openssl, "s_client", "-connect", fmt.Sprintf("127.0.0.1:%d", f.port), "-servername", "irc.test.").await(20 * time.Second)
	eventually(t, 20*time.Second, "the log names the dot", func() bool { return strings.Contains(f.proc.out.String(), "tls=server_name_ends_in_dot") })
}
