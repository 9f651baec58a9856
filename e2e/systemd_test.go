//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// machine is a systemd that is process 1 of its own namespaces, over a copy of this machine's root directory.
type machine struct {
	t    *testing.T
	dir  string
	proc *process
	pid  string // of its process 1, as seen from here
}

// newMachine makes one; files that are put into it before start are there when systemd starts.
func newMachine(t *testing.T) *machine {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can start a systemd of its own")
	}
	if strings.TrimSpace(readFile("/proc/1/comm")) == "systemd" {
		t.Skip("this machine has a systemd of its own, beside which none is started: its cgroups are not ours")
	}
	if _, err := os.Stat("/lib/systemd/systemd"); err != nil {
		t.Skip("no systemd here: apt-get install systemd (make deps installs all)")
	}
	m := &machine{t: t, dir: shortDir(t)}
	if err := os.MkdirAll(filepath.Join(m.dir, "machine"), 0o700); err != nil {
		t.Fatal(err)
	}
	return m
}

// put writes a file that all may read and, if it is a program, run.
func (m *machine) put(path, text string) {
	m.t.Helper()
	path = filepath.Join(m.dir, "root", path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		m.t.Fatal(err)
	}
	writeProgram(m.t, path, text, 0o755)
}

// start starts systemd and returns when it answers, or skips the test where that cannot be.
func (m *machine) start() {
	m.t.Helper()
	m.proc = start(m.t, nil, "bash", "testdata/systemd-machine.sh", m.dir)
	m.t.Cleanup(func() {
		if m.t.Failed() && m.pid != "" {
			journal, _ := m.run("ferryctl status; ferryctl show moves; journalctl --no-pager -n 60")
			m.t.Logf("in the machine:\n%s", journal)
		}
		m.proc.kill()
		m.removeCgroups()
	})
	eventually(m.t, 20*time.Second, "systemd answers", func() bool {
		select {
		case <-m.proc.done:
			if code := m.proc.cmd.ProcessState.ExitCode(); code != 77 {
				m.t.Fatalf("systemd has ended: exit %d", code)
			}
			m.t.Skipf("no systemd can be started here: %s", lastLines(m.proc.out.String(), 1))
		default:
		}
		pid := m.child()
		if pid == "" || strings.TrimSpace(readFile("/proc/"+pid+"/comm")) != "systemd" {
			return false
		}
		m.pid = pid
		state, _ := m.run("systemctl is-system-running")
		return strings.TrimSpace(state) == "running"
	})
}

// child is process 1 of the machine, or "" as long as there is none.
func (m *machine) child() string {
	return strings.TrimSpace(readFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", m.proc.cmd.Process.Pid)))
}

// removeCgroups removes what systemd has made; that can be done when the last process is gone.
func (m *machine) removeCgroups() {
	_, top, ok := strings.Cut(m.proc.out.String(), "cgroup /")
	if !ok {
		return
	}
	top, _, _ = strings.Cut(top, "\n")
	eventually(m.t, 10*time.Second, "the machine's cgroups are empty", func() bool {
		return exec.Command("find", "/"+top, "-depth", "-type", "d", "-exec", "rmdir", "{}", "+").Run() == nil
	})
}

// run runs a command of the shell in the machine and returns what it printed, and its exit code.
func (m *machine) run(command string) (out string, code int) {
	m.t.Helper()
	return m.runWithin(slack, command)
}

func (m *machine) runWithin(limit time.Duration, command string) (out string, code int) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit) // a Cleanup asks, too
	defer cancel()
	cmd := exec.CommandContext(ctx, "nsenter", "-t", m.pid, "-m", "-p", "-u", "-i", "-C", "-r", "-w",
		"env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "sh", "-c", command)
	var both bytes.Buffer
	cmd.Stdout, cmd.Stderr = &both, &both
	if err := cmd.Run(); cmd.ProcessState == nil {
		m.t.Fatalf("%s: %v", command, err)
	}
	return both.String(), cmd.ProcessState.ExitCode()
}

// well is run for what must go well.
func (m *machine) well(command string) string {
	m.t.Helper()
	out, code := m.run(command)
	if code != 0 {
		m.t.Fatalf("%s: exit %d\n%s", command, code, out)
	}
	return out
}

