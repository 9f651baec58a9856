package main

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/admin"
)

func TestTop(t *testing.T) {
	d := newDaemon(t)
	past(d)
	a := d.call(t, "top", "--count", "2", "--interval", "100ms")
	a.want(t, 0, []string{"warning: listener spare does not accept", "LISTENER", "NEW/S", "main/a", "drain main/a to b ["}, nil)
	if n := strings.Count(a.out, "LISTENER"); n != 2 {
		t.Errorf("%d pictures", n)
	}
	if strings.Contains(a.out, "\x1b[2J") {
		t.Error("it draws on what is no terminal")
	}
	d.call(t, "top", "--interval", "1ms").want(t, 2, nil, []string{"at least 100ms"})
	d.call(t, "top", "-o", "json").want(t, 2, nil, []string{"ferryctl -o json status"})
}

func TestTopReckonsRates(t *testing.T) {
	at := time.Now()
	before := &sample{at: at, st: admin.Status{Instance: "x", Listeners: []admin.Listener{{Name: "irc", Accepted: 100, Rejected: map[string]uint64{"a": 1}}},
		Pools: []admin.Pool{{Name: "main", Backends: []admin.Backend{{Name: "a", Pool: "main", Sessions: 5}}}}}}
	now := &sample{at: at.Add(2 * time.Second), st: admin.Status{Instance: "x", Listeners: []admin.Listener{{Name: "irc", Accepting: true, Accepted: 125, Rejected: map[string]uint64{"a": 2, "b": 2}}},
		Pools: []admin.Pool{{Name: "main", Backends: []admin.Backend{{Name: "a", Pool: "main", Sessions: 8}, {Name: "b", Pool: "main", Sessions: 4}}}}}}
	var b strings.Builder
	onPaper().picture(&b, now, before)
	for _, want := range []string{"12.5", "1.5", "+3", strings.Repeat("#", 20), " " + strings.Repeat("#", 10) + "\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	before.st.Instance = "y" // restarted between the two
	b.Reset()
	onPaper().picture(&b, now, before)
	if strings.Contains(b.String(), "12.5") {
		t.Errorf("a rate over a restart:\n%s", b.String())
	}
}

// onPaper is a ctl that draws into a file.
func onPaper() *ctl {
	return &ctl{streams: streams{out: io.Discard, err: io.Discard, getenv: func(string) string { return "" }}}
}
