package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/handoff"
)

func TestExitCodes(t *testing.T) {
	refused := &handoff.Refused{Reason: "main/a is the last usable backend of its pool", Hint: "ferryctl restart it in place"}
	tests := []struct {
		name      string
		prepare   func(*daemon)
		args      string
		code      int
		out, errs []string
	}{
		{"status", nil, "status", 0, []string{"LISTENER", "main/a"}, nil},
		{"drain", func(d *daemon) { d.onDrain = []change{at(handoff.StepFreeze), done} }, "drain main/a --to b", 0,
			[]string{"drain m1 of main/a to main/b: done in 340ms", "12.3ms", "41.5ms"}, nil},
		{"drain without waiting", func(d *daemon) { d.onDrain = nil }, "drain main/a --to b --no-wait", 0, []string{"move m1 of main/a has begun"}, nil},
		{"reverted", func(d *daemon) { d.onDrain = []change{reverted} }, "drain main/a", 1,
			[]string{"reverted after 1s; everybody is on main/a", "cause: push main/b: connection lost"}, nil},
		{"failed", func(d *daemon) { d.onDrain = []change{failed} }, "drain main/a", 1, []string{"failed", "journal: /var/lib/ircferry/moves/m1"}, nil},
		{"reload that changed nothing", func(d *daemon) { d.still.reload = errors.New("line 3: unknown key") }, "reload", 1, nil,
			[]string{"reload: line 3: unknown key", "instead: nothing was changed"}},
		{"no such backend", nil, "drain main/z", 1, nil, []string{`pool main has no backend "z"`, "instead: it has a, b"}},
		{"no such session", nil, "show session bob", 1, nil, []string{`no session has the id "bob"`, "those of web/c cannot be asked for", "--backend web/c"}},
		{"no such nick", nil, "show sessions --nick bob", 0, []string{"SESSION"}, []string{`no backend with a driver has a user "bob"`}},
		{"no such state", nil, "show sessions --state relai", 2, nil, []string{`no session is ever in state "relai"`, "instead: there are parked, relay, waiting"}},
		{"to with its pool", func(d *daemon) { d.onDrain = nil }, "drain main/a --to main/b --no-wait", 0, []string{"move m1 of main/a has begun"}, nil},
		{"to in another pool", nil, "drain main/a --to web/c", 2, nil, []string{`users move within a pool: "web/c" is not in pool main`}},
		{"no such move", nil, "show move m7", 1, nil, []string{`move "m7" does not exist`}},
		{"unknown command", nil, "dran main/a", 2, nil, []string{`ferryctl: unknown command "dran"; did you mean drain?`}},
		{"unknown flag", nil, "drain main/a --force", 2, nil, []string{"unknown flag: --force"}},
		{"no backend", nil, "drain", 2, nil, []string{"ferryctl drain takes one POOL/BACKEND, got 0 arguments"}},
		{"two backends", nil, "maint main/a main/b", 2, nil, []string{"got 2 arguments"}},
		{"not POOL/BACKEND", nil, "drain a", 2, nil, []string{`backend "a" is not written POOL/BACKEND`}},
		{"bad duration", nil, "drain main/a --timeout 60", 2, nil, []string{`"60" for "--timeout"`}},
		{"negative duration", nil, "drain main/a --timeout=-1s", 2, nil, []string{"--timeout -1s is not possible"}},
		{"bad output", nil, "status -o yaml", 2, nil, []string{"-o yaml is not possible: table or json"}},
		{"show alone", nil, "show", 2, nil, []string{"ferryctl show needs a command: backends certs move moves session sessions"}},
		{"show what", nil, "show serverz", 2, nil, []string{"show serverz is not possible"}},
		{"nothing", nil, "", 2, nil, []string{"ferryctl needs a command:", "drain"}},
		{"arguments too many", nil, "status now", 2, nil, []string{"status"}},
		{"unknown shell", nil, "completion tcsh", 2, nil, []string{`completion for "tcsh" is not possible`}},
		{"empty exec", nil, "restart main/a --exec=", 2, nil, []string{"--exec needs a command"}},
		{"limit", nil, "show sessions --limit 0", 2, nil, []string{"--limit 0 is not possible"}},
		{"partly", func(d *daemon) { d.onDrain = []change{partly} }, "drain main/a", 4,
			[]string{"done", "inst-4   carol  failed   conflict  nick-in-use: bob has it", "inst-9   -      left     gone", "no-mode  inst-2", "not ?[31mkept"}, nil},
		{"a link given up", func(d *daemon) { d.onDrain = []change{split} }, "drain main/a", 4,
			[]string{"LINK              SID  STATE", "services.example  00S  live      812.4ms  99    -", "leaf.example      00B  given-up  0.0ms    0     it is ?[31mgone"}, nil},
		{"refused", func(d *daemon) { d.refuse = refused }, "drain main/a", 5, nil,
			[]string{"refused: main/a is the last usable backend of its pool", "instead: ferryctl restart it in place"}},
		{"hold without driver", nil, "hold web/c", 5, nil, []string{"refused: backend web/c has no driver", "instead: ferryctl drain web/c"}},
		{"dry run", func(d *daemon) { d.plan = handoff.Plan{Pool: "main", From: "a", To: "b", Users: 5, Channels: 2} }, "drain main/a --dry-run", 0,
			[]string{"dry run of main/a to main/b; nothing was changed", "USERS  CHANNELS", "nothing is in the way, and main/b warns of nothing"}, nil},
		{"dry run that would be refused", func(d *daemon) { d.plan = handoff.Plan{Refusals: []string{"too many"}} }, "drain main/a --dry-run", 5,
			[]string{"would be refused: too many"}, nil},
		{"dry run with a conflict", func(d *daemon) {
			d.plan = handoff.Plan{Conflicts: []handoff.Warning{{Code: "nick-in-use", Session: "inst-1"}}}
		},
			"drain main/a --dry-run", 5, []string{"nick-in-use  inst-1"}, nil},
		{"dry run with a warning", func(d *daemon) {
			d.plan = handoff.Plan{Warnings: []handoff.Warning{{Code: "no-mode"}}, CapsLost: []string{"batch"}}
		},
			"drain main/a --dry-run", 0, []string{"no-mode", "does not offer: batch"}, nil},
		{"dry run with links", func(d *daemon) {
			d.plan = handoff.Plan{Links: 2, Held: []string{"services.example"}, Unheld: []string{"leaf.example"}, Conflicts: []handoff.Warning{{Code: "link", Link: "hub.example"}}}
		}, "drain main/a --dry-run", 5, []string{"server link that would go along: services.example", "server link that would not: leaf.example", "link      -        hub.example"}, nil},
		{"strict dry run with a warning", func(d *daemon) { d.plan = handoff.Plan{Warnings: []handoff.Warning{{Code: "no-mode"}}} }, "drain main/a --dry-run --strict", 5, nil, nil},
		{"timeout", func(d *daemon) { d.onDrain = []change{timedOut} }, "drain main/a --timeout 1s", 124, []string{"the deadline of the move is over"}, nil},
		{"hold", func(d *daemon) { d.onHold = []change{at(handoff.StepFreeze), parked} }, "hold main/a", 0, []string{"parked", "release or cancel it before moves.park"}, nil},
		{"hold that was reverted", func(d *daemon) { d.onHold = []change{reverted} }, "hold main/a", 1, []string{"reverted"}, nil},
		{"release of nothing", nil, "release main/a", 5, nil, []string{"main/a is not held"}},
		{"cancel of nothing", nil, "cancel m1", 1, nil, []string{`move "m1" does not exist`}},
		{"undrain", nil, "undrain main/b", 0, []string{"main/b is ready, down"}, nil},
		{"maint", nil, "maint main/b", 0, []string{"main/b is maint, down"}, nil},
		{"ready", nil, "ready main/a", 0, []string{"main/a is ready, up", "note: backend main/a was ready already"}, nil},
		{"reload", nil, "reload", 0, []string{"reloaded, configuration 0123456789ab", "changed: listener spare: limits", "warning: state: chmod 0700", "needs a restart: loops"}, nil},
		{"version", nil, "version", 0, []string{"ferryctl ", "ircferry 0.1.0, go1.26, API v1"}, nil},
		{"completion", nil, "completion bash", 0, []string{"ferryctl"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDaemon(t)
			if tt.prepare != nil {
				tt.prepare(d)
			}
			d.call(t, strings.Fields(tt.args)...).want(t, tt.code, tt.out, tt.errs)
		})
	}
}

