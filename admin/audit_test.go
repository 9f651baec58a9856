package admin

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ircferry/ircferry/handoff"
)

// Lessons C7.54: every changing call is in the audit log with who, what and result.
func TestC7_54EveryChangingCommandLeavesOneLine(t *testing.T) {
	r := newRig(t)
	who := fmt.Sprintf("uid=%d gid=%d pid=%d", os.Getuid(), os.Getgid(), os.Getpid())
	r.raw(t, "POST", "/v1/drain", `{"backend":"main/a","to":"b","strict":true}`)
	r.raw(t, "POST", "/v1/drain", `{"backend":"main/a","password":"hunter2"}`)
	r.raw(t, "POST", "/v1/maint", `{"backend":"main/z"}`)
	r.raw(t, "POST", "/v1/maint", `{"backend":"main/b"}`) // refused: the move goes there
	r.process.reloadErr = errors.New("bad file")
	r.raw(t, "POST", "/v1/reload", ``)
	r.raw(t, "GET", "/v1/status", ``)
	want := []string{
		`component=audit ` + who + ` verb=drain object=main/a args="to=b strict" result=started duration=\S+ move=m1`,
		`component=audit ` + who + ` verb=drain object="" args="" result=invalid duration=\S+ error=`,
		`component=audit ` + who + ` verb=maint object=main/z args="" result=invalid`,
		`component=audit ` + who + ` verb=maint object=main/b args="" result=refused`,
		`component=audit ` + who + ` verb=reload object="" args="" result=failed`,
	}
	log := r.log.String()
	lines := strings.Split(strings.TrimSpace(log), "\n")
	if len(lines) != len(want) {
		t.Fatalf("%d lines, want %d:\n%s", len(lines), len(want), log)
	}
	for i, w := range want {
		if !regexp.MustCompile(w).MatchString(lines[i]) {
			t.Errorf("line %d:\ngot  %s\nwant %s", i, lines[i], w)
		}
	}
	if strings.Contains(log, "hunter2") {
		t.Errorf("what was sent is in the log:\n%s", log)
	}
}

func TestEndOfAMoveIsInTheAuditLogOnce(t *testing.T) {
	r := newRig(t)
	if _, err := r.client.Drain(t.Context(), DrainRequest{Backend: "main/a", To: "b"}); err != nil {
		t.Fatal(err)
	}
	r.server.Track("m1")
	r.moves.change("m1", func(m *handoff.Report) {
		m.State, m.Ended, m.Attempted, m.Moved, m.Left = handoff.StateDone, m.Started.Add(time.Second), 5, 4, 1
		m.Named = []handoff.Named{{Session: "inst-4", Nick: "carol", Outcome: "left", Cause: "gone"}}
	})
	r.log.await(t, "the end of the move", func(s string) bool { return strings.Contains(s, "move ended") })
	r.server.Track("m1")
	r.server.work.Wait()
	text := r.log.String()
	if n := strings.Count(text, "move ended"); n != 1 {
		t.Errorf("%d lines, want 1", n)
	}
	for _, w := range []string{"verb=drain object=main/a to=b result=done attempted=5 moved=4 reverted=0 failed=0 left=1", "duration=1s"} {
		if !strings.Contains(text, w) {
			t.Errorf("the line lacks %q:\n%s", w, text)
		}
	}
}

func scrape(t *testing.T, g prometheus.Gatherer) string {
	t.Helper()
	return ask(t, Public{Gatherer: g}, "GET", "/metrics").body
}

type answer struct {
	status int
	header http.Header
	body   string
}

func ask(t *testing.T, p Public, method, path string) answer {
	t.Helper()
	server := httptest.NewServer(p.Handler())
	defer server.Close()
	req, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(b)}
}

