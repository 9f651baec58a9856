//go:build e2e

package e2e

import (
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestInspIRCdRestartByUnit does what systemd does for `systemctl restart inspircd` with the drop-in: ExecStop, SIGTERM, the new process, and
// ExecStartPost at once, while it starts. Clients see nothing of it, and a stop without anybody to hold is none's failure.
func TestInspIRCdRestartByUnit(t *testing.T) { onBoth(t, inspIRCdRestartByUnit) }

func inspIRCdRestartByUnit(t *testing.T, v *inspVersion) {
	a := v.start(t, "a")
	f := startFerry(t, nil, "", a.backend())
	dropin := readFile("../configs/inspircd/inspircd.service.conf")
	run := func(key string) {
		t.Helper()
		m := regexp.MustCompile(`(?m)^` + key + `=-\+ferryctl (.*)$`).FindStringSubmatch(dropin)
		if m == nil {
			t.Fatalf("no %s in the drop-in", key)
		}
		cmd := exec.CommandContext(t.Context(), binary("ferryctl"), append([]string{"--socket", f.dir + "/admin.sock"}, strings.Fields(m[1])...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s=%s: %v\n%s", key, m[1], err, out)
		}
	}
	restart := func() time.Duration {
		t.Helper()
		begin := time.Now()
		run("ExecStop")
		a.proc.signal(syscall.SIGTERM)
		a.proc.await(10 * time.Second)
		a.launch()
		run("ExecStartPost")
		return time.Since(begin)
	}
	w := startTalkers(t, f.port, 20, 3)
	for n := range 3 {
		t.Logf("restart %d took %d ms", n, restart().Milliseconds())
		a.users(20)
		w.talkOn(500)
	}
	w.closing(fmt.Sprintf("restarts=%d", 3))
}
