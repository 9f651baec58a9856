package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// manager is systemd as a service sees it.
type manager struct {
	t    *testing.T
	conn *net.UnixConn
}

func newManager(t *testing.T) *manager {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return &manager{t, conn}
}

// told waits for a message with the line and answers all its lines.
func (m *manager) told(line string) string {
	m.t.Helper()
	m.conn.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 4096)
	for {
		n, err := m.conn.Read(buf)
		if err != nil {
			m.t.Fatalf("systemd was not told %s: %v", line, err)
		}
		if text := string(buf[:n]); strings.Contains("\n"+text, "\n"+line) {
			return text
		}
	}
}

func TestSystemdIsTold(t *testing.T) {
	dir := t.TempDir()
	a, b := startIrcd(t, dir, "a"), startIrcd(t, dir, "b")
	m := newManager(t)
	t.Setenv("WATCHDOG_USEC", "400000")
	p := newProgram(t, a, b)
	p.start()
	if text := m.told("READY=1"); !strings.Contains(text, "STATUS=0 sessions") {
		t.Errorf("with READY: %q", text)
	}
	for range 3 {
		m.told("WATCHDOG=1")
	}
	p.cmd.Process.Signal(syscall.SIGHUP)
	if text := m.told("RELOADING=1"); !strings.Contains(text, "\nMONOTONIC_USEC=") {
		t.Errorf("with RELOADING: %q", text)
	}
	m.told("READY=1")

	// A reload that fails is over too, or systemd would wait for its end.
	if err := os.WriteFile(p.config, []byte("listeners: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.cmd.Process.Signal(syscall.SIGHUP)
	m.told("RELOADING=1")
	m.told("READY=1")
	p.cmd.Process.Signal(syscall.SIGTERM)
	m.told("STOPPING=1")
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("ended with %v", err)
	}
	p.cmd = nil
}

// The watchdog is fed from the loops: when they do not turn, or are gone, systemd hears nothing.
func TestWatchdogIsNotFedWhenTheLoopsDoNotTurn(t *testing.T) {
	a := startIrcd(t, t.TempDir(), "a")
	cfg := testConfig(t, map[string]string{"a": "unix:" + a.socket})
	d, err := startDaemon(daemonOptions{config: &cfg, log: testLog(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Shutdown(expired()) })
	m := newManager(t)
	n := newNotifier(d, testLog(t))
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() { n.feed(time.Millisecond, true, stop); close(done) }()
	m.told("WATCHDOG=1")
	d.proxy.Close()
	await(t, "the loops' end", func() bool { return d.proxy.Watchdog() != nil })
	close(stop)
	<-done
	m.drain()
	again := make(chan struct{})
	stopped := make(chan struct{})
	go func() { n.feed(time.Millisecond, true, again); close(stopped) }()
	m.conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if n, err := m.conn.Read(make([]byte, 4096)); err == nil {
		t.Errorf("systemd was told %d bytes by a daemon whose loops have ended", n)
	}
	close(again)
	<-stopped
}

// drain takes what was said before.
func (m *manager) drain() {
	m.conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	for buf := make([]byte, 4096); ; {
		if _, err := m.conn.Read(buf); err != nil {
			return
		}
	}
}
