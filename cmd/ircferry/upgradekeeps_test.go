package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ircferry/ircferry/admin"
	"github.com/ircferry/ircferry/internal/ircclient"
)

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
	f.storm(5, func() { f.must() })
}

// The same for restarts: who comes meanwhile waits in the queues, which the keeper has.
func TestRestartsUnderAStormOfConnects(t *testing.T) {
	f, _ := keptFerry(t)
	f.storm(4, func() { f.kill(syscall.SIGUSR1) })
}

// storm lets clients come without end, each of whom must be served, and does something so many times meanwhile.
func (f *ferry) storm(times int, do func()) {
	t := f.t
	t.Helper()
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
	for range times {
		before := served.Load()
		await(t, "clients", func() bool { return served.Load() > before+20 || failed.Load() > 0 })
		do()
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