// TestUnitsUnderSystemd is README's "InspIRCd in ten minutes" under a real systemd: Debian's unit of InspIRCd, our unit with all its
// hardening, a group that lets it to the socket, and the drop-in. A plain restart, a stop and a start, and ferryctl's restart are unseen.
func TestUnitsUnderSystemd(t *testing.T) {
	three := inspVersions()[0]
	module, inspircd := three.module(t), three.program
	if _, err := os.Stat("/lib/systemd/system/inspircd.service"); err != nil {
		t.Skip("this InspIRCd has no unit")
	}
	m := newMachine(t)
	port := freePort(t)
	m.put("usr/bin/ircferry", readFile(binary("ircferry")))
	m.put("usr/bin/ferryctl", readFile(binary("ferryctl")))
	m.put("etc/systemd/system/ircferry.service", readFile("../configs/ircferry.service"))
	m.put("etc/systemd/system/ircferry.service.d/groups.conf", "[Service]\nSupplementaryGroups=irc\n")
	m.put("etc/ircferry/ircferry.yaml", strings.Replace(readFile("../configs/inspircd/ircferry.yaml"), `":6667"`, fmt.Sprintf(`"127.0.0.1:%d"`, port), 1)+"http: {address: \"\"}\n")
	m.put("etc/systemd/system/inspircd.service.d/ircferry.conf", readFile("../configs/inspircd/inspircd.service.conf"))
	m.put("usr/lib/inspircd/modules/m_handoff.so", readFile(module))
	m.put("etc/inspircd/handoff.conf", strings.Replace(readFile("../configs/inspircd/handoff.conf"), `port="7001"`, fmt.Sprintf(`port="%d"`, freePort(t)), 1))
	m.put("etc/inspircd/inspircd.conf", `<server name="irc.test" description="x" network="Test"> <admin name="x" nick="x" email="x@test">
<connect allow="*" resolvehostnames="no" useident="no" timeout="30" threshold="1000" commandrate="100000" fakelag="no" localmax="10" globalmax="10">
<include file="/etc/inspircd/handoff.conf">
`)
	m.start()

	m.well("systemctl start inspircd ircferry")
	m.well("systemctl is-active inspircd ircferry")
	if out := m.well("ircferry check --strict -c /etc/ircferry/ircferry.yaml"); !strings.Contains(out, "speaks HANDOFF/1") {
		t.Errorf("check: %s", out)
	}
	eventually(t, 10*time.Second, "the backend is up", func() bool { return strings.Contains(m.well("ferryctl show backends"), " up ") })
	ann, bob := login(t, port, "127.0.9.1", "ann"), login(t, port, "127.0.9.2", "bob")
	for _, c := range []*irc{ann, bob} {
		c.send("JOIN #sea")
		c.expect(" 366 ")
	}
	ann.expect(":bob!bob@127.0.9.2 JOIN ")
	before := []int{ann.count(), bob.count()}
	said := 0
	talk := func() {
		t.Helper()
		for range 5 {
			said++
			ann.send(fmt.Sprintf("PRIVMSG #sea :%d", said))
		}
	}
	for n, commands := range [][]string{
		{"systemctl restart inspircd"},
		{"systemctl stop inspircd", "systemctl start inspircd"},
		{"ferryctl restart main/a --exec 'systemctl restart inspircd'"},
		{"systemctl reload ircferry", "systemctl reload inspircd", "systemctl restart inspircd"},
	} {
		pid := m.well("systemctl show -P MainPID " + filepath.Base(inspircd))
		for _, command := range commands {
			talk()
			m.well(command)
		}
		if m.well("systemctl show -P MainPID inspircd") == pid {
			t.Errorf("%s: it is the same process", commands)
		}
		eventually(t, 10*time.Second, "the move has ended", func() bool {
			return !strings.Contains(m.well("ferryctl status"), "moving") && !strings.Contains(m.well("ferryctl show moves"), "running")
		})
		bob.expect(fmt.Sprintf("PRIVMSG #sea :%d", said))
		if failed := m.well("systemctl --failed --plain --no-legend"); failed != "" {
			t.Errorf("%d, %s: failed units:\n%s", n, commands, failed)
		}
	}
	var want []string
	for i := range said {
		want = append(want, fmt.Sprintf(":ann!ann@127.0.9.1 PRIVMSG #sea :%d", i+1))
	}
	if got := strings.Join(bob.since(before[1]), "\n"); got != strings.Join(want, "\n") {
		t.Errorf("bob saw\n%s", got)
	}
	if got := ann.since(before[0]); len(got) > 0 {
		t.Errorf("ann saw %q", got)
	}
	m.well("systemctl stop ircferry") // InspIRCd was told to start after it, and goes on
	m.well("systemctl is-active inspircd")
	ann.closed(time.Minute)
}