func TestDaemonNotReachable(t *testing.T) {
	dead := deadSocket(t)
	for _, args := range []string{"status", "show backends", "show sessions", "show moves", "show move m1", "show session x", "drain main/a", "undrain main/a", "maint main/a",
		"ready main/a", "hold main/a", "release main/a", "restart main/a", "cancel m1", "reload", "events", "version"} {
		a := call(t, nil, append([]string{"--socket", dead}, strings.Fields(args)...)...)
		a.want(t, exitUnreachable, nil, []string{"daemon not reachable at " + dead, "nobody listens there"})
	}
	call(t, nil, "--socket", dead, "version", "--client").want(t, exitDone, []string{"ferryctl "}, nil)
	call(t, nil, "--socket", dead, "completion", "zsh").want(t, exitDone, []string{"ferryctl"}, nil)
}

// A hold that is released ends the same move, with its own result.
func TestHoldThenRelease(t *testing.T) {
	d := newDaemon(t)
	d.onHold, d.onRelease = []change{parked}, []change{at(handoff.StepPush), func(r *handoff.Report) { r.State = handoff.StateRunning }, done}
	d.call(t, "hold", "main/a").want(t, 0, []string{"hold m1 of main/a"}, []string{"5 users of main/a are held"})
	released := d.call(t, "release", "main/a", "--to", "b")
	released.want(t, 0, []string{"hold m1 of main/a: done"}, nil)
	if strings.Contains(released.err, "may be stopped now") { // the hold has said it; now it is too late for that
		t.Errorf("release says %q", released.err)
	}
	if got, want := d.said(), "hold main/a, release main/a b"; got != want {
		t.Errorf("the daemon was asked: %s, want %s", got, want)
	}
}

func TestCancelOfAParkedMoveIsWhatWasAskedFor(t *testing.T) {
	d := newDaemon(t)
	d.onHold, d.onCancel = []change{parked}, []change{reverted}
	d.call(t, "hold", "main/a")
	d.call(t, "cancel", "m1").want(t, 0, []string{"reverted"}, nil)
}

// Lines of a waiting move reach an operator without a terminal once each.
func TestNotesOfAWaitAreToldOnce(t *testing.T) {
	d := newDaemon(t)
	waits := func(r *handoff.Report) { r.Note = "waiting for main/b: connection refused" }
	slowly := func(r *handoff.Report) { time.Sleep(time.Millisecond); r.Progress++ }
	d.onDrain = []change{waits, slowly, slowly, slowly, done}
	a := d.call(t, "drain", "main/a")
	if n := strings.Count(a.err, "waiting for main/b"); n > 1 {
		t.Errorf("told %d times: %v", n, a)
	}
	if strings.ContainsAny(a.out+a.err, "\r\x1b") {
		t.Errorf("a stream that is no terminal got control characters: %v", a)
	}
}
