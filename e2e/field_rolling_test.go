//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Wanted by issue 10: one backend after the other, each only when the one before is up and its users are back; at the first trouble it stops and
// says how to go on.
func TestFieldRolling(t *testing.T) {
	f := newFerry(t, "")
	ircds := map[string]*embedded{}
	var entries []string
	for _, name := range []string{"a", "b", "c"} {
		ircds[name] = startEmbedded(t, name)
		entries = append(entries, ircds[name].backend())
	}
	f.writeConfig(strings.Replace(config(f.dir, f.port, "", entries...), "topology: standalone", "topology: linked", 1))
	f.run(nil)
	f.shows(t, "main/c", "show", "backends")
	eventually(t, 20*time.Second, "all are up", func() bool { out, _ := f.ctl("show", "backends"); return strings.Count(out, " up ") == 3 })
	var users []*irc
	for i := range 6 {
		users = append(users, login(t, f.port, "127.0.0.1", fmt.Sprintf("ann%d", i)))
	}
	// The command of an operator ends the ircd of that name and starts it again.
	script := filepath.Join(f.dir, "restart")
	writeFile(t, script, fmt.Sprintf("#!/bin/sh\necho $1 >>%s/done\n[ -e %s/break-$1 ] && exit 7\nkill $(cat %s/pid-$1)\nwhile kill -0 $(cat %s/pid-$1) 2>/dev/null; do sleep 0.02; done\ntouch %s/start-$1\n",
		f.dir, f.dir, f.dir, f.dir, f.dir))
	restarted := func(name string) {
		e := ircds[name]
		writeFile(t, filepath.Join(f.dir, "pid-"+name), fmt.Sprint(e.proc.cmd.Process.Pid))
		old := e.proc
		go func() {
			<-old.done
			e.run()
		}()
	}
	rolling := func(args ...string) (string, string, int) {
		cmd := exec.Command(binary("ferryctl"), append([]string{"--socket", filepath.Join(f.dir, "admin.sock"), "rolling", "main", "--exec", "sh " + script + " {}"}, args...)...)
		var out, problem bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &problem
		_ = cmd.Run()
		return out.String(), problem.String(), cmd.ProcessState.ExitCode()
	}
	for _, name := range []string{"a", "b", "c"} {
		restarted(name)
	}
	writeFile(t, filepath.Join(f.dir, "break-b"), "")
	out, says, code := rolling()
	if code != 1 || !strings.Contains(says, "stopped at main/b; done: a; not begun: c") || !strings.Contains(says, "ferryctl rolling main --from b --exec 'sh "+script+" {}'") {
		t.Errorf("exit %d\n%s\n%s", code, out, says)
	}
	if got := strings.Fields(readFile(filepath.Join(f.dir, "done"))); strings.Join(got, "") != "ab" {
		t.Errorf("restarted %v", got)
	}
	for _, c := range users {
		c.fence()
	}
	sh(t, "rm "+filepath.Join(f.dir, "break-b"))
	out, says, code = rolling("--from", "b")
	if code != 0 || !strings.Contains(says, "2 of 2: main/c") {
		t.Errorf("exit %d\n%s\n%s", code, out, says)
	}
	if got := strings.Fields(readFile(filepath.Join(f.dir, "done"))); strings.Join(got, "") != "abbc" {
		t.Errorf("restarted %v", got)
	}
	for _, c := range users {
		c.fence()
	}
	if _, code := f.ctl("rolling", "main", "--exec", "true", "--from", "x"); code != 1 {
		t.Errorf("an unknown one: exit %d", code)
	}
	ircds["c"].proc.kill()
	eventually(t, 20*time.Second, "c is down", func() bool { out, _ := f.ctl("show", "backends"); return strings.Contains(out, "main/c is down") })
	if _, says, code := rolling(); code != 5 || !strings.Contains(says, "main/c is down") {
		t.Errorf("with one that is down: exit %d\n%s", code, says)
	}
}
