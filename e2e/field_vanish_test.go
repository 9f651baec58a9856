//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// otherHost is a network of its own behind a cable of two ends. It goes with the test.
type otherHost struct {
	t           *testing.T
	pid         string // whoever is in it
	near, there string // our address on the cable, and its
}

// newHost needs root. n tells the networks of a test run apart.
func newHost(t *testing.T, n int) *otherHost {
	t.Helper()
	needUnshare(t, "-n")
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("no ip here: apt-get install iproute2")
	}
	keeper := start(t, nil, "unshare", "-n", "sh", "-c", "ip link set lo up && echo up && read line")
	eventually(t, slack, "a network of its own", func() bool { return strings.Contains(keeper.out.String(), "up") })
	cable, net := fmt.Sprintf("vanish%d-%d", n, os.Getpid()%100000), 4*((os.Getpid()*4+n)%60)
	h := &otherHost{t: t, pid: fmt.Sprint(keeper.cmd.Process.Pid), near: fmt.Sprintf("198.18.77.%d", net+1), there: fmt.Sprintf("198.18.77.%d", net+2)}
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v %s", strings.Join(args, " "), err, out)
		}
	}
	if out, err := exec.Command("ip", "link", "add", cable, "type", "veth", "peer", "name", "cable", "netns", h.pid).CombinedOutput(); err != nil {
		t.Skipf("no cable to another network can be made here: %v %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", cable).Run() })
	run("ip", "addr", "add", h.near+"/30", "dev", cable)
	run("ip", "link", "set", cable, "up")
	h.run("ip", "addr", "add", h.there+"/30", "dev", "cable")
	h.run("ip", "link", "set", "cable", "up")
	return h
}

func (h *otherHost) command(args ...string) []string {
	return append([]string{"-t", h.pid, "-n"}, args...)
}

func (h *otherHost) run(args ...string) {
	h.t.Helper()
	if out, err := exec.Command("nsenter", h.command(args...)...).CombinedOutput(); err != nil {
		h.t.Fatalf("%s: %v %s", strings.Join(args, " "), err, out)
	}
}

// vanish has the host answer nothing any more, and say nothing of it.
func (h *otherHost) vanish() { h.run("ip", "route", "add", "blackhole", h.near+"/32") }

// ircd runs an embedded ircd in there.
func (h *otherHost) ircd(name string, port int) *process {
	h.t.Helper()
	address := fmt.Sprintf("%s:%d", h.there, port)
	handoff := "unix:" + filepath.Join(shortDir(h.t), "handoff.sock")
	p := start(h.t, nil, "nsenter", h.command(binary("ircferry"), "demo-ircd", "--name", name, "--handoff", handoff, "--listen", address)...)
	awaitAt(h.t, address, p)
	return p
}

// promised is how long a session may wait for the end of a host that has vanished: two checks of a second each, a look every three seconds, forty seconds
// of the kernel.
const promised = 50 * time.Second

// Issue 10, 7 (kubelb#540): a host vanishes without a word. Its sessions, idle or not, are told within a minute, and not after as long as TCP is patient;
// new clients go elsewhere at once when they are checked, and those who come before that to another address of the name.
func TestFieldHostThatVanishes(t *testing.T) {
	t.Parallel()
	needUnshare(t, "-m")
	h, port := newHost(t, 0), freePort(t)
	h.ircd("a", port)
	hosts := filepath.Join(shortDir(t), "hosts")
	writeFile(t, hosts, fmt.Sprintf("127.0.0.1 localhost\n%s ircd.test\n127.0.0.2 ircd.test\n", h.there))
	f := newFerry(t, "", fmt.Sprintf(`{name: a, address: "%s:%d"}`, h.there, port), fmt.Sprintf(`{name: b, address: "127.0.0.2:%d"}`, port))
	named := newFerry(t, "", fmt.Sprintf(`{name: a, address: "ircd.test:%d"}`, port)) // checks do not tell it
	named.writeConfig(strings.Replace(config(named.dir, named.port, "", fmt.Sprintf(`{name: a, address: "ircd.test:%d"}`, port)), "inter: 1s", "inter: 1h", 1))
	for _, d := range []*ferry{f, named} {
		d.proc = withHosts(t, hosts, binary("ircferry"), "run", "-c", d.configFile())
		awaitPort(t, d.port, d.proc)
	}
	idle, busy := login(t, f.port, "127.0.0.1", "idle"), login(t, f.port, "127.0.0.1", "busy")
	login(t, named.port, "127.0.0.1", "one")
	if out, _ := named.ctl("show", "backends"); !strings.Contains(out, h.there) {
		t.Fatalf("the other host is not the address in use:\n%s", out)
	}
	b := startEmbedded(t, "b", "--listen", fmt.Sprintf("127.0.0.2:%d", port))
	awaitAt(t, fmt.Sprintf("127.0.0.2:%d", port), b.proc)

	h.vanish()
	began := time.Now()
	busy.send("PING there")
	early := login(t, named.port, "127.0.0.1", "two")
	if d := time.Since(began); d > 5*time.Second+slack/2 {
		t.Errorf("a name with another address, which lives, took %v", d)
	} else {
		t.Logf("to another address of the name: %v", d)
	}
	early.fence()
	eventually(t, promised, "the backend is down", func() bool { return downIs(f, "a") })
	login(t, f.port, "127.0.0.1", "new").fence()
	t.Logf("to another backend: %v", time.Since(began))
	for _, c := range []*irc{idle, busy} {
		c.closed(promised + slack)
		if d := time.Since(began); d > promised+slack {
			t.Errorf("%s was told after %v", c.nick, d)
		} else {
			t.Logf("%s was told after %v", c.nick, d)
		}
		c.sees("ERROR :")
	}
}

// downIs reports whether the checks say that a backend is down.
func downIs(f *ferry, name string) bool {
	out, _ := f.ctl("show", "backends")
	for _, line := range strings.Split(out, "\n") {
		if strings.Contains(line, "main/"+name+" ") && strings.Contains(line, " down ") {
			return true
		}
	}
	return false
}

// An ircd that stands still for longer than that, on a host that lives, keeps its sessions.
func TestFieldHostThatLives(t *testing.T) {
	t.Parallel()
	h, port := newHost(t, 1), freePort(t)
	p := h.ircd("a", port)
	f := newFerry(t, "")
	f.writeConfig(strings.Replace(config(f.dir, f.port, "", fmt.Sprintf(`{name: a, address: "%s:%d"}`, h.there, port)), "inter: 1s", "type: irc, register: 0, inter: 1s", 1))
	f.run(nil)
	idle := login(t, f.port, "127.0.0.1", "idle")
	idle.fence()
	p.signal(syscall.SIGSTOP)
	defer p.signal(syscall.SIGCONT)
	idle.send("PING later")
	eventually(t, promised, "the backend is down", func() bool { return downIs(f, "a") })
	time.Sleep(45 * time.Second) // nothing is to happen
	p.signal(syscall.SIGCONT)
	idle.expect("later")
	idle.fence()
}
