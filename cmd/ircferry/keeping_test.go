package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/internal/keeper"
)

// keptHere is a keeper in this process, at a path, until stop.
func keptHere(t *testing.T, socket string) (stop func()) {
	t.Helper()
	s, err := keeper.Listen(keeper.ServerOptions{Socket: socket, Grace: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { s.Run(ctx) })
	stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	t.Cleanup(stop)
	return stop
}

func keeperSocketOf(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "keeper")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "k", "s")
}

// kept is a keeping with one descriptor to give.
func kept(t *testing.T, socket string) (k *keeping, gave *atomic.Int32) {
	t.Helper()
	k = newKeeping(socket, slog.New(slog.DiscardHandler), func(string, string) {})
	k.room = func() (int, int) { return 10, 100 }
	t.Cleanup(k.leave)
	gave = new(atomic.Int32)
	k.attend(func(context.Context) error {
		gave.Add(1)
		return k.Keep(7, 0)
	})
	return k, gave
}

// A keeper that comes late, or anew, gets everything. While there is none, the daemon goes on.
func TestKeeperComesAndGoes(t *testing.T) {
	socket := keeperSocketOf(t)
	k, gave := kept(t, socket)
	if err := k.Keep(1, 0); err != nil {
		t.Errorf("keep without a keeper: %v", err)
	}
	if err := k.setMemory(memoryDaemon, daemonMemory{Instance: "f1"}); err != nil {
		t.Fatal(err)
	}
	if p := k.picture(); p == nil || p.Up || p.Cause == "" || len(k.warnings()) != 1 {
		t.Errorf("there is no keeper: %+v, %q", p, k.warnings())
	}
	for round := range int32(3) {
		stop := keptHere(t, socket)
		await(t, "everything is given", func() bool { return k.picture().Up && gave.Load() > round })
		await(t, "it says so", func() bool { p := k.picture(); return p.Descriptors == 1 && p.Memory == 1 })
		if w := k.warnings(); len(w) > 0 {
			t.Errorf("warnings: %q", w)
		}
		stop()
		await(t, "the end of the keeper is noticed", func() bool { return !k.picture().Up })
	}
	if n := k.counts.gone.Load(); n != 3 {
		t.Errorf("gone %d times, want 3", n)
	}
}

// A keeper that hangs is none: new clients do not wait for it without end.
func TestKeeperHangs(t *testing.T) {
	socket := keeperSocketOf(t)
	p := startKeeper(t, socket)
	k, _ := kept(t, socket)
	await(t, "the keeper is found", func() bool { return k.picture().Up })
	p.Signal(unix.SIGSTOP)
	defer p.Signal(unix.SIGCONT)
	began, busy := time.Now(), false
	for tag := uint64(10); k.client.Load() != nil; tag++ {
		if time.Since(began) > patience {
			t.Fatal("it is never given up")
		}
		if err := k.Keep(tag, 0); err != nil {
			busy = true
			ready := make(chan struct{})
			k.Ready(func() { close(ready) })
			select {
			case <-ready:
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
	if !busy || k.counts.busy.Load() == 0 || k.counts.gone.Load() != 1 {
		t.Errorf("busy %d, gone %d", k.counts.busy.Load(), k.counts.gone.Load())
	}
	if err := k.Keep(1, 0); err != nil {
		t.Errorf("keep behind it: %v", err)
	}
	p.Signal(unix.SIGCONT)
	await(t, "it is found again when it is well", func() bool { return k.picture().Up })
}

// startKeeper runs a keeper's process.
func startKeeper(t *testing.T, socket string, args ...string) *os.Process {
	t.Helper()
	log := &lockedBuffer{}
	cmd := exec.Command(os.Args[0], append([]string{"keeper", "--socket", socket}, args...)...)
	cmd.Env = append(os.Environ(), asProgram+"=1", "NOTIFY_SOCKET=")
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("the keeper's log:\n%s", log)
		}
	})
	await(t, "the keeper listens", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		c, err := keeper.Dial(ctx, socket, keeper.Options{})
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return cmd.Process
}

// A keeper with fewer descriptors than the daemon, and one that holds not everything, are told.
func TestKeeperHasFewDescriptors(t *testing.T) {
	socket := keeperSocketOf(t)
	keptHere(t, socket)
	k, gave := kept(t, socket)
	k.room = func() (int, int) { return 10, 1 << 30 }
	await(t, "the keeper is found", func() bool { return k.picture().Up })
	if w := k.warnings(); len(w) != 1 || !strings.Contains(w[0], "LimitNOFILE of ircferry-keeper.service") {
		t.Errorf("warnings: %q", w)
	}
	before := gave.Load()
	k.lost([]keeper.Tag{3}, errors.New("no room"))
	if w := k.warnings(); !slices.ContainsFunc(w, func(s string) bool { return strings.Contains(s, "does not hold everything") }) {
		t.Errorf("warnings: %q", w)
	}
	await(t, "it is given again", func() bool { return gave.Load() > before && len(k.warnings()) == 1 })
	if k.counts.lost.Load() != 1 {
		t.Errorf("%d lost", k.counts.lost.Load())
	}
}
