package backend

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ircferry/ircferry/internal/config"
)

// Mistakes that were made here by `make mutate` and that no test had noticed.

// journal is a log that tests read while it is written.
type journal struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.String()
}

func TestABackendWhoseNameIsNotKnownIsDownForThat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, log := newWorld(), &journal{}
		s, err := NewSet(Options{Dial: w.dial, Log: slog.New(slog.NewTextHandler(log, nil)), Resolve: func(context.Context, string) ([]netip.Addr, error) {
			return nil, errors.New("no such host")
		}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		p := relays(config.Linked, "a")
		p.Backends[0].Address = "irc.example:6667"
		apply(t, s, one(p))
		settle()
		if st := get(t, s, "a").Status(); st.Oper != Down || !strings.Contains(st.Cause, "no such host") {
			t.Errorf("%+v", st)
		}
		expect(t, "dialled without an address", strings.Join(w.everywhere(), " "), "")
		if !strings.Contains(log.String(), `level=WARN msg="backend down" backend=main/a cause=`) || !strings.Contains(log.String(), "no such host") {
			t.Errorf("logged: %s", log)
		}
	})
}

func (w *world) everywhere() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []string
	for address := range w.dials {
		all = append(all, address)
	}
	return all
}

// Failed connects of before a fall are not counted again when the backend is back.
func TestABackendThatComesUpStartsFromNothing(t *testing.T) {
	now, h := time.Now(), health{}
	h.pass(1, now)
	for range 2 {
		h.dialFailed(3, "refused", now)
	}
	h.fail(1, "silent", now)
	if !h.pass(1, now) || h.oper != Up {
		t.Fatalf("not up: %+v", h)
	}
	if h.dialFailed(3, "refused", now) {
		t.Error("down by one failed connect of three")
	}
}

func TestAControlConnectionThatCannotBeHadHoldsNobodyUp(t *testing.T) {
	s := newWorld().newSet(t, "", one(natives("a")))
	for range 2 {
		if _, _, err := get(t, s, "a").DialControl(t.Context(), "me"); err == nil || !strings.Contains(err.Error(), "unix:/a") {
			t.Errorf("got %v", err)
		}
	}
}
