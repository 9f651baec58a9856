//go:build e2e

package e2e

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// relay is a relay-only backend entry.
func relay(port int, more string) string {
	return fmt.Sprintf("{name: c, address: \"127.0.0.1:%d\"%s}", port, more)
}

func TestTermEndsSessionsInOrder(t *testing.T) {
	a := startEmbedded(t, "a")
	f := startFerry(t, nil, "", a.backend())
	c := login(t, f.port, "127.0.0.1", "ann")
	f.proc.signal(syscall.SIGTERM)
	c.expect("ERROR :")
	c.closed(10 * time.Second)
	if code := f.proc.await(15 * time.Second); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}
}

func TestHangupReloads(t *testing.T) {
	a := startEmbedded(t, "a")
	f := startFerry(t, nil, "", a.backend())
	c := login(t, f.port, "127.0.0.1", "ann")

	second := freePort(t)
	text := config(f.dir, f.port, fmt.Sprintf("  - name: more\n    address: \"127.0.0.1:%d\"\n    pool: main", second), a.backend())
	f.writeConfig(text)
	f.proc.signal(syscall.SIGHUP)
	awaitPort(t, second, f.proc)
	login(t, second, "127.0.0.1", "ben").fence()
	c.fence() // it is the same session still

	// A file that cannot be loaded changes nothing.
	f.writeConfig(strings.Replace(text, "topology:", "topolgy:", 1))
	f.proc.signal(syscall.SIGHUP)
	eventually(t, 10*time.Second, "the daemon says what is wrong", func() bool { return strings.Contains(f.proc.out.String(), "topolgy") })
	c.fence()
	login(t, second, "127.0.0.1", "cia").fence()
}

func TestSecondDaemonIsRefused(t *testing.T) {
	a := startEmbedded(t, "a")
	f := startFerry(t, nil, "", a.backend())
	c := login(t, f.port, "127.0.0.1", "ann")

	text := strings.Replace(readFile(f.configFile()), fmt.Sprint(f.port), fmt.Sprint(freePort(t)), 1)
	text = strings.Replace(text, "admin.sock", "other.sock", 1)
	other := filepath.Join(f.dir, "other.yaml")
	writeFile(t, other, text)
	second := start(t, nil, binary("ircferry"), "run", "-c", other)
	if code := second.await(10 * time.Second); code == 0 {
		t.Errorf("a second daemon on the same state ended with 0:\n%s", second.out.String())
	}
	if !strings.Contains(second.out.String(), filepath.Join(f.dir, "state")) {
		t.Errorf("the refusal does not name the state directory:\n%s", second.out.String())
	}
	c.fence()
}

// manager is the service manager's end of sd_notify.
type manager struct {
	mu       sync.Mutex
	messages []string
	path     string
}

func listenNotify(t *testing.T) *manager {
	t.Helper()
	m := &manager{path: filepath.Join(shortDir(t), "notify")}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: m.path, Net: "unixgram"})
	if err != nil {
		t.Fatalf("listen for notifications: %v", err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			m.mu.Lock()
			m.messages = append(m.messages, string(buf[:n]))
			m.mu.Unlock()
		}
	}()
	return m
}

// await waits for a message with the text after the first n, and returns the number up to it.
func (m *manager) await(t *testing.T, n int, text string) int {
	t.Helper()
	eventually(t, 15*time.Second, "notification "+text, func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		for ; n < len(m.messages); n++ {
			if strings.Contains(m.messages[n], text) {
				n++
				return true
			}
		}
		return false
	})
	return n
}

func TestServiceManagerIsTold(t *testing.T) {
	m := listenNotify(t)
	a := startEmbedded(t, "a")
	f := startFerry(t, []string{"NOTIFY_SOCKET=" + m.path, "WATCHDOG_USEC=2000000"}, "", a.backend())
	n := m.await(t, 0, "READY=1")
	login(t, f.port, "127.0.0.1", "ann").fence()
	m.await(t, 0, "STATUS=")
	m.await(t, 0, "WATCHDOG=1")
	f.proc.signal(syscall.SIGHUP)
	reloading := m.await(t, n, "RELOADING=1")
	m.mu.Lock()
	if !strings.Contains(m.messages[reloading-1], "MONOTONIC_USEC=") {
		t.Errorf("RELOADING=1 without MONOTONIC_USEC, which notify-reload wants: %q", m.messages[reloading-1])
	}
	m.mu.Unlock()
	n = m.await(t, reloading, "READY=1")
	f.proc.signal(syscall.SIGTERM)
	m.await(t, n, "STOPPING=1")
	f.proc.await(15 * time.Second)
}
