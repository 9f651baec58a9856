package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ircferry/ircferry/admin"
	"github.com/ircferry/ircferry/handoff"
	"github.com/ircferry/ircferry/internal/config"
	"github.com/ircferry/ircferry/internal/ircclient"
)

// fileDaemon is a daemon with a configuration file, whose text the test changes between reloads.
type fileDaemon struct {
	*daemon
	t    *testing.T
	path string
	text string
	sets []config.Log // what the log was set to
}

// newFileDaemon starts it, with one ircd in pool main and a listener on a port of the kernel's choice.
func newFileDaemon(t *testing.T) *fileDaemon {
	t.Helper()
	dir := t.TempDir()
	a := startIrcd(t, dir, "a")
	f := &fileDaemon{t: t, path: filepath.Join(dir, "ircferry.yaml")}
	f.write(fmt.Sprintf(`listeners: [{name: irc, address: "127.0.0.1:0", pool: main, limits: {per_ip: 0, per_ip_rate: 0}}]
pools:
  main:
    check: {inter: 10s, rise: 1, timeout: 10s}
    backends: [{name: a, handoff: "unix:%s"}]
moves: {park: 5m}
state: %s
admin: {socket: %s}
http: {address: ""}
log: {level: info}
`, a.socket, filepath.Join(dir, "state"), filepath.Join(dir, "admin.sock")))
	d, err := startDaemon(daemonOptions{path: f.path, log: testLog(t), setLog: func(c config.Log) error {
		f.sets = append(f.sets, c)
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	f.daemon = d
	t.Cleanup(func() { d.Shutdown(expired()) })
	awaitUp(t, d, "main/a")
	return f
}

func (f *fileDaemon) write(text string) {
	f.t.Helper()
	f.text = text
	if err := os.WriteFile(f.path, []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// change replaces words of the file, which must stand there.
func (f *fileDaemon) change(oldNew ...string) {
	f.t.Helper()
	for i := 0; i < len(oldNew); i += 2 {
		if !strings.Contains(f.text, oldNew[i]) {
			f.t.Fatalf("the file has no %q", oldNew[i])
		}
	}
	f.write(strings.NewReplacer(oldNew...).Replace(f.text))
}

// must reloads and expects what was changed, and what needs a restart.
func (f *fileDaemon) must(changed, restart string) {
	f.t.Helper()
	r, err := f.Reload(f.t.Context())
	if err != nil {
		f.t.Fatalf("reload: %v", err)
	}
	if got := strings.Join(r.Changed, " "); got != changed {
		f.t.Errorf("changed %q, want %q", got, changed)
	}
	if got := strings.Join(r.NeedsRestart, " "); got != restart {
		f.t.Errorf("needs a restart %q, want %q", got, restart)
	}
}

func TestReloadChangesNothingIfOneThingCannotBe(t *testing.T) {
	f := newFileDaemon(t)
	c := ircclient.TestUser(t, f.address(t), "alice")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	sets, before := len(f.sets), f.cfg.Load().Config
	f.change("pools:", fmt.Sprintf("  - {name: two, address: %q, pool: main}\npools:", taken.Addr()), "listeners: [{", "listeners:\n  - {", "}}]", "}}",
		"name: a,", "name: b,", "park: 5m", "park: 6m", "level: info", "level: error")
	if _, err := f.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "listener two") {
		t.Fatalf("reload with an address that is taken: %v", err)
	}
	if len(f.sets) != sets {
		t.Errorf("the log was set to %+v", f.sets[len(f.sets)-1])
	}
	if _, ok := f.backends.Backend("main/b"); ok {
		t.Error("backend b is there")
	}
	if got := f.cfg.Load(); got.Moves != before.Moves || got.lastError == "" {
		t.Errorf("moves %+v, last error %q", got.Moves, got.lastError)
	}
	c.Fence()
	b, ok := f.backends.Backend("main/a")
	if !ok || b.Sessions() != 1 {
		t.Error("backend a does not have its session any more")
	}
	awaitUp(t, f.daemon, "main/a")
	ircclient.TestUser(t, f.address(t), "bob").Fence()
}

// A reload while users are parked must not take the backend that they go back to; the rest of the configuration changes then.
func TestReloadWhileUsersAreHeld(t *testing.T) {
	f := newFileDaemon(t)
	c := ircclient.TestUser(t, f.address(t), "alice")
	m, err := f.moves.Hold(handoff.Request{Pool: "main", From: "a"})
	if err != nil {
		t.Fatal(err)
	}
	<-m.Parked()
	good := f.text
	f.change("name: a,", "name: b,", "park: 5m", "park: 6m")
	if _, err := f.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "backend a cannot change while move "+m.ID()) {
		t.Fatalf("reload that takes the backend away: %v", err)
	}
	if got := f.limits().Park; got != 5*time.Minute {
		t.Errorf("park %v after a refused reload", got)
	}
	f.write(good)
	f.change("park: 5m", "park: 6m")
	f.must("moves", "")
	if _, err := f.moves.Release("main", "a", "", "test"); err != nil {
		t.Fatal(err)
	}
	if r := ended(t, m); r.State != handoff.StateDone || r.Moved != 1 {
		t.Errorf("%+v", r)
	}
	c.Fence()
	f.change("name: a,", "name: b,")
	f.must("pools", "")
}

func TestReloadRefusesWhatAStartWould(t *testing.T) {
	f := newFileDaemon(t)
	good := f.text
	for _, x := range []struct{ old, now, says string }{
		{"moves:", "movse:", `unknown key "movse"; did you mean "moves"?`},
		{"pool: main,", "pool: mian,", `did you mean "main"?`},
		{"park: 5m", "park: 5", "has no unit"},
		{"level: info", "level: loud", `"loud" is not one of`},
	} {
		f.write(good)
		f.change(x.old, x.now)
		if _, err := f.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), x.says) {
			t.Errorf("%s: error %v, want one with %s", x.now, err, x.says)
		}
	}
	f.write(good)
	f.must("", "")
	if got := f.cfg.Load().lastError; got != "" {
		t.Errorf("last error of a good reload: %q", got)
	}
}

func TestReloadNamesWhatNeedsARestart(t *testing.T) {
	f := newFileDaemon(t)
	f.change("moves:", "loops: 1\nmoves:", `http: {address: ""}`, `http: {address: "127.0.0.1:1"}`, "park: 5m", "park: 6m")
	f.must("moves", "loops http")
	f.must("", "loops http") // it is so still
	if st := f.api.Status(); !slices.ContainsFunc(st.Warnings, func(w string) bool { return strings.Contains(w, "another loops, http") }) {
		t.Errorf("the status has forgotten it: %q", st.Warnings)
	}
	if got := f.limits().Park; got != 6*time.Minute {
		t.Errorf("park %v", got)
	}
	f.change("loops: 1\n", "", "127.0.0.1:1", "")
	f.must("", "")
}

func TestReloadSetsTheLog(t *testing.T) {
	f := newFileDaemon(t)
	f.change("level: info", "level: debug, format: json")
	f.must("log", "")
	if want := (config.Log{Level: "debug", Format: "json"}); !slices.Contains(f.sets, want) {
		t.Errorf("log set to %+v", f.sets)
	}
}

// Listeners, limits and backends go and come, and who is connected stays.
func TestSessionsSurviveEveryReload(t *testing.T) {
	f := newFileDaemon(t)
	c := ircclient.TestUser(t, f.address(t), "alice")
	old := f.address(t)
	for _, x := range [][]string{
		{"per_ip: 0", "per_ip: 1, connections: 1"},
		{"name: irc", "name: other"},
		{"address: \"127.0.0.1:0\"", "address: \"localhost:0\""},
		{"name: a,", "name: b,"},
		{"name: b,", "name: a,"},
		{"topology", "topology"},
	} {
		if x[0] == "topology" {
			x = []string{"    check:", "    topology: linked\n    check:"}
		}
		f.change(x...)
		if _, err := f.Reload(t.Context()); err != nil {
			t.Fatalf("%s: %v", x[1], err)
		}
		c.Fence()
	}
	if f.address(t) == old {
		t.Error("the listener has its old address")
	}
	if conn, err := net.Dial("tcp", old); err == nil {
		conn.Close()
		t.Error("the old address is listened on")
	}
}

// A backend that a reload takes away, or leads elsewhere, keeps its sessions where they are: that is said, and goes on to be seen. No move
// takes an ircd that knows none of them for theirs.
func TestReloadSaysWhatItLeavesBehind(t *testing.T) {
	f := newFileDaemon(t)
	c := ircclient.TestUser(t, f.address(t), "alice")
	good, warned := f.text, func(want string) {
		t.Helper()
		r, err := f.Reload(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(r.Warnings, "\n"); (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("warnings %q, want %q", got, want)
		}
	}
	f.change("name: a,", "name: b,")
	warned("backend main/a is not in the configuration any more and has 1 sessions")
	if w := strings.Join(f.api.Status().Warnings, "\n"); !strings.Contains(w, "backend main/a is not in the configuration any more") {
		t.Errorf("the status warns of %q", w)
	}
	f.write(good)
	warned("")
	other := startIrcd(t, t.TempDir(), "other")
	f.change(f.text[strings.Index(f.text, "unix:"):strings.Index(f.text, `"}]`+"\nmoves")], "unix:"+other.socket)
	warned("backend main/a leads to unix:" + other.socket + " now, and to unix:")
	awaitUp(t, f.daemon, "main/a")
	m, err := f.moves.Hold(handoff.Request{Pool: "main", From: "a"})
	if err != nil {
		t.Fatal(err)
	}
	if r := ended(t, m); r.State != handoff.StateReverted || !strings.Contains(r.Error, "knows none of the 1 users here") {
		t.Errorf("%+v", r)
	}
	f.write(good)
	warned("backend main/a leads to") // to where they are, again
	c.Fence()
}

// A reload tells which listeners it has opened and closed.
func TestReloadTellsListeners(t *testing.T) {
	f := newFileDaemon(t)
	old := f.address(t)
	f.change(`address: "127.0.0.1:0"`, `address: "localhost:0"`)
	f.must("listeners", "")
	var told []string
	if err := f.events.Follow(t.Context(), 0, false, func(e admin.Event) error {
		if e.Kind == admin.EventListener {
			told = append(told, e.Object+" "+e.Word+" "+e.Text)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if want := []string{"irc listening " + old, "irc closed " + old, "irc listening " + f.address(t)}; !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
}

// timeout(1) and service managers without KillMode=mixed send the signal to the process and to its group: that is one order to end, in order.
func TestASignalThatComesTwiceAtOnceIsOne(t *testing.T) {
	f := newFileDaemon(t)
	c := ircclient.TestUser(t, f.address(t), "alice")
	signals := make(chan os.Signal, 1)
	signals <- syscall.SIGTERM
	if err := endWithin(f.daemon, signals); err != nil {
		t.Error(err)
	}
	if said := ircclient.Texts(c.Gone()); !strings.Contains(said, "the proxy is shutting down") {
		t.Errorf("the client was told %q", said)
	}
}

// A reload that fails in its listeners has no way back that could fail too: a secret that is gone from the disk by then does not leave new pools
// with old listeners, and nothing is checked anew.
func TestAFailedReloadNeedsNoWayBack(t *testing.T) {
	f := newFileDaemon(t)
	secret := filepath.Join(t.TempDir(), "pass")
	if err := os.WriteFile(secret, []byte("hush\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.change("backends: [{", fmt.Sprintf("backends: [{name: b, handoff: \"unix:/nowhere\", handoff_pass_file: %q}, {", secret))
	if _, err := f.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(secret); err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	b, _ := f.backends.Backend("main/a")
	before := b.Status()
	f.change(fmt.Sprintf("{name: b, handoff: \"unix:/nowhere\", handoff_pass_file: %q}, ", secret), "",
		"pools:", fmt.Sprintf("  - {name: two, address: %q, pool: main}\npools:", taken.Addr()), "listeners: [{", "listeners:\n  - {", "}}]", "}}")
	if _, err := f.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "reload listeners") {
		t.Fatalf("%v", err)
	}
	if _, ok := f.backends.Backend("main/b"); !ok {
		t.Error("the pools are the new ones, the listeners the old ones")
	}
	if after := b.Status(); after.Oper != before.Oper || !after.Since.Equal(before.Since) {
		t.Errorf("main/a was checked anew: %+v, before %+v", after, before)
	}
}
