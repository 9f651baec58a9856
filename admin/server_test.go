package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ircferry/ircferry/handoff"
)

// raw asks with any method, path and body and returns the status and body.
func (r *rig) raw(t *testing.T, method, path, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://x"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := r.client.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, strings.TrimSpace(string(b))
}

func TestRequestsThatCannotMeanAnything(t *testing.T) {
	r := newRig(t)
	tests := []struct {
		name, method, path, body string
		status                   int
		want                     string
	}{
		{"unknown path", "GET", "/v1/nothing", "", 404, `"error":"path /v1/nothing does not exist"`},
		{"wrong method", "POST", "/v1/status", "{}", 405, `"hint":"use GET"`},
		{"get of a command", "GET", "/v1/drain", "", 405, `"hint":"use POST"`},
		{"unknown key", "POST", "/v1/drain", `{"backend":"main/a","force":true}`, 400, `unknown field \"force\"`},
		{"not JSON", "POST", "/v1/drain", `drain it`, 400, `"code":"bad-request"`},
		{"two documents", "POST", "/v1/drain", `{"backend":"main/a"} {}`, 400, `goes on after its document`},
		{"rubbish after the document", "POST", "/v1/drain", `{"backend":"main/a"} }`, 400, `goes on after its document`},
		{"bare number as duration", "POST", "/v1/drain", `{"backend":"main/a","timeout":60}`, 400, `not a string with a unit`},
		{"negative duration", "POST", "/v1/drain", `{"backend":"main/a","timeout":"-1s"}`, 400, `is not one like`},
		{"too large", "POST", "/v1/drain", `{"backend":"` + strings.Repeat("a", maxBody) + `"}`, 413, `"code":"too-large"`},
		{"no pool", "POST", "/v1/drain", `{"backend":"mian/a"}`, 404, `"error":"pool \"mian\" does not exist","hint":"there are main, web"`},
		{"no backend", "POST", "/v1/drain", `{"backend":"main/z"}`, 404, `"error":"pool main has no backend \"z\"","hint":"it has a, b, c"`},
		{"no slash", "POST", "/v1/drain", `{"backend":"a"}`, 400, `backend \"a\" is not written POOL/BACKEND`},
		{"no name", "POST", "/v1/drain", `{"backend":"main/"}`, 400, `is not written POOL/BACKEND`},
		{"no name of a pool", "POST", "/v1/drain", `{"backend":"/a"}`, 400, `is not written POOL/BACKEND`},
		{"two slashes", "POST", "/v1/drain", `{"backend":"main/a/b"}`, 400, `is not written POOL/BACKEND`},
		{"empty body", "POST", "/v1/drain", ``, 400, `is not written POOL/BACKEND`},
		{"unknown destination", "POST", "/v1/drain", `{"backend":"main/a","to":"z"}`, 404, `pool main has no backend \"z\"`},
		{"onto itself", "POST", "/v1/drain", `{"backend":"main/a","to":"a"}`, 409, `cannot take over its own users`},
		{"driverless with a destination", "POST", "/v1/drain", `{"backend":"main/c","to":"a"}`, 409, `has no driver`},
		{"hold without driver", "POST", "/v1/hold", `{"backend":"main/c"}`, 409, `neither pulled nor pushed`},
		{"unknown move", "POST", "/v1/cancel", `{"move":"m9"}`, 404, `move \"m9\" does not exist`},
		{"bad wait", "GET", "/v1/moves/m1?wait=soon", ``, 400, `wait \"soon\" is not a duration`},
		{"no move", "GET", "/v1/moves/m1", ``, 404, `move \"m1\" does not exist`},
		{"bad limit", "GET", "/v1/sessions?limit=0", ``, 400, `limit \"0\" is not a number`},
		{"unknown query", "GET", "/v1/sessions?bckend=a", ``, 400, `query key \"bckend\" is not known`},
		{"bad after", "GET", "/v1/events?after=x", ``, 400, `after \"x\" is not a number`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			status, body := r.raw(t, tt.method, tt.path, tt.body)
			if status != tt.status || !strings.Contains(body, tt.want) {
				t.Errorf("%s %s %s:\ngot  %d %s\nwant %d ...%s...", tt.method, tt.path, tt.body, status, body, tt.status, tt.want)
			}
		})
	}
	if len(r.moves.requests) != 0 {
		t.Errorf("the coordinator was asked: %v", r.moves.requests)
	}
}

