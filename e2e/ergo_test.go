//go:build e2e

package e2e

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestErgoNative: the operator's first steps.
func TestErgoNative(t *testing.T) {
	a := startErgo(t, "a")
	firstSteps(t, a.backend(), func(f *ferry) result { return a.restart(f, "TERM") })
}

// TestErgoTenRestarts: 100 clients talk, half of them over TLS, while their Ergo is restarted ten times in place, and none of them sees anything of it.
func TestErgoTenRestarts(t *testing.T) {
	a, secure := startErgo(t, "a"), newSecured(t)
	f := startFerry(t, nil, secure.text, a.backend())
	w := startMixed(t, f.port, secure, 100, 5)
	for n := range 10 {
		signal := "TERM"
		if n%2 == 1 {
			signal = "KILL"
		}
		r := a.restart(f, signal)
		t.Logf("restart %d by SIG%s: pause p50 %.0f ms, max %.0f ms", n+1, signal, r.PauseMS.P50, r.PauseMS.Max)
		w.talkOn(5000)
	}
	w.closing("restarts=10")
}

// TestErgoRealClientsStay: what people run, with and without TLS, through drains to and fro and a restart.
func TestErgoRealClientsStay(t *testing.T) {
	a, b, secure := startErgo(t, "a"), startErgo(t, "b"), newSecured(t)
	f := startFerry(t, nil, secure.text, a.backend(), b.backend())
	realClientsStay(t, f, secure, func() { a.restart(f, "TERM") })
}

// TestErgoManyUsers prints where the pause of a large Ergo goes.
func TestErgoManyUsers(t *testing.T) {
	manyUsers(t, func() *ferry {
		a, b := startErgo(t, "a"), startErgo(t, "b")
		t.Cleanup(func() { logged(t, a.dir, ": handoff ") })
		return startFerry(t, nil, "", a.backend(), b.backend())
	})
}

func TestErgoKilledInMidMove(t *testing.T) {
	handoffErgo(t)
	killedInMidMove(t, func(t *testing.T, name string) movable { return startErgo(t, name) })
}

// TestErgoTenReplaces: the same, to and fro between two processes.
func TestErgoTenReplaces(t *testing.T) {
	a, b, secure := startErgo(t, "a"), startErgo(t, "b"), newSecured(t)
	f := startFerry(t, nil, secure.text, a.backend(), b.backend())
	w := startMixed(t, f.port, secure, 100, 5)
	f.toA()
	for n := range 10 {
		f.replace(n)
		w.talkOn(5000)
	}
	w.closing("replaces=10")
}

// TestErgoSeesTheClient: Ergo as a relay-only backend, by both ways of configs/ircds/ergo.yaml.
func TestErgoSeesTheClient(t *testing.T) {
	handoffErgo(t)
	t.Run("proxy", func(t *testing.T) {
		e := startErgo(t, "c", `: {}}`, `: {proxy: true}}`+"\n  proxy-allowed-from: [127.0.0.1]")
		seesTheClient(t, startFerry(t, nil, trusted, relay(e.port, ", identity: proxy-v2")))
	})
	t.Run("webirc", func(t *testing.T) {
		e := newErgo(t, "c")
		hash := e.password("webpass")
		e = startErgo(t, "c", `: {}}`, `: {}}`+"\n  webirc: [{password: \""+hash+"\", hosts: [127.0.0.1], accept-hostname: false}]")
		password := filepath.Join(shortDir(t), "password")
		writeFile(t, password, "webpass\n")
		seesTheClient(t, startFerry(t, nil, trusted, relay(e.port, ", identity: webirc, webirc_password_file: "+password)))
	})
}

// TestErgoTellsWhatIsLost: what a move would leave behind is told before.
func TestErgoTellsWhatIsLost(t *testing.T) {
	a, b := startErgo(t, "a"), startErgo(t, "b")
	f := startFerry(t, nil, "", a.backend(), b.backend())
	ann := login(t, f.port, "127.0.0.1", "ann")
	f.ctl("drain", "main/b", "--to", "a")
	f.ctl("undrain", "main/b")
	ann.send("JOIN #sea")
	ann.expect(" 366 ")
	plan := func() string {
		t.Helper()
		plan, code := f.ctl("drain", "main/a", "--to", "b", "--dry-run")
		if code != 0 {
			t.Fatalf("dry run: exit %d\n%s", code, plan)
		}
		return plan
	}
	if p := plan(); strings.Contains(p, "x.ergo.lost.") {
		t.Errorf("nothing is lost yet:\n%s", p)
	}
	for range 200 {
		ann.send("PRIVMSG #sea :" + strings.Repeat("x", 400))
	}
	ann.fence()
	ann.send("AUTHENTICATE PLAIN")
	ann.expect("AUTHENTICATE +")
	p := plan()
	for _, want := range []string{"x.ergo.lost.history", "x.ergo.lost.sasl"} {
		if !strings.Contains(p, want) {
			t.Errorf("no %s in\n%s", want, p)
		}
	}
}
