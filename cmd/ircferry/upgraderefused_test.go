package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/admin"
)

// isRefused wants a refusal that names something.
func isRefused(t *testing.T, err error, want string) {
	t.Helper()
	var said *admin.Error
	if !errors.As(err, &said) || said.Code != admin.CodeRefused || !strings.Contains(said.Error(), want) {
		t.Errorf("%v, want a refusal with %q", err, want)
	}
}

// While another upgrade runs, and for a binary that somebody else names, an upgrade is refused with the way out; while one runs, commands are.
func TestUpgradeIsRefused(t *testing.T) {
	f := startFerry(t)
	c := f.crowd(20, 2, 50*time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := f.upgrade(admin.UpgradeRequest{Binary: "ircferry"})
	if err == nil || !strings.Contains(err.Error(), "not an absolute path") {
		t.Errorf("a relative path: %v", err)
	}

	f.stumbleAt("started", "hangs")
	first := make(chan error, 1)
	go func() {
		_, err := f.upgrade(admin.UpgradeRequest{})
		first <- err
	}()
	await(t, "upgrade under way", func() bool {
		_, err := f.client.Reload(ctx)
		var said *admin.Error
		return errors.As(err, &said) && said.Code == admin.CodeRefused
	})
	_, err = f.upgrade(admin.UpgradeRequest{})
	isRefused(t, err, "an upgrade is under way")
	_, err = f.client.Maint(ctx, "main/b")
	isRefused(t, err, "an upgrade is under way")
	if err := <-first; err == nil {
		t.Error("the one that hung was done")
	}
	if _, err := f.client.Reload(ctx); err != nil {
		t.Errorf("reload behind it: %v", err)
	}
	f.unharmed(c)
}

// A dry run tries what can be tried, tells who would come along, and changes nothing.
func TestUpgradeDryRun(t *testing.T) {
	f := startFerry(t)
	c := f.crowd(12, 2, 50*time.Millisecond)
	pid := f.status().PID
	u, err := f.upgrade(admin.UpgradeRequest{DryRun: true})
	if err != nil || u.Sessions != 12 || u.States["relay"] != 12 || u.PID != 0 || u.To == "" || len(u.Refusals) != 0 || u.Taken < 24 {
		t.Errorf("%+v, %v", u, err)
	}
	f.configure("moves: {park: 1}\n")
	if _, err := f.upgrade(admin.UpgradeRequest{DryRun: true}); err == nil || !strings.Contains(err.Error(), "park") {
		t.Errorf("with a configuration that cannot be: %v", err)
	}
	if st := f.status(); st.PID != pid || st.Upgrades.Done+st.Upgrades.Failed != 0 {
		t.Errorf("status %+v", st)
	}
	f.unharmed(c)
}
