package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/admin"
)

// fleet is the other proxies: ferry2 answers as a daemon of its own does, ferry3 does not, ferry4 has left.
type fleet struct {
	second string // URL
	seen   time.Time
}

func (f *fleet) Cluster() *admin.Cluster {
	m := func(name, state string, change func(*admin.Member)) admin.Member {
		x := admin.Member{Name: name, State: state, Seen: f.seen, Gossip: "192.0.2." + name[5:] + ":7946", Version: "0.1.0", Keys: []string{"a1"}, Tickets: []string{}, Differs: []string{}}
		change(&x)
		return x
	}
	return &admin.Cluster{Name: "ferry1", Label: "example", Wanted: 3, Missing: []string{"192.0.2.3:7946"}, Refused: map[string]uint64{}, Members: []admin.Member{
		m("ferry1", "alive", func(x *admin.Member) { x.Self, x.Sessions = true, 1239 }),
		m("ferry2", "alive", func(x *admin.Member) { x.Sessions, x.Differs = 612, []string{"pools"} }),
		m("ferry3", "lost", func(x *admin.Member) { x.Error = "ask ferry3: no route to host" }),
		m("ferry4", "left", func(*admin.Member) {}),
	}}
}

func (f *fleet) Tell(context.Context) []string { return []string{"ferry3"} }

func (f *fleet) Keys(_ context.Context, r admin.KeysRequest) (done admin.KeysDone, err error) {
	done.Proxies = []admin.ProxyKeys{{Name: "ferry1", Self: true, Keys: []string{"a1", "b2"}}, {Name: "ferry2", Keys: []string{"a1"}}}
	switch r.Verb {
	case "add":
		done.ID, done.Missing, done.Proxies[1].Error = "b2", []string{"192.0.2.3:7946"}, "it cannot be written"
	case "remove":
		return admin.KeysDone{}, &admin.Error{Code: admin.CodeRefused, Message: "proxy ferry1 seals with key a1", Hint: "ferryctl cluster keys use another one first"}
	}
	return done, nil
}

func (f *fleet) Get(_ context.Context, member, path string) (io.ReadCloser, error) {
	if member != "ferry2" {
		return nil, errors.New("ask " + member + ": no route to host")
	}
	answer, err := http.Get(f.second + path)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		answer.Body.Close()
		return nil, &admin.Error{Code: admin.CodeNotFound, Message: "no such session"}
	}
	return answer.Body, nil
}

// newClustered is a daemon that is one of several.
func newClustered(t *testing.T) *daemon {
	t.Helper()
	d := newDaemon(t)
	d.stop()
	other := newStill()
	other.sessions[1].ID = "second-2"
	events := admin.NewEvents(8)
	events.Publish(admin.Event{Kind: admin.EventBackend, Object: "main/b", Word: "down"})
	second := httptest.NewServer(admin.New(admin.Options{Process: other, Pools: other, Sessions: other, Moves: d.scripted, Finder: finder{}, Certs: other, Events: events}).Reading())
	t.Cleanup(second.Close)
	f := &fleet{seen: time.Now().Add(-3 * time.Minute), second: second.URL}
	server := admin.New(admin.Options{Process: d.still, Pools: d.still, Sessions: d.still, Moves: d.scripted, Finder: finder{}, Certs: d.still, Events: d.events, Others: f, Keys: f})
	d.socket = filepath.Join(t.TempDir(), "s")
	l, err := admin.Listen(d.socket, "")
	if err != nil {
		t.Fatal(err)
	}
	serve(t, server, l)
	return d
}

func serve(t *testing.T, s *admin.Server, l net.Listener) {
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		<-served
	})
}

// finder knows nobody by nick.
type finder struct{}

func (finder) Find(context.Context, string) ([]admin.Found, error) { return nil, nil }

// What is asked of all proxies is answered by those that can, and the exit code says that one could not.
func TestAllProxiesAreAsked(t *testing.T) {
	d := newClustered(t)
	d.events.Publish(admin.Event{Kind: admin.EventDaemon, Object: "inst", Word: "start"})
	for _, c := range []struct {
		args string
		code int
		out  []string
		errs []string
	}{
		{"status", 0, []string{"PROXY", "ferry1 (this)  alive", "ferry2", "612       differ  same  -", "ferry3         lost   3m0s ago",
			"warning: of the proxies that join names are missing: 192.0.2.3:7946", "warning: proxy ferry2 has other pools", "warning: proxy ferry3 is lost since"}, nil},
		{"status --all", 4, []string{"ferry1  running", "ferry2  running", "ferry3  unreachable", "3m0s ago", "ferry3: no answer: ask ferry3: no route to host",
			"main/a        ferry1  ready", "main/a        ferry2  ready", "ferry2: warning: listener spare does not accept"}, []string{"no answer from ferry3"}},
		{"status --all -o json", 4, []string{`"name": "ferry2"`, `"error": "ask ferry3: no route to host"`}, []string{"no answer from ferry3"}},
		{"show sessions --all", 4, []string{"ferry1  inst-2", "ferry2  second-2"}, []string{"no answer from ferry3"}},
		{"show session second-2 --all", 0, []string{"session      second-2", "proxy        ferry2"}, nil},
		{"show session nobody --all", 4, nil, []string{"no answer from ferry3"}},
		{"maint web/c", 4, []string{"web/c is maint", "not told: ferry3; they hear of it when they are back"}, nil},
		{"cluster show", 0, []string{"cluster example, 3 proxies wanted", "ferry3         lost", "missing: 192.0.2.3:7946", "ferry3: ask ferry3"}, nil},
		{"cluster keys show", 0, []string{"PROXY   a1     b2", "ferry1  seals  opens", "ferry2  seals  -"}, nil},
		{"cluster keys add", 4, []string{"key b2", "ferry1  seals  opens"}, []string{"ferryctl: ferry2: it cannot be written", "missing: 192.0.2.3:7946"}},
		{"cluster keys remove a1", 5, nil, []string{"refused: proxy ferry1 seals with key a1", "instead: ferryctl cluster keys use another one first"}},
		{"cluster keys use", 2, nil, []string{"takes one ID"}},
		{"cluster keys rotate", 2, nil, []string{"cluster keys rotate is not possible: show, add, use ID or remove ID"}},
		{"events --all", 4, []string{"ferry1  daemon", "ferry2  backend  main/b", "unreachable"}, []string{"proxy ferry3: ask ferry3: no route to host"}},
	} {
		a := d.call(t, strings.Fields(c.args)...)
		a.want(t, c.code, c.out, c.errs)
	}
}

// A proxy that is alone answers for itself.
func TestAllOfOneProxy(t *testing.T) {
	d := newDaemon(t)
	d.events.Publish(admin.Event{Kind: admin.EventDaemon, Object: "inst", Word: "start"})
	d.call(t, "status", "--all").want(t, 0, []string{"running", "main/a"}, nil)
	d.call(t, "show", "sessions", "--all").want(t, 0, []string{"SESSION  CLIENT", "inst-3"}, nil)
	d.call(t, "show", "session", "inst-3", "--all").want(t, 0, []string{"inst-3"}, nil)
	d.call(t, "show", "session", "nobody", "--all").want(t, 1, nil, []string{`no proxy has a session with the id or nick "nobody"`})
	d.call(t, "events", "--all").want(t, 0, []string{"daemon"}, nil)
}
