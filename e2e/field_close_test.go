//go:build e2e

package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// relayed starts an ircd without the driver in use, and its entry in a pool.
func relayed(t *testing.T, name string) (e *embedded, entry string) {
	t.Helper()
	port := freePort(t)
	e = startEmbedded(t, name, "--listen", fmt.Sprintf("127.0.0.1:%d", port))
	awaitPort(t, port, e.proc)
	return e, fmt.Sprintf(`{name: %s, address: "127.0.0.1:%d"}`, name, port)
}

// ended answers when the client's connection had ended.
func (c *irc) ended() time.Time {
	c.t.Helper()
	eventually(c.t, 20*time.Second, "the end of "+c.nick, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.err != nil
	})
	return time.Now()
}

// Wanted by issue 10: users of an ircd without the driver are told, and closed spread over the time.
func TestFieldDrainCloseAfter(t *testing.T) {
	_, a := relayed(t, "a")
	_, b := relayed(t, "b")
	f := startFerry(t, nil, "", a, b)
	var all []*irc
	for i := range 20 {
		all = append(all, login(t, f.port, "127.0.0.1", fmt.Sprintf("ann%d", i)))
	}
	const notice = "Restart at 12:00 UTC, please reconnect"
	var mu sync.Mutex
	var first, last time.Time
	var seen sync.WaitGroup
	for _, c := range all {
		seen.Go(func() {
			at := c.ended()
			mu.Lock()
			defer mu.Unlock()
			if first.IsZero() {
				first = at
			}
			last = at
		})
	}
	out, code := f.ctl("drain", "main/a", "--close-after", "2s", "--notice", notice)
	if code != 0 || !strings.Contains(out, "main/a is drain, 0 sessions are left") {
		t.Errorf("exit %d\n%s", code, out)
	}
	seen.Wait()
	if took := last.Sub(first); took < time.Second {
		t.Errorf("all were closed within %s", took)
	}
	for _, c := range all {
		text := strings.Join(c.since(0), "\n")
		if strings.Count(text, ":ircferry NOTICE * :"+notice) != 1 || !strings.Contains(text, "ERROR :Closing link: (ircferry) "+notice) {
			t.Errorf("%s was told\n%s", c.nick, lastLines(text, 3))
		}
	}
	eventually(t, 20*time.Second, "the log says who closed them", func() bool {
		return strings.Contains(f.proc.out.String(), "reason=closed_by_operator")
	})
	login(t, f.port, "127.0.0.1", "ben").fence() // on b
	if out, code := f.ctl("drain", "main/b", "--close-after", "1s"); code != 5 {
		t.Errorf("the last one: exit %d\n%s", code, out)
	}
	if _, code := f.ctl("ready", "main/a"); code != 0 {
		t.Error("not ready again")
	}
}

// A restart of an ircd without the driver: who comes meanwhile waits, and comes in at the pace.
func TestFieldRestartWithoutADriver(t *testing.T) {
	e, a := relayed(t, "a")
	f := startFerry(t, nil, "", a)
	old := login(t, f.port, "127.0.0.1", "old")
	if out, code := f.ctl("restart", "main/a", "--exec", "true"); code != 5 || out != "" {
		t.Errorf("without --close-after: exit %d\n%s", code, out)
	}
	gone, start := filepath.Join(f.dir, "gone"), filepath.Join(f.dir, "start")
	done := make(chan int)
	go func() {
		// The command marks that nobody is left, ends the ircd, and waits until the test lets it be started again.
		command := fmt.Sprintf("kill %d; touch %s; while ! [ -e %s ]; do sleep 0.05; done", e.proc.cmd.Process.Pid, gone, start)
		_, code := f.ctl("restart", "main/a", "--close-after", "0s", "--notice", "Restart", "--pace", "10", "--exec", command)
		done <- code
	}()
	old.ended()
	eventually(t, 20*time.Second, "the command runs", func() bool { return exists(gone) })
	e.proc.await(20 * time.Second)
	var conns []net.Conn
	for i := range 20 {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", f.port))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "NICK new%d\r\nUSER new 0 * :new\r\n", i)
		conns = append(conns, conn)
	}
	f.shows(t, "waiting 20", "status")
	e.run()
	began := time.Now()
	writeFile(t, start, "")
	var last time.Time
	for _, conn := range conns {
		_ = conn.SetReadDeadline(time.Now().Add(slack))
		buf := make([]byte, 4096)
		if n, err := conn.Read(buf); err != nil || !strings.Contains(string(buf[:n]), " 001 ") {
			t.Fatalf("%v %q", err, buf[:n])
		}
		last = time.Now()
	}
	if took := last.Sub(began); took < 1500*time.Millisecond {
		t.Errorf("20 clients were let in within %s, at 10 a second", took)
	}
	if code := <-done; code != 0 {
		t.Errorf("restart: exit %d", code)
	}
	login(t, f.port, "127.0.0.1", "late").fence()
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
