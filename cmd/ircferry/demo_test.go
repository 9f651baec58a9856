package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/internal/ircclient"
)

// smallDemo is the demo in a second.
func smallDemo(t *testing.T) (demoOptions, *bytes.Buffer, *bytes.Buffer) {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	var out, err bytes.Buffer
	return demoOptions{clients: 12, channels: 3, talk: 150 * time.Millisecond, address: "127.0.0.1:0", out: &out, err: &err}, &out, &err
}

func TestDemo(t *testing.T) {
	opt, out, said := smallDemo(t)
	if err := runDemo(t.Context(), opt, true); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	var r demoResult
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if r.Clients != 12 || r.Messages.Sent == 0 || r.Messages.Delivered != r.Messages.Expected || r.fault() != "" {
		t.Errorf("got %+v", r)
	}
	var kinds []string
	for _, m := range r.Moves {
		kinds = append(kinds, string(m.Kind)+" "+m.From+" "+m.To)
		if m.Sessions != 12 || m.Failed != 0 || m.Pause.Max <= 0 {
			t.Errorf("move %+v", m)
		}
	}
	if got, want := strings.Join(kinds, ", "), "drain a b, drain b a, restart a a"; got != want {
		t.Errorf("moves %q, want %q", got, want)
	}
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "ircferry-demo-*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// The form is promised to scripts: names, order and nesting.
func TestDemoJSONForm(t *testing.T) {
	r := demoResult{Clients: 200, Moves: []demoMove{{Kind: "drain", From: "a", To: "b", Sessions: 200}}}
	var out bytes.Buffer
	if err := r.writeJSON(&out); err != nil {
		t.Fatal(err)
	}
	const want = `{"clients":200,"moves":[{"kind":"drain","from":"a","to":"b","sessions":200,"failed":0,` +
		`"pause_ms":{"p50":0,"p99":0,"max":0}}],"messages":{"sent":0,"expected":0,"delivered":0,"lost":0,` +
		`"duplicated":0,"reordered":0},"unexpected_lines":0,"disconnects":0}` + "\n"
	if out.String() != want {
		t.Errorf("\n got %swant %s", &out, want)
	}
}

func TestDemoFault(t *testing.T) {
	for _, tc := range []struct {
		counts ircclient.Counts
		want   string
	}{
		{ircclient.Counts{Sent: 5, Expected: 5, Delivered: 5}, ""},
		{ircclient.Counts{Lost: 1}, "1 lost"},
		{ircclient.Counts{Duplicated: 2}, "2 doubled"},
		{ircclient.Counts{Reordered: 3}, "3 reordered"},
		{ircclient.Counts{Unexpected: 4}, "4 unexpected lines"},
		{ircclient.Counts{Disconnects: 5, Lost: 1}, "1 lost, 5 disconnects"},
	} {
		var r demoResult
		r.count(tc.counts)
		if got := r.fault(); got != tc.want {
			t.Errorf("%v: got %q, want %q", tc.counts, got, tc.want)
		}
	}
}

func TestDemoPortTaken(t *testing.T) {
	opt, _, said := smallDemo(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	opt.address = ln.Addr().String()
	d, err := startDemo(opt)
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	if got := d.address(); got == opt.address || got == "" {
		t.Errorf("clients are to connect to %q", got)
	}
	if want := opt.address + " is taken"; !strings.Contains(said.String(), want) {
		t.Errorf("said %q, want %q", said, want)
	}
}

// With --stay a visitor finds the talk, and the commands to play with.
func TestDemoStay(t *testing.T) {
	opt, _, said := smallDemo(t)
	d, err := startDemo(opt)
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	if _, err := d.play(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stayed := make(chan struct{})
	go func() {
		defer close(stayed)
		d.stayFor(ctx)
	}()
	visitor := ircclient.TestUser(t, d.address(), "visitor")
	visitor.Join("#ferry0")
	visitor.Await("PRIVMSG #ferry0 :")
	cancel()
	<-stayed
	host, port, _ := net.SplitHostPort(d.address())
	for _, want := range []string{"irssi -c " + host + " -p " + port, "--socket " + d.dir + "/admin.sock drain main/a --to b"} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("no %q in\n%s", want, said)
		}
	}
}
