//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// binaries is the directory of ircferry and ferryctl: IRCFERRY_BIN as make sets it, or a fresh build.
var binaries string

func TestMain(m *testing.M) {
	binaries = os.Getenv("IRCFERRY_BIN")
	cleanup := func() {}
	if binaries == "" {
		dir, err := os.MkdirTemp("", "ircferry-e2e-")
		if err != nil {
			fmt.Fprintln(os.Stderr, "e2e:", err)
			os.Exit(1)
		}
		binaries, cleanup = dir, func() { _ = os.RemoveAll(dir) }
		build := exec.Command("go", "build", "-o", dir+"/", "../cmd/ircferry", "../cmd/ferryctl")
		build.Stdout, build.Stderr = os.Stdout, os.Stderr
		if err := build.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "e2e: build:", err)
			os.Exit(1)
		}
	}
	code := m.Run()
	cleanup()
	os.Exit(code)
}

func binary(name string) string { return filepath.Join(binaries, name) }

// need is the path of a program from a Debian package, or the end of the test.
func need(t *testing.T, program, pkg string) string {
	t.Helper()
	if path, err := exec.LookPath(program); err == nil {
		return path
	}
	path := filepath.Join("/usr/sbin", program)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("no %s here: apt-get install %s (make deps installs all)", program, pkg)
	}
	return path
}
