//go:build e2e

package e2e

import (
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// withHosts runs a program with an /etc/hosts of its own, which the test may write anew.
func withHosts(t *testing.T, hosts, name string, args ...string) *process {
	t.Helper()
	return start(t, nil, "unshare", append([]string{"-m", "sh", "-c", `mount --bind "$0" /etc/hosts && exec "$@"`, hosts, name}, args...)...)
}

func needUnshare(t *testing.T, flags ...string) {
	t.Helper()
	if out, err := exec.Command("unshare", append(flags, "true")...).CombinedOutput(); err != nil {
		t.Skipf("no namespaces here (run as root): unshare %s: %v %s", strings.Join(flags, " "), err, out)
	}
}

// Issue 10, 1 (portless#321, tinyproxy#392, trafficserver#3742): Debian's hosts file gives localhost ::1 first, and the ircd listens on 127.0.0.1
// only. The daemon finds it as check does, says which address is in use, and follows when the name or the ircd moves.
func TestFieldNameWithSeveralAddresses(t *testing.T) {
	needUnshare(t, "-m")
	port := freePort(t)
	hosts := filepath.Join(shortDir(t), "hosts")
	writeFile(t, hosts, "127.0.0.1 localhost\n::1 ircd.test\n127.0.0.3 ircd.test\n127.0.0.2 ircd.test\n")
	where := func(ip string) string { return net.JoinHostPort(ip, fmt.Sprint(port)) }
	first := startEmbedded(t, "a", "--listen", where("127.0.0.2"))
	awaitAt(t, where("127.0.0.2"), first.proc)
	f := newFerry(t, "", fmt.Sprintf(`{name: a, address: "ircd.test:%d"}`, port))
	f.proc = withHosts(t, hosts, binary("ircferry"), "run", "-c", f.configFile())
	awaitPort(t, f.port, f.proc)

	inUse := func(ip string) {
		t.Helper()
		eventually(t, 20*time.Second, "streams go to "+ip, func() bool {
			out, _ := f.ctl("show", "backends")
			return strings.Contains(out, fmt.Sprintf("ircd.test:%d (%s)", port, where(ip))) && strings.Contains(out, " up ")
		})
	}
	inUse("127.0.0.2")
	login(t, f.port, "127.0.0.1", "ann").fence()
	check := withHosts(t, hosts, binary("ircferry"), "check", "-c", f.configFile())
	if code := check.await(20 * time.Second); code != 0 || !strings.Contains(check.out.String(), where("127.0.0.2")) ||
		!strings.Contains(check.out.String(), "warning: pools.main.backends[0]: not every address") {
		t.Errorf("check: exit %d\n%s", code, check.out.String())
	}

	second := startEmbedded(t, "b", "--listen", where("127.0.0.3")) // the ircd moves to another address of the name
	awaitAt(t, where("127.0.0.3"), second.proc)
	first.proc.kill()
	inUse("127.0.0.3")
	login(t, f.port, "127.0.0.1", "ben").fence()

	third := startEmbedded(t, "c", "--listen", where("127.0.0.4")) // and then the name does
	awaitAt(t, where("127.0.0.4"), third.proc)
	writeFile(t, hosts, "127.0.0.1 localhost\n127.0.0.4 ircd.test\n")
	second.proc.kill()
	inUse("127.0.0.4")
	login(t, f.port, "127.0.0.1", "cat").fence()
}

// The control connection of a native backend goes the same way.
func TestFieldControlByNameWithSeveralAddresses(t *testing.T) {
	needUnshare(t, "-m")
	port := freePort(t)
	hosts := filepath.Join(shortDir(t), "hosts")
	writeFile(t, hosts, "::1 localhost\n127.0.0.3 localhost\n127.0.0.1 localhost\n")
	a := start(t, nil, binary("ircferry"), "demo-ircd", "--name", "a", "--handoff", fmt.Sprintf("tcp:127.0.0.1:%d", port))
	awaitAt(t, fmt.Sprintf("127.0.0.1:%d", port), a)
	f := newFerry(t, "", fmt.Sprintf(`{name: a, handoff: "tcp:localhost:%d"}`, port))
	f.proc = withHosts(t, hosts, binary("ircferry"), "run", "-c", f.configFile())
	awaitPort(t, f.port, f.proc)
	login(t, f.port, "127.0.0.1", "ann").fence()
	if out, code := f.ctl("show", "session", "ann"); code != 0 || !strings.Contains(out, "ann") { // a control connection of its own asks for her
		t.Errorf("show session ann: exit %d\n%s", code, out)
	}
}

// awaitAt waits until somebody listens there.
func awaitAt(t *testing.T, address string, p *process) {
	t.Helper()
	eventually(t, 15*time.Second, "a listener at "+address, func() bool {
		select {
		case <-p.done:
			t.Fatalf("%s has ended:\n%s", p.cmd.Path, p.out.String())
		default:
		}
		c, err := net.Dial("tcp", address)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}
