package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// runCommand is a command line of ircferry, with what it says on stdout.
func runCommand(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	root := newRootCommand()
	root.SetOut(&out)
	root.SetArgs(args)
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

// TestCheckCommand: what it finds, and the exit code that scripts go by.
func TestCheckCommand(t *testing.T) {
	dir := t.TempDir()
	a := startIrcd(t, dir, "a")
	path := filepath.Join(dir, "ircferry.yaml")
	good := fmt.Sprintf(`listeners: [{name: irc, address: "127.0.0.1:0", pool: main, limits: {connections: 10}}]
pools:
  main:
    backends: [{name: a, handoff: "unix:%s"}]
state: %s
admin: {socket: %s}
http: {address: ""}
`, a.socket, filepath.Join(dir, "state"), filepath.Join(dir, "admin.sock"))
	for _, c := range []struct {
		name, old, now string
		flag           string
		says           string
		code           int
	}{
		{"good", "", "", "", "0 errors, 0 warnings", 0},
		{"who is there", "", "", "", "speaks HANDOFF/1, can open export import", 0},
		{"no ircd", "/a.sock", "/none.sock", "", "warning: pools.main.backends[0]: unix:" + dir + "/none.sock is not there", 0},
		{"no ircd, strict", "/a.sock", "/none.sock", "--strict", "is not there", 1},
		{"no ircd, offline", "/a.sock", "/none.sock", "--offline", "0 errors, 0 warnings", 0},
		{"more than descriptors", "connections: 10}", "connections: 200000000}", "", "error: listeners: limits.connections allow 200000000", 1},
		{"unknown pool", "pool: main", "pool: mian", "", `there is no pool "mian"; did you mean "main"?`, 1},
		{"unknown key", "pools:", "poools:", "", "", 1},
		{"no such directory", filepath.Join(dir, "admin.sock"), "/nonexistent/admin.sock", "", "error: admin.socket: there is no directory /nonexistent", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := os.WriteFile(path, []byte(strings.Replace(good, c.old, c.now, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			args := []string{"check", "-c", path}
			if c.flag != "" {
				args = append(args, c.flag)
			}
			out, err := runCommand(t, args...)
			code := 0
			if coded, ok := err.(exitError); ok {
				code = coded.code
			} else if err != nil {
				t.Fatalf("error without an exit code: %v", err)
			}
			if code != c.code || !strings.Contains(out, c.says) {
				t.Errorf("exit code %d, want %d, saying %q:\n%s", code, c.code, c.says, out)
			}
		})
	}
	if _, err := os.Stat(filepath.Join(dir, "state")); !os.IsNotExist(err) {
		t.Errorf("a check has made the state directory: %v", err)
	}
}

func TestUsageIsExitCode2(t *testing.T) {
	for _, args := range [][]string{{"run", "--bogus"}, {"bogus"}, {"check", "x"}, {"demo", "-o", "yaml"}} {
		if code := execute(args); code != 2 {
			t.Errorf("ircferry %s: exit code %d, want 2", strings.Join(args, " "), code)
		}
	}
	if code := execute([]string{"run", "-c", filepath.Join(t.TempDir(), "none.yaml")}); code != 1 {
		t.Errorf("no file: exit code %d, want 1", code)
	}
}
