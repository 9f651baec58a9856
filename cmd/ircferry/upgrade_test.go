package main

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/admin"
)

// 120 clients, in plaintext and over both versions of TLS, talk through six upgrades and a drain behind them, and notice nothing. No descriptor is
// left over, and no counter goes back.
func TestUpgradesUnderTraffic(t *testing.T) {
	f := startFerry(t)
	c := f.crowd(120, 6, 100*time.Millisecond)
	first := f.status()
	instance, started := first.Instance, first.Started
	var before map[string]int
	for i := range 6 {
		time.Sleep(300 * time.Millisecond) // so that there is talk in every process
		u := f.must()
		t.Logf("upgrade %d: %d sessions, %.0f ms", i+1, u.Sessions, u.Pause)
		st := f.status()
		if u.Sessions != 120 || st.Sessions.Total != 120 || st.Instance != instance || !st.Started.Equal(started) || st.Upgrades.Done != i+1 {
			t.Errorf("upgrade %+v, status %+v", u, st)
		}
		for k, l := range st.Listeners {
			if l.Accepted < first.Listeners[k].Accepted || l.Connections != 60 {
				t.Errorf("listener %+v, was %+v", l, first.Listeners[k])
			}
		}
		f.awaitUp("a", "b")
		fds := descriptorsOf(t, st.PID)
		if before != nil && fds["socket"] > before["socket"]+4 || before != nil && fds["anon_inode"] > before["anon_inode"] {
			t.Errorf("descriptors %v, were %v", fds, before)
		}
		if before == nil {
			before = maps.Clone(fds)
		}
	}
	f.unharmed(c)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c.talk(100 * time.Millisecond)
	done, err := f.client.Drain(ctx, admin.DrainRequest{Backend: "main/a"})
	if err != nil {
		t.Fatal(err)
	}
	await(t, "end of the drain", func() bool {
		m, err := f.client.Move(ctx, done.Move.ID)
		return err == nil && m.State.Ended()
	})
	u := f.must()
	moves, err := f.client.Moves(ctx)
	if err != nil || len(moves) != 1 || moves[0].Moved != 120 || moves[0].Failed != 0 {
		t.Errorf("moves behind the upgrade %+v: %+v (%v)", u, moves, err)
	}
	f.unharmed(c)
}

// Whatever becomes of the new process at whatever step, the old one serves on and says why; the next upgrade is done.
func TestFailedUpgrades(t *testing.T) {
	f := startFerry(t)
	c := f.crowd(30, 3, 50*time.Millisecond)
	pid := f.status().PID
	fails := func(t *testing.T, r admin.UpgradeRequest, want string) {
		t.Helper()
		_, err := f.upgrade(r)
		var said *admin.Error
		if !errors.As(err, &said) || !strings.Contains(said.Message, want) {
			t.Errorf("%v, want something with %q", err, want)
		}
		st := f.status()
		if st.PID != pid || st.Sessions.Total != 30 || st.Upgrades.Done != 0 || st.Upgrades.LastError == "" {
			t.Errorf("status %+v", st)
		}
	}
	for _, step := range []string{"started", "prepared", "legacy", "descriptors", "ready", "go"} {
		for how, want := range map[string]string{"exit": "exit status 3", "killed": "killed", "hangs": "hangs", "panics": "exit status 2"} {
			if how == "panics" && step != "legacy" || how == "hangs" && step == "prepared" {
				continue
			}
			t.Run(step+" "+how, func(t *testing.T) {
				f.stumbleAt(step, how)
				fails(t, admin.UpgradeRequest{}, want)
			})
		}
	}
	os.Remove(f.stumbleFile())
	t.Run("no program", func(t *testing.T) {
		fails(t, admin.UpgradeRequest{Binary: filepath.Join(f.dir, "none")}, "no such file")
	})
	t.Run("another program", func(t *testing.T) {
		fails(t, admin.UpgradeRequest{Binary: "/bin/true"}, "ended before it was ready")
	})
	t.Run("one that sleeps", func(t *testing.T) {
		path := filepath.Join(f.dir, "sleeps")
		f.write(path, "#!/bin/sh\nexec sleep 300\n")
		os.Chmod(path, 0o700)
		fails(t, admin.UpgradeRequest{Binary: path}, "hangs")
	})
	t.Run("a program that is none", func(t *testing.T) {
		path := filepath.Join(f.dir, "garbage")
		f.write(path, "\x7fELF and so on")
		os.Chmod(path, 0o700)
		fails(t, admin.UpgradeRequest{Binary: path}, "exec format error")
	})
	t.Run("configuration", func(t *testing.T) {
		f.configure("loops: many\n")
		fails(t, admin.UpgradeRequest{}, "loops")
	})
	t.Run("an address that is taken", func(t *testing.T) {
		f.configure("")
		text, err := os.ReadFile(f.path())
		if err != nil {
			t.Fatal(err)
		}
		taken := listenSomewhere(t)
		f.write(f.path(), strings.Replace(string(text), "pools:", "  - {name: more, address: \""+taken+"\", pool: main, limits: {connections: 10}}\npools:", 1))
		fails(t, admin.UpgradeRequest{}, "another program listens there")
	})
	f.configure("")
	f.unharmed(c)
	c.talk(50 * time.Millisecond)
	u := f.must()
	st := f.status()
	if u.Sessions != 30 || st.Upgrades.Done != 1 || st.Upgrades.LastError != "" || st.Upgrades.Failed < 10 {
		t.Errorf("upgrade %+v, status %+v", u, st.Upgrades)
	}
	f.unharmed(c)
}

// The pause of an upgrade with many sessions is some tenths of a second; IRCFERRY_UPGRADE_SESSIONS=9000 measures what README says.
func TestUpgradePause(t *testing.T) {
	clients := 300
	if n, err := strconv.Atoi(os.Getenv("IRCFERRY_UPGRADE_SESSIONS")); err == nil {
		clients = n
	}
	f := startFerry(t)
	c := f.crowd(clients, clients/20, 20*time.Second)
	var pauses []float64
	for range 5 {
		u := f.must()
		if u.Sessions != clients {
			t.Errorf("%d sessions came along, want %d", u.Sessions, clients)
		}
		pauses = append(pauses, u.Pause)
	}
	t.Logf("%d sessions: pauses of %.0f ms", clients, pauses)
	slices.Sort(pauses)
	if pauses[2] > 1000 {
		t.Errorf("half of the pauses were over a second: %.0f ms", pauses)
	}
	f.unharmed(c)
}
