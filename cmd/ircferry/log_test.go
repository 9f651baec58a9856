package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ircferry/ircferry/admin"
	"github.com/ircferry/ircferry/internal/config"
)

// newTestLogFile is the daemon's own log, written to a file as it is written to standard error.
func newTestLogFile(t *testing.T, c config.Log) (*slog.Logger, func(config.Log) error, func() string) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	log, set := newLog(f, c)
	return log, set, func() string {
		text, err := os.ReadFile(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
}

// Loggers are made once, at the birth of what they speak for; a reload changes all of them.
func TestLogChangesUnderItsLoggers(t *testing.T) {
	log, set, text := newTestLogFile(t, config.Log{Level: "warn", Format: "text"})
	child := log.With("component", "proxy").WithGroup("g")
	child.Info("not yet")
	if err := set(config.Log{Level: "debug", Format: "json"}); err != nil {
		t.Fatal(err)
	}
	child.Debug("now", "k", "v")
	var line struct {
		Level, Msg, Component string
		G                     struct{ K string }
	}
	if err := json.Unmarshal([]byte(text()), &line); err != nil {
		t.Fatalf("%v: %s", err, text())
	}
	if line.Level != "DEBUG" || line.Msg != "now" || line.Component != "proxy" || line.G.K != "v" {
		t.Errorf("%+v", line)
	}
	for _, wrong := range []config.Log{{Level: "loud", Format: "text"}, {Level: "info", Format: "xml"}} {
		if err := set(wrong); err == nil {
			t.Errorf("%+v is taken", wrong)
		}
	}
}

// The audit lines are there at every level.
func TestAuditLinesAtLevelError(t *testing.T) {
	a := startIrcd(t, t.TempDir(), "a")
	cfg := testConfig(t, map[string]string{"a": "unix:" + a.socket})
	log, _, text := newTestLogFile(t, config.Log{Level: "error", Format: "text"})
	d, err := startDaemon(daemonOptions{config: &cfg, log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Shutdown(expired()) })
	if _, err := admin.NewClient(cfg.Admin.Socket).Maint(context.Background(), "main/a"); err != nil {
		t.Fatal(err)
	}
	if got := text(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "component=audit uid=") || !strings.Contains(got, "verb=maint object=main/a") {
		t.Errorf("log: %s", got)
	}
}
