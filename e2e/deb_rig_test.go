//go:build e2e

package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// inRoot are the packages that the clean root has for the test: what the package depends on, and what looks at it.
var inRoot = []string{"systemd-standalone-sysusers", "lintian", "mandoc", "bash-completion", "zsh", "fish"}

// newCleanRoot is a Debian 13 without ircferry and without a systemd that runs. It is no machine that start could start.
func newCleanRoot(t *testing.T) *machine {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can install a package into a root of its own")
	}
	lower, err := exec.Command("../scripts/trixie.sh", append([]string{"--have"}, inRoot...)...).CombinedOutput()
	if err != nil {
		t.Skipf("no Debian 13: %s", lastLines(string(lower), 1))
	}
	m := &machine{t: t, dir: shortDir(t)}
	for _, dir := range []string{"machine", "root"} {
		if err := os.MkdirAll(filepath.Join(m.dir, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	m.proc = start(t, nil, "bash", "testdata/clean-root.sh", m.dir, strings.TrimSpace(string(lower)))
	eventually(t, 10*time.Second, "the clean root is there", func() bool {
		select {
		case <-m.proc.done:
			if code := m.proc.cmd.ProcessState.ExitCode(); code != 77 {
				t.Fatalf("the clean root has ended: exit %d: %s", code, m.proc.out.String())
			}
			t.Skipf("no clean root can be made here: %s", lastLines(m.proc.out.String(), 1))
		default:
		}
		return strings.Contains(m.proc.out.String(), "ready")
	})
	m.pid = m.child()
	return m
}

// give copies a file of this machine into the running one.
func (m *machine) give(from, to string) {
	m.t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join("/proc", m.pid, "root", to), data, 0o644); err != nil {
		m.t.Fatal(err)
	}
}

// says runs a command and checks what it prints.
func (m *machine) says(command, want string) {
	m.t.Helper()
	if out := strings.TrimSpace(m.well(command)); out != want {
		m.t.Errorf("%s: %q, want %q", command, out, want)
	}
}

// buildDeb builds the package of version 0.1 as make deb does, but not compressed.
func buildDeb(t *testing.T) string {
	t.Helper()
	dist := t.TempDir()
	run(t, []string{"VERSION=v0.1", "SOURCE_DATE_EPOCH=1700000000", "DIST=" + dist, "DEB_COMPRESS=none"}, "bash", "../scripts/deb.sh")
	found, err := filepath.Glob(filepath.Join(dist, "ircferry_0.1_*.deb"))
	if err != nil || len(found) != 1 {
		t.Fatalf("built are %v", found)
	}
	return found[0]
}

// nextDeb is version 0.2 of a package, which differs in what its configuration says.
func nextDeb(t *testing.T, deb string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "next")
	run(t, nil, "dpkg-deb", "-R", deb, dir)
	rewrite(t, filepath.Join(dir, "DEBIAN/control"), func(text string) string { return strings.Replace(text, "\nVersion: 0.1\n", "\nVersion: 0.2\n", 1) })
	rewrite(t, filepath.Join(dir, "etc/ircferry/ircferry.yaml"), func(text string) string { return text + "# of 0.2\n" })
	run(t, nil, "dpkg-deb", "--root-owner-group", "-Znone", "-b", dir, dir+".deb")
	return dir + ".deb"
}

func rewrite(t *testing.T, path string, change func(string) string) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	before := readFile(path)
	after := change(before)
	if after == before {
		t.Fatalf("%s is not changed", path)
	}
	if err := os.WriteFile(path, []byte(after), info.Mode()); err != nil {
		t.Fatal(err)
	}
}

// run runs a program that must go well.
func run(t *testing.T, env []string, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*slack)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}