// Lessons C8.60: attempted = succeeded + reverted + failed for every label combination at every scrape.
func TestC8_60AttemptedIsTheSumOfOutcomes(t *testing.T) {
	registry := prometheus.NewRegistry()
	m := NewMetrics(registry)
	stop := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			r := handoff.Report{ID: fmt.Sprint(i), Pool: "main", Kind: handoff.KindDrain, State: handoff.StateRunning}
			m.MoveStarted(r)
			r.State, r.Attempted, r.Moved, r.Reverted, r.Failed, r.Left = handoff.StateDone, 10+i%7, 4, 3, 2, 1+i%7
			m.MoveEnded(r)
		}
	}()
	for range 50 {
		text := scrape(t, registry)
		sum := 0.0
		for _, outcome := range []string{"moved", "reverted", "failed", "left"} {
			sum += value(text, `ircferry_move_sessions_total{kind="drain",outcome="`+outcome+`",pool="main"}`)
		}
		if attempted := value(text, `ircferry_move_sessions_attempted_total{kind="drain",pool="main"}`); attempted != sum {
			t.Fatalf("attempted %v, outcomes %v", attempted, sum)
		}
	}
	close(stop)
	<-ended
	if v := value(scrape(t, registry), `ircferry_move_invariant_violations_total`); v != 0 {
		t.Errorf("%v violations", v)
	}
	m.MoveEnded(handoff.Report{ID: "x", Pool: "main", Kind: handoff.KindDrain, State: handoff.StateDone, Attempted: 3, Moved: 2})
	if v := value(scrape(t, registry), `ircferry_move_invariant_violations_total`); v != 1 {
		t.Errorf("a move whose books do not balance: %v violations, want 1", v)
	}
}

// value is a sample of a scrape, 0 if it is not there.
func value(text, series string) float64 {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, series+" "); ok {
			var v float64
			fmt.Sscan(rest, &v)
			return v
		}
	}
	return 0
}

func TestMetricsOfMovesAndCommands(t *testing.T) {
	r := newRig(t)
	if _, err := r.client.Drain(t.Context(), DrainRequest{Backend: "main/a", To: "b"}); err != nil {
		t.Fatal(err)
	}
	r.client.Maint(t.Context(), "main/zzz") //nolint:errcheck // it is meant to fail
	m := r.server.opt.Metrics
	m.Loaded(true, "aaa")
	m.Loaded(true, "bbb")
	m.Loaded(false, "ccc")
	m.SessionPause("main", handoff.KindDrain, 30*time.Millisecond)
	r.log.await(t, "the command", func(s string) bool { return strings.Contains(s, "verb=maint") })
	r.moves.change("m1", func(m *handoff.Report) {
		m.State, m.Attempted, m.Reverted, m.HeldLines, m.HeldBytes = handoff.StateReverted, 7, 7, 12, 340
	})
	r.log.await(t, "the end of the move", func(s string) bool { return strings.Contains(s, "move ended") })
	text := scrape(t, r.registry)
	for series, want := range map[string]float64{
		`ircferry_audit_events_total{result="started",verb="drain"}`:                1,
		`ircferry_audit_events_total{result="invalid",verb="maint"}`:                1,
		`ircferry_config_last_reload_successful`:                                    0,
		`ircferry_config_info{sha256="bbb"}`:                                        1,
		`ircferry_moves_total{kind="drain",pool="main",result="reverted"}`:          1,
		`ircferry_moves_total{kind="drain",pool="main",result="done"}`:              0,
		`ircferry_moves_in_progress{kind="drain",pool="main"}`:                      0,
		`ircferry_move_sessions_total{kind="drain",outcome="reverted",pool="main"}`: 7,
		`ircferry_move_held_lines_total{kind="drain",pool="main"}`:                  12,
		`ircferry_move_held_bytes_total{kind="drain",pool="main"}`:                  340,
		`ircferry_move_pause_seconds_bucket{kind="drain",pool="main",le="0.025"}`:   0,
		`ircferry_move_pause_seconds_bucket{kind="drain",pool="main",le="0.05"}`:    1,
		`ircferry_move_pause_seconds_bucket{kind="drain",pool="main",le="30"}`:      1,
	} {
		if got := value(text, series); got != want || !strings.Contains(text, strings.Split(series, "{")[0]) {
			t.Errorf("%s: got %v, want %v", series, got, want)
		}
	}
	if strings.Contains(text, `sha256="aaa"`) || !strings.Contains(text, "ircferry_build_info{") {
		t.Errorf("config or build info is wrong:\n%s", text)
	}
	for _, secret := range []string{"zzz", "m1", "inst", "192.0.2"} {
		if strings.Contains(text, `"`+secret) {
			t.Errorf("%q is in a label", secret)
		}
	}
}
