//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// Issue 10, 4: 60 idle clients at a limit of 100 descriptors. ferryctl hung, /healthz and /metrics timed out, and the log had not a word.
func TestFieldDescriptorsUsedUp(t *testing.T) {
	a, b := startEmbedded(t, "a"), startEmbedded(t, "b")
	f := newFerry(t, "", a.backend(), b.backend())
	web := freePort(t)
	text := strings.Replace(readFile(f.configFile()), `http: {address: ""}`, fmt.Sprintf(`http: {address: "127.0.0.1:%d"}`, web), 1)
	text = strings.Replace(text, "connections: 1000", "connections: 60", 1)
	f.writeConfig("loops: 2\n" + text)
	f.proc = start(t, nil, "sh", "-c", `ulimit -n 100; exec "$@"`, "sh", binary("ircferry"), "run", "-c", f.configFile())
	awaitPort(t, f.port, f.proc)
	const few = "limits.connections allow 60, which needs"
	eventually(t, 20*time.Second, "the start warns", func() bool { return strings.Contains(f.proc.out.String(), few) })
	f.shows(t, few, "status")
	check := start(t, nil, "sh", "-c", `ulimit -n 100; exec "$@"`, "sh", binary("ircferry"), "check", "-c", f.configFile())
	if code := check.await(20 * time.Second); code != 1 || !strings.Contains(check.out.String(), few) {
		t.Errorf("check: exit %d\n%s", code, check.out.String())
	}

	first := login(t, f.port, "127.0.0.1", "ann")
	var idle []net.Conn
	for range 60 {
		c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", f.port), slack)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		idle = append(idle, c)
	}
	eventually(t, 20*time.Second, "a line in the log", func() bool { return strings.Contains(f.proc.out.String(), "descriptors are used up") })
	first.fence()
	stranger, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", web)) // and one who keeps the HTTP port busy
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	for range 3 {
		if out, code := f.ctl("status"); code != 0 || !strings.Contains(out, "does not accept: no descriptors left") {
			t.Fatalf("status: exit %d\n%s", code, out)
		}
		for _, path := range []string{"/healthz", "/metrics", "/"} {
			if code, body := get(t, fmt.Sprintf("http://127.0.0.1:%d%s", web, path)); code != 200 || path == "/metrics" && !strings.Contains(body, "ircferry_accept_paused 2") {
				t.Errorf("%s: %d\n%s", path, code, lastLines(body, 5))
			}
		}
	}
	f.shows(t, " up ", "show", "backends")
	if n := strings.Count(f.proc.out.String(), "descriptors are used up"); n != 1 {
		t.Errorf("the log has it %d times", n)
	}
	follow, cancel := context.WithCancel(t.Context()) // an operator who watches meanwhile
	defer cancel()
	watching := exec.CommandContext(follow, binary("ferryctl"), "--socket", f.dir+"/admin.sock", "events", "-f")
	if err := watching.Start(); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"reload"}, {"show", "session", "ann"}} { // files, and a control connection
		if out, code := f.ctl(args...); code != 0 {
			t.Errorf("%s: exit %d\n%s", args, code, out)
		}
	}
	cancel()
	_ = watching.Wait()
	first.fence()

	for _, c := range idle {
		_ = c.Close()
	}
	eventually(t, 20*time.Second, "the end of it in the log", func() bool { return strings.Contains(f.proc.out.String(), "descriptors are back") })
	login(t, f.port, "127.0.0.1", "ben").fence()
}

// Users who wait for their ircd's restart get their new streams although new clients have come in meanwhile, up to the last descriptor.
func TestFieldDescriptorsInARestart(t *testing.T) {
	a := startEmbedded(t, "a")
	f := newFerry(t, "", a.backend())
	f.writeConfig("loops: 2\n" + readFile(f.configFile()))
	f.proc = start(t, nil, "sh", "-c", `ulimit -n 200; exec "$@"`, "sh", binary("ircferry"), "run", "-c", f.configFile())
	awaitPort(t, f.port, f.proc)
	const users = 60
	var all []*irc
	for i := range users {
		all = append(all, login(t, f.port, "127.0.0.1", fmt.Sprintf("user%d", i)))
	}
	old := a.proc
	var idle []net.Conn
	restarted := make(chan struct{})
	go func() {
		defer close(restarted)
		<-old.done
		for range 2 * users {
			c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", f.port), slack)
			if err != nil {
				t.Error(err)
				break
			}
			idle = append(idle, c)
		}
		eventually(t, 20*time.Second, "descriptors are used up", func() bool { return strings.Contains(f.proc.out.String(), "descriptors are used up") })
		a.run()
	}()
	r := f.move("restart", "main/a", "--exec", fmt.Sprintf("kill %d", old.cmd.Process.Pid))
	<-restarted
	if r.Moved != users {
		t.Errorf("%+v", r)
	}
	for _, c := range all {
		c.fence()
	}
	for _, c := range idle {
		_ = c.Close()
	}
	eventually(t, 20*time.Second, "the end of it in the log", func() bool { return strings.Contains(f.proc.out.String(), "descriptors are back") })
}

func get(t *testing.T, url string) (code int, body string) {
	t.Helper()
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get(url)
	if err != nil {
		t.Errorf("get %s: %v", url, err)
		return 0, ""
	}
	defer res.Body.Close()
	all, err := io.ReadAll(res.Body)
	if err != nil {
		t.Errorf("get %s: %v", url, err)
	}
	return res.StatusCode, string(all)
}
