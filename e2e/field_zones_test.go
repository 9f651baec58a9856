//go:build e2e

package e2e

import (
	"fmt"
	"net"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// inNamespace puts the test, and what it starts from now on, into a network of its own that has nothing but lo.
func inNamespace(t *testing.T) {
	t.Helper()
	runtime.LockOSThread() // and never unlocked: the thread ends with the test
	if err := syscall.Unshare(syscall.CLONE_NEWNET); err != nil {
		t.Skipf("no network namespaces here (run as root): %v", err)
	}
	sh(t, "ip link set lo up")
}

func sh(t *testing.T, line string) {
	t.Helper()
	if out, err := exec.Command("sh", "-ec", line).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
}

// Issue 10, 9 (envoy#23719): an address of one link, with its interface, passed check and then failed at run time, as listener and as backend.
func TestFieldZones(t *testing.T) {
	inNamespace(t)
	sh(t, "ip -6 addr add fe80::1/64 dev lo nodad")
	ircd, port := freePort(t), freePort(t)
	at := func(p int) string { return fmt.Sprintf("[fe80::1%%lo]:%d", p) }
	a := start(t, nil, binary("ircferry"), "demo-ircd", "--name", "a", "--listen", at(ircd))
	awaitAt(t, at(ircd), a)
	f := newFerry(t, "", fmt.Sprintf("{name: a, address: %q}", at(ircd)))
	text := strings.Replace(readFile(f.configFile()), fmt.Sprintf(`"127.0.0.1:%d"`, f.port), fmt.Sprintf("%q", at(port)), 1)
	f.writeConfig(text)
	check := func(text string) (string, int) {
		t.Helper()
		other := newFerry(t, "", "")
		other.writeConfig(text)
		p := start(t, nil, binary("ircferry"), "check", "-c", other.configFile())
		code := p.await(20 * time.Second)
		return p.out.String(), code
	}
	if says, code := check(text); code != 0 {
		t.Errorf("check: exit %d\n%s", code, says)
	}
	f.proc = start(t, nil, binary("ircferry"), "run", "-c", f.configFile())
	awaitAt(t, at(port), f.proc)
	for range 2 { // the backend must not flap: sessions agree with the check
		conn, err := net.Dial("tcp", at(port))
		if err != nil {
			t.Fatal(err)
		}
		c := &irc{t: t, conn: conn}
		go c.read()
		c.register("ann")
		c.send("QUIT")
		c.expect("ERROR")
		_ = conn.Close()
	}
	if out, _ := f.ctl("show", "backends"); !strings.Contains(out, " up ") {
		t.Errorf("backends:\n%s", out)
	}
	for _, c := range []struct{ old, now, want string }{
		{at(port), strings.Replace(at(port), "%lo", "", 1), "nothing without the interface"},
		{at(ircd), strings.Replace(at(ircd), "%lo", "", 1), "nothing without the interface"},
		{at(port), strings.Replace(at(port), "%lo", "%nosuch", 1), "no interface nosuch"},
	} {
		if says, code := check(strings.Replace(text, c.old, c.now, 1)); code != 1 || !strings.Contains(says, c.want) {
			t.Errorf("%s: exit %d, want %q\n%s", c.now, code, c.want, says)
		}
	}
}
