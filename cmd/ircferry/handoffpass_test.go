package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff"
	"github.com/ircferry/ircferry/internal/config"
	"github.com/ircferry/ircferry/internal/ircclient"
	"github.com/ircferry/ircferry/internal/ircd"
)

// An ircd that wants a secret in HELLO hears it from the checks and from moves, and without it `ircferry check` says what to write where.
func TestHandoffSecret(t *testing.T) {
	dir := t.TempDir()
	handoffs := map[string]string{}
	for _, name := range []string{"a", "b"} {
		srv, err := ircd.New(ircd.Config{Name: "irc.test"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { srv.Close() })
		h, err := srv.StartHandoff(ircd.HandoffConfig{Control: "unix:" + filepath.Join(dir, name), Pass: "sesame"})
		if err != nil {
			t.Fatal(err)
		}
		srv.Start()
		handoffs[name] = h.Address()
	}
	secret := filepath.Join(dir, "secret")
	for _, c := range []struct{ file, text, want string }{
		{"", "", "write the one of its configuration into a file, and the file's name as handoff_pass_file"},
		{secret, "mellon\n", "the secret in " + secret + " is not that of its configuration"},
	} {
		if err := os.WriteFile(secret, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		found := backend.Probe(t.Context(), withSecret(testConfig(t, handoffs), c.file))
		if len(found) != 2 || found[0].Severity != config.SeverityError || !strings.Contains(found[0].Text, c.want) || strings.Contains(found[0].Text, "mellon") {
			t.Errorf("check says %v, want %q", found, c.want)
		}
	}
	if err := os.WriteFile(secret, []byte("sesame\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := startTestDaemon(t, withSecret(testConfig(t, handoffs), secret))
	alice := ircclient.TestUser(t, d.address(t), "alice")
	if r := drain(t, d, "a", "b"); r.State != handoff.StateDone || r.Moved != 1 {
		t.Errorf("%+v", r)
	}
	alice.Ask("PING there")
}

// withSecret gives every backend of the pool main the file.
func withSecret(cfg config.Config, file string) config.Config {
	for i := range cfg.Pools["main"].Backends {
		cfg.Pools["main"].Backends[i].HandoffPassFile = file
	}
	return cfg
}
