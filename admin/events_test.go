package admin

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

func collect(t *testing.T, e *Events, seq uint64) string {
	t.Helper()
	var got []string
	if err := e.Follow(t.Context(), seq, false, func(ev Event) error {
		if ev.Kind == EventDropped {
			got = append(got, fmt.Sprintf("-%d", ev.Count))
			return nil
		}
		got = append(got, fmt.Sprint(ev.Seq))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return strings.Join(got, " ")
}

func TestRingKeepsTheNewestAndCountsTheLost(t *testing.T) {
	e := NewEvents(4)
	if got := collect(t, e, 0); got != "" {
		t.Errorf("empty: %s", got)
	}
	for range 10 {
		e.Publish(Event{Kind: EventDaemon})
	}
	for _, tt := range []struct {
		after uint64
		want  string
	}{
		{0, "7 8 9 10"},    // from the start: what there is
		{3, "-3 7 8 9 10"}, // had 3, lost 4 5 6
		{6, "7 8 9 10"},
		{9, "10"},
		{10, ""},
		{99, "7 8 9 10"}, // of the daemon before this one
	} {
		if got := collect(t, e, tt.after); got != tt.want {
			t.Errorf("after %d: got %q, want %q", tt.after, got, tt.want)
		}
	}
}

func TestFollowersSeeEventsAsTheyCome(t *testing.T) {
	r := newRig(t)
	r.events.Publish(Event{Kind: EventDaemon, Word: "start"})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	seen := make(chan Event)
	ended := make(chan error, 1)
	go func() {
		ended <- r.client.Events(ctx, 0, true, func(ev Event) error { seen <- ev; return nil })
	}()
	if ev := <-seen; ev.Word != "start" || ev.Seq != 1 {
		t.Errorf("first: %+v", ev)
	}
	if _, err := r.client.Maint(t.Context(), "main/b"); err != nil {
		t.Fatal(err)
	}
	if ev := <-seen; ev.Kind != EventCommand || ev.Word != "maint" || ev.Object != "main/b" || !strings.Contains(ev.Text, "ok by uid=") {
		t.Errorf("command: %+v", ev)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("end: %v", err)
	}
}

func TestEventsWithoutFollowEnd(t *testing.T) {
	r := newRig(t)
	for range 3 {
		r.events.Publish(Event{Kind: EventDaemon})
	}
	n := 0
	if err := r.client.Events(t.Context(), 1, false, func(Event) error { n++; return nil }); err != nil || n != 2 {
		t.Errorf("%d events, %v; want 2", n, err)
	}
}

// A reader that takes nothing must hold up neither publishers nor other readers, and must learn what it has lost.
func TestSlowFollowerBlocksNobodyAndIsToldItsLoss(t *testing.T) {
	r := newRig(t)
	conn, err := net.Dial("unix", r.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /v1/events?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n")
	in := bufio.NewReader(conn)
	if line, err := in.ReadString('\n'); err != nil || !strings.Contains(line, "200") {
		t.Fatalf("%q %v", line, err)
	}
	r.events.Publish(Event{Kind: EventDaemon})
	readStream(t, conn, in, 0, 1) // it follows
	text := strings.Repeat("x", 8000)
	const published = 2000 // far more than the ring and the socket's buffers hold
	begun := time.Now()
	for range published - 1 {
		r.events.Publish(Event{Kind: EventDaemon, Text: text})
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("publishing took %v beside a reader that does not read", took)
	}
	if _, err := r.client.Status(t.Context()); err != nil {
		t.Errorf("another client: %v", err)
	}
	lost, last := readStream(t, conn, in, 1, published)
	if lost == 0 {
		t.Error("the reader was not told of any loss")
	}
	if last != published {
		t.Errorf("the last event it got is %d, want %d", last, published)
	}
}

// readStream reads the chunked answer from after the event last until the one with the number until.
func readStream(t *testing.T, conn net.Conn, in *bufio.Reader, last, until uint64) (lost, end uint64) {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	for last < until {
		line, err := in.ReadString('\n')
		if err != nil {
			t.Fatalf("after %d: %v", last, err)
		}
		if !strings.HasPrefix(line, "{") {
			continue // header or chunk size
		}
		var seq, count uint64
		fmt.Sscanf(line, `{"seq":%d,`, &seq)
		if i := strings.Index(line, `"count":`); i >= 0 {
			fmt.Sscanf(line[i:], `"count":%d`, &count)
		} else if seq != last+1 {
			t.Fatalf("%d after %d without a word of loss", seq, last)
		}
		lost += count
		last = seq
	}
	return lost, last
}

func TestTooManyFollowersAreRefused(t *testing.T) {
	r := newRig(t)
	r.events.Publish(Event{Kind: EventDaemon})
	ctx, cancel := context.WithCancel(t.Context())
	started, ended := make(chan struct{}, maxFollowers), make(chan error, maxFollowers)
	for range maxFollowers {
		c := NewClient(r.socket)
		t.Cleanup(c.Close)
		go func() { ended <- c.Events(ctx, 0, true, func(Event) error { started <- struct{}{}; return nil }) }()
	}
	for range maxFollowers {
		<-started
	}
	err := r.client.Events(t.Context(), 0, true, func(Event) error { return nil })
	var e *Error
	if !errors.As(err, &e) || e.Code != CodeBusy {
		t.Errorf("one more: %v", err)
	}
	cancel()
	for range maxFollowers {
		<-ended
	}
}