func TestStatusHoldsTheWholeDaemon(t *testing.T) {
	r := newRig(t)
	r.pools.set("web/x", func(b *Backend) { b.Oper = "down" })
	done, err := r.client.Hold(t.Context(), HoldRequest{Backend: "main/a"})
	if err != nil {
		t.Fatal(err)
	}
	r.moves.change(done.Move.ID, func(m *handoff.Report) { m.State = handoff.StateParked })
	st, err := r.client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if st.PID != 42 || st.UptimeSeconds < 3599 || len(st.Listeners) != 1 || len(st.Pools) != 2 || st.Sessions.Total != 12 || len(st.Moves) != 1 {
		t.Errorf("status is not whole: %+v", st)
	}
	if !st.Pools[0].Gated || st.Pools[1].Gated {
		t.Errorf("gated: main %v, web %v; the move is in main", st.Pools[0].Gated, st.Pools[1].Gated)
	}
	want := []string{"pool web has no usable backend", "the users of main/a are parked by move m1: bring it back, or ferryctl release main/a"}
	if len(st.Warnings) != 2 || !strings.HasPrefix(st.Warnings[0], want[0]) || !strings.HasPrefix(st.Warnings[1], want[1]) {
		t.Errorf("warnings:\ngot  %q\nwant %q", st.Warnings, want)
	}
}

func TestStatusShowsMovesUnderWayFirst(t *testing.T) {
	r := newRig(t)
	for i := range 8 {
		id, _ := r.moves.begin(handoff.Request{Pool: "main", From: "a"})
		if i != 0 {
			r.moves.change(id, func(m *handoff.Report) { m.State = handoff.StateDone })
		}
	}
	st, err := r.client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, m := range st.Moves {
		ids = append(ids, m.ID)
	}
	if got, want := strings.Join(ids, " "), "m1 m8 m7 m6 m5"; got != want {
		t.Errorf("moves: got %s, want %s", got, want)
	}
}

