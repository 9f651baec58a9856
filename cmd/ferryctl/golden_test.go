package main

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/admin"
	"github.com/ircferry/ircferry/handoff"
)

var update = flag.Bool("update", false, "write what is printed into testdata")

// past makes moves whose times do not depend on the clock.
func past(d *daemon) {
	started := time.Date(2026, 11, 20, 12, 30, 0, 0, time.UTC)
	d.reports = []handoff.Report{
		{ID: "m3", Kind: handoff.KindDrain, Pool: "main", From: "a", To: "b", State: handoff.StateRunning, Step: handoff.StepFreeze, Started: started, Attempted: 5},
		{ID: "m2", Kind: handoff.KindRestart, Released: true, Pool: "main", From: "a", Started: started.Add(-time.Hour)},
		{ID: "m1", Kind: handoff.KindDrain, Pool: "main", From: "b", To: "a", Started: started.Add(-2 * time.Hour)},
	}
	partly(&d.reports[1])
	reverted(&d.reports[2])
}

func TestGoldenTables(t *testing.T) {
	for name, args := range map[string]string{
		"status":   "status",
		"backends": "show backends",
		"sessions": "show sessions --limit 2",
		"session":  "show session al[i]ce",
		"moves":    "show moves",
		"move":     "show move m2",
		"reverted": "show move m1",
	} {
		t.Run(name, func(t *testing.T) {
			d := newDaemon(t)
			past(d)
			a := d.call(t, strings.Fields(args)...)
			a.want(t, 0, nil, nil)
			got := strings.ReplaceAll(a.out, d.sessions[0].Started.UTC().Format(time.DateTime), "2026-11-20 12:00:00")
			golden(t, name, got)
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// With -o json stdout is the API's own document, and nothing else.
func TestJSONIsTheAPIsDocument(t *testing.T) {
	d := newDaemon(t)
	past(d)
	decodes := func(into any, args ...string) {
		t.Helper()
		a := d.call(t, append(args, "-o", "json")...)
		dec := json.NewDecoder(strings.NewReader(a.out))
		dec.DisallowUnknownFields()
		if err := dec.Decode(into); err != nil || dec.More() || a.code != 0 {
			t.Errorf("%v: %v %v", args, err, a)
		}
	}
	var st admin.Status
	if decodes(&st, "status"); st.PID != 4711 || len(st.Moves) != 3 {
		t.Errorf("status: %+v", st)
	}
	var backends []admin.Backend
	if decodes(&backends, "show", "backends"); len(backends) != 3 {
		t.Errorf("backends: %+v", backends)
	}
	var certs []admin.Certificate
	d.certs = certificates()
	if decodes(&certs, "show", "certs"); len(certs) != 3 {
		t.Errorf("certs: %+v", certs)
	}
	var page admin.SessionPage
	if decodes(&page, "show", "sessions", "--all"); len(page.Sessions) != 3 {
		t.Errorf("sessions: %+v", page)
	}
	var s admin.Session
	if decodes(&s, "show", "session", "al[i]ce"); s.ID != "inst-2" || s.Nick != "al[i]ce" {
		t.Errorf("session: %+v", s)
	}
	var moves []admin.Move
	if decodes(&moves, "show", "moves"); len(moves) != 3 {
		t.Errorf("moves: %+v", moves)
	}
	var m admin.Move
	if decodes(&m, "show", "move", "m2"); m.Failed != 1 || len(m.Named) != 2 {
		t.Errorf("move: %+v", m)
	}
	d.reports, d.onDrain = nil, []change{done}
	if decodes(&m, "drain", "main/a"); m.State != handoff.StateDone {
		t.Errorf("drain: %+v", m)
	}
	d.plan = handoff.Plan{Pool: "main", From: "a", To: "b", Users: 5}
	var p handoff.Plan
	if decodes(&p, "drain", "main/a", "--dry-run"); p.Users != 5 {
		t.Errorf("plan: %+v", p)
	}
	var v versions
	if decodes(&v, "version"); v.Daemon == nil {
		t.Errorf("version: %+v", v)
	}
	var ev admin.Event
	d.events.Publish(admin.Event{Kind: admin.EventDaemon, Word: "start"})
	a := d.call(t, "events", "-o", "json")
	for line := range strings.Lines(a.out) {
		if err := json.Unmarshal([]byte(line), &ev); err != nil {
			t.Errorf("events: %v in %s", err, line)
		}
	}
	if ev.Word != "start" {
		t.Errorf("the last event: %+v", ev)
	}
}

func TestEnvironment(t *testing.T) {
	d := newDaemon(t)
	var out, errs locked
	env := map[string]string{"IRCFERRY_SOCKET": d.socket}
	if code := run(t.Context(), []string{"status"}, streams{out: &out, err: &errs, getenv: func(k string) string { return env[k] }}); code != 0 {
		t.Errorf("IRCFERRY_SOCKET is not used: %d %s", code, errs.String())
	}
	env["IRCFERRY_SOCKET"] = "/nowhere"
	if code := run(t.Context(), []string{"status", "--socket", d.socket}, streams{out: &out, err: &errs, getenv: func(k string) string { return env[k] }}); code != 0 {
		t.Errorf("--socket does not win over IRCFERRY_SOCKET: %d %s", code, errs.String())
	}
}

func TestEveryCommandExplainsItself(t *testing.T) {
	root := (&ctl{streams: streams{getenv: func(string) string { return "" }}}).root()
	for _, cmd := range root.Commands() {
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: short help %q", cmd.CommandPath(), cmd.Short)
		}
	}
	for _, want := range []string{"status", "show", "drain", "undrain", "maint", "ready", "hold", "release", "restart", "rolling", "cancel", "reload", "events", "top", "version", "completion"} {
		if cmd, _, err := root.Find([]string{want}); err != nil || cmd.Name() != want {
			t.Errorf("no command %s: %v", want, err)
		}
	}
}
