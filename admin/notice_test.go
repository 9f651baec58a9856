package admin

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Mistakes that were made here by `make mutate` and that no test had noticed.

// What the status page says of a backend's part in its pool.
func TestRoleOfABackend(t *testing.T) {
	linked, alone, gated := Pool{Topology: "linked"}, Pool{Topology: "standalone"}, Pool{Topology: "standalone", Gated: true}
	for _, c := range []struct {
		p    Pool
		b    Backend
		want string
	}{
		{alone, Backend{Oper: "up", Admin: "ready", Weight: 100, Serving: true}, "serves"},
		{gated, Backend{Oper: "up", Admin: "ready", Weight: 100, Serving: true}, "serves; new clients wait"},
		{alone, Backend{Oper: "up", Admin: "ready", Weight: 100}, "stands by"},
		{linked, Backend{Oper: "up", Admin: "ready", Weight: 100}, "serves"},
		{linked, Backend{Oper: "up", Admin: "ready", Weight: 100, Backup: true}, "stands by"},
		{linked, Backend{Oper: "up", Admin: "ready"}, "up, takes nobody (weight 0)"},
		{linked, Backend{Oper: "up", Admin: "drain", Weight: 100, Sessions: 2}, "drained; those who are left stay"},
		{linked, Backend{Oper: "up", Admin: "drain", Weight: 100}, "drained, empty"},
		{linked, Backend{Oper: "down", Admin: "drain", Weight: 100, Cause: "refused"}, "down: refused"},
		{linked, Backend{Oper: "down", Admin: "ready", Weight: 100}, "down: not checked yet"},
		{linked, Backend{Oper: "down", Admin: "maint", Weight: 100}, "in maintenance"},
	} {
		if got := roleOf(c.p, c.b).Text; got != c.want {
			t.Errorf("%+v of %+v: %q, want %q", c.b, c.p, got, c.want)
		}
	}
}

// A listener that is full, and is closed, lets its Accept go.
func TestFullListenerIsClosed(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := LimitListener(inner, 1)
	one, err := net.Dial("tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ended := make(chan error, 1)
	go func() {
		_, err := l.Accept()
		ended <- err
	}()
	select {
	case err := <-ended:
		t.Fatalf("accepted more than one, or %v", err)
	case <-time.After(10 * time.Millisecond):
	}
	for range 2 {
		l.Close()
	}
	select {
	case err := <-ended:
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("%v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("it waits for room for ever")
	}
}

// A socket that another process has taken over is left where it is; one's own is taken away.
func TestSocketIsLeftToASuccessor(t *testing.T) {
	for _, leaves := range []bool{true, false} {
		path := filepath.Join(t.TempDir(), "s")
		l, err := Listen(path, "")
		if err != nil {
			t.Fatal(err)
		}
		if leaves {
			Leave(l)
		}
		l.Close()
		if _, err := os.Lstat(path); (err == nil) != leaves {
			t.Errorf("leaves %v: %v", leaves, err)
		}
	}
}

// A rehearsal that fails is an error to whoever has asked for it.
func TestDryRunThatFails(t *testing.T) {
	r := newRig(t)
	r.moves.err = errors.New("main/b does not answer")
	if status, body := r.raw(t, "POST", "/v1/drain", `{"backend":"main/a","to":"b","dry_run":true}`); status < 400 || !strings.Contains(body, "main/b does not answer") {
		t.Errorf("%d %s", status, body)
	}
}
