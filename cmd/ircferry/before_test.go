package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/admin"
)

// layoutBefore is the last commit with the arena's layout before this one (proxy/wire/before.go).
const layoutBefore = "a222ca7"

// programBefore builds the daemon of that commit.
func programBefore(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("builds another version of the daemon")
	}
	if out, err := exec.Command("git", "cat-file", "-e", layoutBefore+"^{commit}").CombinedOutput(); err != nil {
		t.Skipf("no history to build the version before from: %v %s", err, out)
	}
	dir := t.TempDir()
	top, err := exec.Command("git", "rev-parse", "--show-toplevel").Output()
	if err != nil {
		t.Skip(err)
	}
	archive := exec.Command("git", "-C", string(top[:len(top)-1]), "archive", layoutBefore)
	extract := exec.Command("tar", "-x", "-C", dir)
	r, w := io.Pipe()
	archive.Stdout, extract.Stdin = w, r
	archive.Stderr, extract.Stderr = os.Stderr, os.Stderr
	if err := extract.Start(); err != nil {
		t.Fatal(err)
	}
	err = archive.Run()
	w.CloseWithError(err)
	if werr := extract.Wait(); err != nil || werr != nil {
		t.Fatal(err, werr)
	}
	program := filepath.Join(dir, "ircferry-before")
	build := exec.Command("go", "build", "-o", program, "./cmd/ircferry")
	build.Dir = dir
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the version before: %v\n%s", err, out)
	}
	return program
}

// An upgrade from the program with the arena's layout before keeps everybody, in plaintext and over TLS, in the midst of talk and with what waits for who
// does not read. The way back is refused, and nobody notices that either.
func TestUpgradeFromTheLayoutBefore(t *testing.T) {
	before := programBefore(t)
	f := startFerryAs(t, before)
	c := f.crowd(60, 4, 50*time.Millisecond)
	f.talks(c)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	u, err := f.upgrade(admin.UpgradeRequest{Binary: self})
	if err != nil {
		t.Fatalf("%v\n%s", err, f.log.String())
	}
	if u.Sessions != 60 || len(u.Left) > 0 {
		t.Errorf("upgrade %+v", u)
	}
	f.talks(c)
	_, err = f.upgrade(admin.UpgradeRequest{Binary: before})
	if err == nil || !strings.Contains(err.Error(), "cannot read the memory of this one") {
		t.Errorf("back to the version before: %v", err)
	}
	f.must()
	f.unharmed(c)
}
