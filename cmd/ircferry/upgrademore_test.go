package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ircferry/ircferry/admin"
	"github.com/ircferry/ircferry/internal/ircclient"
)

// isRefused wants a refusal that names something.
func isRefused(t *testing.T, err error, want string) {
	t.Helper()
	var said *admin.Error
	if !errors.As(err, &said) || said.Code != admin.CodeRefused || !strings.Contains(said.Error(), want) {
		t.Errorf("%v, want a refusal with %q", err, want)
	}
}

// While users are parked, while another upgrade runs, and for a binary that somebody else names, an upgrade is refused with the way out; while one runs,
// commands are.
func TestUpgradeIsRefused(t *testing.T) {
	f := startFerry(t)
	c := f.crowd(20, 2, 50*time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := f.client.Hold(ctx, admin.HoldRequest{Backend: "main/a"})
	if err != nil {
		t.Fatal(err)
	}
	await(t, "parked", func() bool { m, err := f.client.Moves(ctx); return err == nil && m[0].State == "parked" })
	_, err = f.upgrade(admin.UpgradeRequest{})
	isRefused(t, err, "ferryctl release main/a first")
	u, err := f.upgrade(admin.UpgradeRequest{DryRun: true})
	if err != nil || len(u.Refusals) != 1 || !strings.Contains(u.Refusals[0], "hold main/a") {
		t.Errorf("dry run %+v, %v", u, err)
	}
	done, err := f.client.Release(ctx, admin.ReleaseRequest{Backend: "main/a"})
	if err != nil {
		t.Fatal(err)
	}
	await(t, "end", func() bool { m, err := f.client.Move(ctx, done.Move.ID); return err == nil && m.State.Ended() })
	_, err = f.upgrade(admin.UpgradeRequest{Binary: "ircferry"})
	if err == nil || !strings.Contains(err.Error(), "not an absolute path") {
		t.Errorf("a relative path: %v", err)
	}

	f.stumbleAt("started", "hangs")
	first := make(chan error, 1)
	go func() {
		_, err := f.upgrade(admin.UpgradeRequest{})
		first <- err
	}()
	await(t, "upgrade under way", func() bool {
		_, err := f.client.Reload(ctx)
		var said *admin.Error
		return errors.As(err, &said) && said.Code == admin.CodeRefused
	})
	_, err = f.upgrade(admin.UpgradeRequest{})
	isRefused(t, err, "an upgrade is under way")
	_, err = f.client.Maint(ctx, "main/b")
	isRefused(t, err, "an upgrade is under way")
	if err := <-first; err == nil {
		t.Error("the one that hung was done")
	}
	if _, err := f.client.Reload(ctx); err != nil {
		t.Errorf("reload behind it: %v", err)
	}
	f.unharmed(c)
}

// A dry run tries what can be tried, tells who would come along, and changes nothing.
func TestUpgradeDryRun(t *testing.T) {
	f := startFerry(t)
	c := f.crowd(12, 2, 50*time.Millisecond)
	pid := f.status().PID
	u, err := f.upgrade(admin.UpgradeRequest{DryRun: true})
	if err != nil || u.Sessions != 12 || u.States["relay"] != 12 || u.PID != 0 || u.To == "" || len(u.Refusals) != 0 || u.Taken < 24 {
		t.Errorf("%+v, %v", u, err)
	}
	f.configure("moves: {park: 1}\n")
	if _, err := f.upgrade(admin.UpgradeRequest{DryRun: true}); err == nil || !strings.Contains(err.Error(), "park") {
		t.Errorf("with a configuration that cannot be: %v", err)
	}
	if st := f.status(); st.PID != pid || st.Upgrades.Done+st.Upgrades.Failed != 0 {
		t.Errorf("status %+v", st)
	}
	f.unharmed(c)
}

// An upgrade takes the configuration of now, listeners included, and what a restart needs stays and is named.
func TestUpgradeTakesTheConfiguration(t *testing.T) {
	f := startFerry(t)
	c := f.crowd(12, 2, 50*time.Millisecond)
	more := freeAddress(t)
	f.configure("moves: {park: 77s}\n")
	text, err := os.ReadFile(f.path())
	if err != nil {
		t.Fatal(err)
	}
	f.write(f.path(), strings.Replace(string(text), "pools:", fmt.Sprintf("  - {name: more, address: %q, pool: main, limits: {connections: 10}}\npools:", more), 1))
	f.must()
	await(t, "the new listener", func() bool { return len(f.status().Listeners) == 3 })
	client, err := ircclient.Dial(t.Context(), more, ircclient.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Register("newcomer"); err != nil {
		t.Error(err)
	}
	f.configure("") // and away with it again
	f.must()
	await(t, "two listeners", func() bool { return len(f.status().Listeners) == 2 })
	if _, err := client.Fence(); err != nil {
		t.Errorf("a client of a listener that is gone: %v", err)
	}
	f.must()
	if _, err := client.Fence(); err != nil {
		t.Errorf("the same behind another upgrade: %v", err)
	}
	f.unharmed(c)
}

// Clients who come while upgrades go on are let in, each of them: the listeners' queues are not reset, handshakes end or begin anew.
func TestUpgradesUnderAStormOfConnects(t *testing.T) {
	f := startFerry(t)
	stop := make(chan struct{})
	var served, failed atomic.Int64
	ended := make(chan struct{})
	for i := range 4 {
		go func() {
			defer func() { ended <- struct{}{} }()
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				o, addr := ircclient.Options{}, f.plain
				if n%2 == 0 {
					o.TLS, addr = &tls.Config{InsecureSkipVerify: true}, f.secure
				}
				c, err := ircclient.Dial(context.Background(), addr, o)
				if err == nil {
					err = c.Register(fmt.Sprintf("g%d_%d", i, n))
					c.Close()
				}
				if err != nil {
					failed.Add(1)
					t.Errorf("client %d of %d: %v", n, i, err)
					return
				}
				served.Add(1)
			}
		}()
	}
	for range 5 {
		before := served.Load()
		await(t, "clients", func() bool { return served.Load() > before+20 || failed.Load() > 0 })
		f.must()
	}
	close(stop)
	for range 4 {
		<-ended
	}
	t.Logf("%d clients", served.Load())
}

// A session that began before an upgrade is resumed behind it: the ticket's keys have come along.
func TestUpgradeKeepsTickets(t *testing.T) {
	f := startFerry(t)
	cfg := &tls.Config{InsecureSkipVerify: true, ServerName: "irc.example", ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	visit := func() bool {
		d := tls.Dialer{Config: cfg}
		conn, err := d.DialContext(t.Context(), "tcp", f.secure)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(patience))
		io.WriteString(conn, "NICK x\r\nUSER x 0 * :x\r\n")
		if _, err := conn.Read(make([]byte, 1)); err != nil { // the ticket comes before it
			t.Fatal(err)
		}
		return conn.(*tls.Conn).ConnectionState().DidResume
	}
	if visit() {
		t.Error("the first one was resumed")
	}
	f.must()
	if !visit() {
		t.Error("not resumed behind an upgrade")
	}
}

var counterLine = regexp.MustCompile(`(?m)^(ircferry_\w+(?:_total|_count|_bucket)(?:\{[^}]*\})?) ([0-9.e+]+)$`)

// No counter goes back at an upgrade, and none is lost.
func TestUpgradeKeepsCounters(t *testing.T) {
	f := startFerry(t)
	web := freeAddress(t)
	f.stop()
	text, _ := os.ReadFile(f.path())
	f.write(f.path(), strings.Replace(string(text), `http: {address: ""}`, fmt.Sprintf("http: {address: %q}", web), 1))
	f.run()
	scrape := func() map[string]float64 {
		resp, err := http.Get("http://" + web + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		all := map[string]float64{}
		for _, m := range counterLine.FindAllStringSubmatch(string(body), -1) {
			v, err := strconv.ParseFloat(m[2], 64)
			if err != nil {
				t.Fatal(err)
			}
			if _, twice := all[m[1]]; twice {
				t.Errorf("%s is told twice", m[1])
			}
			all[m[1]] = v
		}
		return all
	}
	c := f.crowd(20, 2, 50*time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	done, err := f.client.Drain(ctx, admin.DrainRequest{Backend: "main/a"})
	if err != nil {
		t.Fatal(err)
	}
	await(t, "end of the drain", func() bool { m, err := f.client.Move(ctx, done.Move.ID); return err == nil && m.State.Ended() })
	await(t, "count of the drain", func() bool { return scrape()[`ircferry_moves_total{kind="drain",pool="main",result="done"}`] == 1 })
	for range 3 {
		before := scrape()
		f.must()
		after := scrape()
		for name, v := range before {
			if after[name] < v {
				t.Errorf("%s is %v, was %v", name, after[name], v)
			}
		}
	}
	all := scrape()
	for name, want := range map[string]float64{
		`ircferry_listener_connections_total{listener="irc"}`:           10,
		`ircferry_moves_total{kind="drain",pool="main",result="done"}`:  1,
		`ircferry_upgrades_total{result="done"}`:                        3,
		`ircferry_move_pause_seconds_count{kind="drain",pool="main"}`:   20,
		`ircferry_tls_handshakes_total{listener="ircs",outcome="full"}`: 10,
		`ircferry_invariant_violations_total{check="sessions"}`:         0,
		`ircferry_loop_panics_total{loop="0"}`:                          0,
	} {
		if got, ok := all[name]; !ok || got != want {
			t.Errorf("%s is %v (%v), want %v", name, got, ok, want)
		}
	}
	f.unharmed(c)
}

// A process that may not have enough descriptors is told so in advance, and nothing is begun.
func TestUpgradeCountsDescriptors(t *testing.T) {
	f := startFerry(t)
	f.stop()
	f.write(filepath.Join(f.dir, "few"), fmt.Sprintf("#!/bin/sh\nulimit -n 120\nexec %s \"$@\"\n", os.Args[0]))
	os.Chmod(filepath.Join(f.dir, "few"), 0o700)
	f.run()
	c := f.crowd(40, 2, 50*time.Millisecond)
	_, err := f.upgrade(admin.UpgradeRequest{Binary: filepath.Join(f.dir, "few")})
	if err == nil || !strings.Contains(err.Error(), "LimitNOFILE") {
		t.Errorf("%v", err)
	}
	f.unharmed(c)
}

// SIGUSR2 is an upgrade. Whoever started the daemon has one process all the time, which ends with the last daemon and passes signals on.
func TestUpgradeBySignalAndStandBy(t *testing.T) {
	f := startFerry(t)
	c := f.crowd(12, 2, 50*time.Millisecond)
	for i := range 3 {
		f.cmd.Process.Signal(syscall.SIGUSR2)
		await(t, "upgrade", func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			st, err := f.client.Status(ctx)
			return err == nil && st.Upgrades.Done == i+1
		})
		pid := f.status().PID
		await(t, "the process before to have gone", func() bool { return slices.Equal(childrenOf(t, f.cmd.Process.Pid), []int{pid}) })
	}
	f.unharmed(c)
	c.close()
	f.cmd.Process.Signal(syscall.SIGTERM)
	if err := f.cmd.Wait(); err != nil {
		t.Errorf("the end of the daemon: %v", err)
	}
	if _, err := net.Dial("tcp", f.plain); err == nil {
		t.Error("somebody listens still")
	}
}

// Who kills the process that stays ends the daemon, in order.
func TestStandByIsKilled(t *testing.T) {
	f := startFerry(t)
	client, err := ircclient.Dial(t.Context(), f.plain, ircclient.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Register("stays"); err != nil {
		t.Fatal(err)
	}
	f.must()
	u := f.must()
	await(t, "the processes before to have gone", func() bool { return slices.Equal(childrenOf(t, f.cmd.Process.Pid), []int{u.PID}) })
	f.cmd.Process.Kill()
	if _, err := client.Expect("ERROR"); err != nil {
		t.Error(err)
	}
	await(t, "end of the daemon", func() bool { return syscall.Kill(u.PID, 0) != nil })
}

func childrenOf(t *testing.T, pid int) (pids []int) {
	t.Helper()
	out, err := exec.Command("ps", "-o", "pid=", "--ppid", strconv.Itoa(pid)).Output()
	if err != nil && len(out) > 0 {
		t.Fatal(err)
	}
	for _, field := range strings.Fields(string(out)) {
		n, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, n)
	}
	return pids
}

// Under a service manager that wants to know, the process before names the one behind it, and goes.
func TestUpgradeTellsTheServiceManager(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	said := make(chan string, 1000)
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := l.Read(b)
			if err != nil {
				return
			}
			said <- string(b[:n])
		}
	}()
	f := startFerry(t, "NOTIFY_SOCKET="+path)
	next := func(what string) string {
		t.Helper()
		for {
			select {
			case s := <-said:
				if strings.Contains(s, what) {
					return s
				}
				if strings.Contains(s, "READY=1") || strings.Contains(s, "MAINPID") {
					t.Errorf("%q comes before %q", s, what)
				}
			case <-time.After(patience):
				t.Fatalf("nobody says %q", what)
			}
		}
	}
	next("READY=1")
	u := f.must()
	next(fmt.Sprintf("MAINPID=%d", u.PID))
	next("READY=1")
	if end, err := f.cmd.Process.Wait(); err != nil || !end.Success() { // it is gone, and the daemon is not
		t.Errorf("the process before ends with %v, %v", end, err)
	}
	if st := f.status(); st.PID != u.PID {
		t.Errorf("process %d, want %d", st.PID, u.PID)
	}
	syscall.Kill(u.PID, syscall.SIGTERM)
	var end syscall.WaitStatus // it is our child, as systemd wants a main process to be its own
	await(t, "end of the daemon", func() bool {
		pid, err := syscall.Wait4(u.PID, &end, syscall.WNOHANG, nil)
		if err != nil {
			t.Fatal(err)
		}
		return pid == u.PID
	})
	if end.ExitStatus() != 0 {
		t.Errorf("the daemon ends with %v", end)
	}
}

// A daemon that is to stop in the middle of an upgrade stops, in order, and leaves no process behind.
func TestStopDuringAnUpgrade(t *testing.T) {
	f := startFerry(t)
	client, err := ircclient.Dial(t.Context(), f.plain, ircclient.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Register("stays"); err != nil {
		t.Fatal(err)
	}
	f.stumbleAt("started", "hangs")
	go f.upgrade(admin.UpgradeRequest{}) //nolint:errcheck // it ends with the daemon
	await(t, "upgrade under way", func() bool { return len(childrenOf(t, f.cmd.Process.Pid)) > 0 })
	pid := childrenOf(t, f.cmd.Process.Pid)[0]
	began := time.Now()
	f.cmd.Process.Signal(syscall.SIGTERM)
	if _, err := client.Expect("ERROR"); err != nil {
		t.Error(err)
	}
	f.cmd.Wait()
	if took := time.Since(began); took > helloTime/2 {
		t.Errorf("the stop took %v", took)
	}
	if err := syscall.Kill(pid, 0); err == nil {
		t.Errorf("process %d is left", pid)
	}
}
