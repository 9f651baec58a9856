package proxy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ircferry/ircferry/internal/config"
)

// scrape is all that the registry has, as "name{label=value,...}".
func (r *rig) scrape() map[string]float64 {
	r.t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			var labels []string
			for _, l := range m.Label {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			name := strings.TrimPrefix(f.GetName(), "ircferry_")
			if len(labels) > 0 {
				name += "{" + strings.Join(labels, ",") + "}"
			}
			all[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return all
}

// What is told to who scrapes is what has happened.
func TestMetricsTellWhatHappened(t *testing.T) {
	plaintextOnly(t)
	r, d := relay(t, config.Listener{Limits: config.Limits{Connections: 2}})
	client, server := r.joined(d, "ann")
	server.send(":irc PING x\r\n")
	client.expect(":irc PING x\r\n")
	other, otherServer := r.joined(d, "ben")
	refused := r.dial()
	refused.expectLine("ERROR ")
	refused.expectGone()
	r.ended("limit_connections")
	other.Close()
	otherServer.expectEnd()
	otherServer.Close()
	r.ended("client_closed")
	r.eventually("one session", func() bool { return r.Counts().Sessions == 1 })
	r.Gate("main")
	waiting := r.dial()
	waiting.send("NICK cid\r\n")
	r.eventually("a client that waits", func() bool { return r.Counts().Waiting == 1 })
	r.workers[1].loop.Post(func() { panic("on purpose") })
	r.panics = 1
	r.onAll(ctxOf(t), func(*worker) {})

	got := r.scrape()
	for name, want := range map[string]float64{
		"listener_connections{listener=irc}":                             2,
		"listener_connections_total{listener=irc}":                       4,
		"listener_rejected_total{listener=irc,reason=limit_connections}": 1,
		"listener_rejected_total{listener=irc,reason=limit_rate}":        0,
		"sessions_ended_total{listener=irc,reason=client_closed}":        1,
		"sessions_ended_total{listener=irc,reason=limit_connections}":    1,
		"sessions_ended_total{listener=irc,reason=internal}":             0,
		"sessions{state=relay}":                                          1,
		"sessions{state=waiting}":                                        1,
		"sessions{state=parked}":                                         0,
		"sessions_by_backend{backend=a,pool=main}":                       1,
		"bytes_total{from=client}":                                       float64(len("NICK ann\r\nNICK ben\r\n")),
		"bytes_total{from=backend}":                                      float64(len(":irc 001 ann :hello\r\n:irc 001 ben :hello\r\n:irc PING x\r\n")),
		"accept_paused":                                                  0,
		"accept_pauses_total":                                            0,
		"loop_panics_total{loop=0}":                                      0,
		"loop_panics_total{loop=1}":                                      1,
		"log_dropped_total":                                              0,
		"arena_slots":                                                    2,
		"arena_refused_total":                                            0,
		"arena_bytes{kind=max}":                                          float64(r.arena.Stats().Max),
		"arena_bytes{kind=allocated}":                                    float64(r.arena.Stats().Allocated),
		"invariant_violations_total{check=sessions}":                     0,
	} {
		if n, there := got[name]; !there || n != want {
			t.Errorf("%s is %v (%v), want %v", name, n, there, want)
		}
	}
	for name := range got {
		if strings.HasPrefix(name, "listener_rejected_total") && strings.Contains(name, "client_closed") {
			t.Errorf("%s is no refusal", name)
		}
	}
	for i := range r.workers {
		if lag, turns := got[fmt.Sprintf("loop_lag_seconds{loop=%d}", i)], got[fmt.Sprintf("loop_turns_total{loop=%d}", i)]; lag <= 0 || lag > 1 || turns < 1 {
			t.Errorf("loop %d: lag %v s, %v turns", i, lag, turns)
		}
	}
	for _, name := range []string{"arena_bytes{kind=resident}"} {
		if got[name] <= 0 {
			t.Errorf("%s is %v", name, got[name])
		}
	}
	if _, there := got["arena_chunks"]; !there {
		t.Error("arena_chunks is not told")
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if left := r.scrape(); len(left) != 0 {
		t.Errorf("told behind the end: %v", left)
	}
}

// A proxy that cannot be made says why, and keeps nothing.
func TestNewThatFails(t *testing.T) {
	for _, id := range []string{"", "a b", "a.b", "ä", strings.Repeat("x", maxInstance+1)} {
		if p, err := New(Options{Instance: id, Loops: 1, MaxSessions: 16}); p != nil || err == nil || !strings.Contains(err.Error(), "instance id") {
			t.Errorf("%q: %v", id, err)
		}
	}
	p, err := New(Options{Instance: strings.Repeat("x", maxInstance), Loops: 1, MaxSessions: 16})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if err := p.Close(); err != nil {
		t.Errorf("closed once more: %v", err)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(&metrics{p: p})
	before := descriptorsInUse(t)
	if p, err := New(Options{Instance: "x", Loops: 2, MaxSessions: 16, Registerer: registry}); p != nil || err == nil || !strings.Contains(err.Error(), "register proxy metrics") {
		t.Errorf("metrics that are there already: %v", err)
	}
	if after := descriptorsInUse(t); after > before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
	if p, err := New(Options{Instance: "x", Loops: 1, MaxSessions: 16, MaxBytes: 1}); p != nil || err == nil {
		t.Errorf("without memory: %v", err)
	}
	if after := descriptorsInUse(t); after > before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}

func TestDefaultsOfAProxy(t *testing.T) {
	p, err := New(Options{Instance: "x"})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if len(p.workers) == 0 || p.log == nil {
		t.Errorf("%d loops, log %v", len(p.workers), p.log)
	}
	if err := p.Watchdog(); err != nil {
		t.Error(err)
	}
}