func TestSessionsFiltersAndPages(t *testing.T) {
	r := newRig(t)
	ids := func(q SessionQuery) string {
		t.Helper()
		p, err := r.client.Sessions(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, s := range p.Sessions {
			ids = append(ids, strings.TrimPrefix(s.ID, "inst-"))
		}
		return fmt.Sprintf("%s of %d next %s", strings.Join(ids, " "), p.Matched, p.Next)
	}
	for _, tt := range []struct {
		q    SessionQuery
		want string
	}{
		{SessionQuery{Limit: 3}, "1 2 3 of 12 next inst-3"},
		{SessionQuery{Limit: 3, After: "inst-9"}, "10 11 12 of 12 next "},
		{SessionQuery{Backend: "main/a", Limit: 2, After: "inst-8"}, "9 10 of 10 next "},
		{SessionQuery{State: "waiting"}, "11 12 of 2 next "},
		{SessionQuery{Nick: "alice"}, "3 of 1 next "},
		{SessionQuery{Nick: "nobody"}, " of 0 next "},
		{SessionQuery{Nick: "alice", Backend: "main/b"}, " of 0 next "},
	} {
		if got := ids(tt.q); got != tt.want {
			t.Errorf("%+v:\ngot  %s\nwant %s", tt.q, got, tt.want)
		}
	}
}

func TestSessionByIDAndNick(t *testing.T) {
	r := newRig(t)
	for name, want := range map[string]string{"inst-3": "inst-3 ", "alice": "inst-3 alice"} {
		s, err := r.client.Session(t.Context(), name)
		if err != nil || s.ID+" "+s.Nick != want {
			t.Errorf("session %s: got %q %v, want %q", name, s.ID+" "+s.Nick, err, want)
		}
	}
	for name, want := range map[string]string{"bob": `no session has the id or nick "bob"`, "ghost": "came in past ircferry", `[a]\/x`: "no session has"} {
		_, err := r.client.Session(t.Context(), name)
		var e *Error
		if !errors.As(err, &e) || e.Code != CodeNotFound || !strings.Contains(e.Message, want) {
			t.Errorf("session %s: got %v, want not-found ...%s...", name, err, want)
		}
	}
}

func TestDrainBeginsAMoveForTheActor(t *testing.T) {
	r := newRig(t)
	done, err := r.client.Drain(t.Context(), DrainRequest{Backend: "main/a", To: "b", Strict: true, AllowVisible: true, Timeout: Duration(90 * time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	want := handoff.Request{Kind: handoff.KindDrain, Pool: "main", From: "a", To: "b", Strict: true, AllowVisible: true, Timeout: 90 * time.Second,
		Actor: fmt.Sprintf("uid=%d gid=%d pid=%d", os.Getuid(), os.Getgid(), os.Getpid())}
	if got := r.moves.requests[0]; got != want {
		t.Errorf("request:\ngot  %+v\nwant %+v", got, want)
	}
	if done.Move == nil || done.Move.ID != "m1" || done.Move.State != handoff.StateRunning {
		t.Errorf("answer: %+v", done)
	}
}

func TestGuardsRefusalReachesTheClient(t *testing.T) {
	r := newRig(t)
	r.moves.err = &handoff.Refused{Reason: "backend main/a is the last usable one", Hint: "restart it in place"}
	_, err := r.client.Drain(t.Context(), DrainRequest{Backend: "main/a"})
	var e *Error
	if !errors.As(err, &e) || *e != (Error{Message: "backend main/a is the last usable one", Hint: "restart it in place", Code: CodeRefused}) {
		t.Errorf("got %#v", err)
	}
}

func TestLongPollAnswersAtTheNextChange(t *testing.T) {
	r := newRig(t)
	done, err := r.client.Drain(t.Context(), DrainRequest{Backend: "main/a"})
	if err != nil {
		t.Fatal(err)
	}
	answers := make(chan Move)
	go func() {
		m, err := r.client.AwaitMove(t.Context(), "m1", done.Move.Rev, 30*time.Second)
		if err != nil {
			t.Error(err)
		}
		answers <- m
	}()
	select {
	case m := <-answers:
		t.Fatalf("answered without a change: %+v", m)
	case <-time.After(50 * time.Millisecond):
	}
	r.moves.change("m1", func(m *handoff.Report) { m.Step = handoff.StepFreeze })
	if m := <-answers; m.Step != handoff.StepFreeze || m.Rev == done.Move.Rev {
		t.Errorf("got step %s rev %s (was %s)", m.Step, m.Rev, done.Move.Rev)
	}
}

func TestLongPollEndsWithItsTimeAndWithTheMove(t *testing.T) {
	r := newRig(t)
	done, err := r.client.Drain(t.Context(), DrainRequest{Backend: "main/a"})
	if err != nil {
		t.Fatal(err)
	}
	if m, err := r.client.AwaitMove(t.Context(), "m1", done.Move.Rev, time.Millisecond); err != nil || m.Rev != done.Move.Rev {
		t.Errorf("after its time: %+v %v", m, err)
	}
	r.moves.change("m1", func(m *handoff.Report) { m.State = handoff.StateDone })
	m, err := r.client.Move(t.Context(), "m1")
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	if m, err = r.client.AwaitMove(t.Context(), "m1", m.Rev, 10*time.Second); err != nil || m.State != handoff.StateDone || time.Since(begun) > 5*time.Second {
		t.Errorf("an ended move is not answered at once: %+v %v after %v", m, err, time.Since(begun))
	}
}

func TestShutdownEndsLongPollsAndFollowers(t *testing.T) {
	r := newRig(t)
	done, err := r.client.Drain(t.Context(), DrainRequest{Backend: "main/a"})
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	following := make(chan struct{})
	work.Go(func() {
		r.client.AwaitMove(t.Context(), "m1", done.Move.Rev, time.Minute) //nolint:errcheck // either an answer or a closed connection
	})
	work.Go(func() {
		once := sync.OnceFunc(func() { close(following) })
		r.client.Events(t.Context(), 0, true, func(Event) error { once(); return nil }) //nolint:errcheck // likewise
	})
	<-following
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := r.server.Shutdown(ctx); err != nil {
		t.Errorf("shutdown: %v", err)
	}
	work.Wait()
}

func TestShutdownDoesNotWaitForSilentConnections(t *testing.T) {
	r := newRig(t)
	conn, err := net.Dial("unix", r.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := r.client.Status(t.Context()); err != nil { // the silent one was accepted before this one
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if err := r.server.Shutdown(ctx); err != nil {
		t.Errorf("shutdown: %v", err)
	}
}

func TestUndrainMaintReady(t *testing.T) {
	r := newRig(t)
	admin := func(d Done, err error) string {
		if err != nil {
			return err.Error()
		}
		return d.Backend.Admin + "; " + d.Note
	}
	ctx := t.Context()
	steps := []struct {
		name, got, want string
	}{
		{"maint", admin(r.client.Maint(ctx, "main/b")), "maint; "},
		{"maint again", admin(r.client.Maint(ctx, "main/b")), "maint; backend main/b was maint already"},
		{"undrain of maint", admin(r.client.Undrain(ctx, "main/b")), "backend main/b is in maint, not in drain; use ferryctl ready main/b"},
		{"ready", admin(r.client.Ready(ctx, "main/b")), "ready; "},
		{"maint of the last", admin(r.client.Maint(ctx, "web/x")), "maint; pool web has no usable backend now: new clients wait 15s for one and are then turned away"},
	}
	for _, s := range steps {
		if s.got != s.want {
			t.Errorf("%s:\ngot  %s\nwant %s", s.name, s.got, s.want)
		}
	}
	r.pools.set("main/b", func(b *Backend) { b.Admin = "drain" })
	if got, want := admin(r.client.Undrain(ctx, "main/b")), "ready; "; got != want {
		t.Errorf("undrain: got %q, want %q", got, want)
	}
}

// An operator who sets a state in the middle of a move would pull the ground from under it.
func TestStatesAreRefusedDuringAMove(t *testing.T) {
	r := newRig(t)
	if _, err := r.client.Drain(t.Context(), DrainRequest{Backend: "main/a", To: "b"}); err != nil {
		t.Fatal(err)
	}
	for name, call := range map[string]func(context.Context, string) (Done, error){"undrain": r.client.Undrain, "maint": r.client.Maint, "ready": r.client.Ready} {
		for _, b := range []string{"main/a", "main/b"} {
			_, err := call(t.Context(), b)
			var e *Error
			if !errors.As(err, &e) || e.Code != CodeRefused || !strings.Contains(e.Hint, "ferryctl cancel m1") {
				t.Errorf("%s %s: %v", name, b, err)
			}
		}
	}
	if _, err := r.client.Maint(t.Context(), "main/c"); err != nil {
		t.Errorf("maint of a backend that is no part of the move: %v", err)
	}
}

func TestReload(t *testing.T) {
	r := newRig(t)
	done, err := r.client.Reload(t.Context())
	if err != nil || done.Reload == nil || done.Reload.Changed[0] != "log.level" {
		t.Errorf("reload: %+v %v", done, err)
	}
	r.process.reloadErr = errors.New("line 3, column 1: unknown key listner, did you mean listeners?")
	_, err = r.client.Reload(t.Context())
	var e *Error
	if !errors.As(err, &e) || e.Code != CodeFailed || !strings.Contains(e.Message, "line 3, column 1") || !strings.Contains(e.Hint, "nothing was changed") {
		t.Errorf("reload: %v", err)
	}
}

func TestPartsThatAreNotThereAreUnsupported(t *testing.T) {
	r := newRig(t, func(o *Options) { *o = Options{} })
	for _, path := range []string{"/v1/backends", "/v1/sessions", "/v1/sessions/x", "/v1/moves", "/v1/moves/x"} {
		if status, body := r.raw(t, "GET", path, ""); status != 501 || !strings.Contains(body, `"code":"unsupported"`) {
			t.Errorf("GET %s: %d %s", path, status, body)
		}
	}
	for _, verb := range []string{"drain", "hold", "release", "cancel", "undrain", "maint", "ready", "reload"} {
		if status, body := r.raw(t, "POST", "/v1/"+verb, ""); status != 501 || !strings.Contains(body, `"code":"unsupported"`) {
			t.Errorf("POST %s: %d %s", verb, status, body)
		}
	}
	if status, _ := r.raw(t, "GET", "/v1/status", ""); status != 200 {
		t.Errorf("status: %d", status)
	}
}

func TestManyOperatorsAtOnce(t *testing.T) {
	r := newRig(t)
	var work sync.WaitGroup
	for i := range 8 {
		work.Go(func() {
			c := NewClient(r.socket)
			defer c.Close()
			for range 10 {
				if _, err := c.Status(t.Context()); err != nil {
					t.Error(err)
				}
				if d, err := c.Drain(t.Context(), DrainRequest{Backend: "main/a"}); err != nil {
					t.Error(err)
				} else {
					r.moves.change(d.Move.ID, func(m *handoff.Report) { m.State = handoff.StateDone })
				}
				r.events.Publish(Event{Kind: EventDaemon, Text: fmt.Sprint(i)})
			}
		})
	}
	work.Wait()
}

// A TCP listener would let anybody in: without credentials of the kernel nothing is answered.
func TestPeersWithoutCredentialsAreRefused(t *testing.T) {
	s := New(Options{Pools: newFakePools()})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serve(t, s, l)
	resp, err := http.Get("http://" + l.Addr().String() + "/v1/status")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("got %s, want 403", resp.Status)
	}
}

// A program that walks a list finds one, also where there is nothing in it.
func TestEmptyListsAreLists(t *testing.T) {
	r := newRig(t)
	for _, x := range []struct{ verb, body, want string }{
		{"drain", `{"backend":"main/a","to":"b","dry_run":true}`, `"warnings":[],"conflicts":[],"caps_lost":[],"isupport_diff":[],"refusals":[]`},
		{"drain", `{"backend":"main/a","to":"b"}`, `"named":[],"warnings":[]`},
		{"reload", `{}`, `"warnings":[]`},
	} {
		if status, body := r.raw(t, "POST", "/v1/"+x.verb, x.body); status != 200 || !strings.Contains(body, x.want) {
			t.Errorf("%s %s: %d %s, want %s", x.verb, x.body, status, body, x.want)
		}
	}
}

// A pool whose only backend that is up is drained says what would help; what is in maint was meant to be out.
func TestWarningNamesTheDrainedBackend(t *testing.T) {
	for state, want := range map[string]string{
		"drain": "pool web has no usable backend: new clients wait 15s for one and are then turned away; web/x is up, ferryctl ready web/x lets it take them",
		"maint": "pool web has no usable backend: new clients wait 15s for one and are then turned away",
	} {
		r := newRig(t)
		r.pools.set("web/x", func(b *Backend) { b.Admin = state })
		st, err := r.client.Status(t.Context())
		if err != nil || len(st.Warnings) != 1 || st.Warnings[0] != want {
			t.Errorf("%s: %v, %q, want %q", state, err, st.Warnings, want)
		}
	}
}
