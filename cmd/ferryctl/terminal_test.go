package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/ircferry/ircferry/admin"
	"github.com/ircferry/ircferry/handoff"
)

// pty opens a terminal and reads all that is written to it.
func pty(t *testing.T) (tty *os.File, closed func() string) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	ioctl := func(request uintptr, value *int32) {
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, master.Fd(), request, uintptr(unsafe.Pointer(value))); errno != 0 {
			t.Skipf("no terminals here: %v", errno)
		}
	}
	var n, unlock int32
	ioctl(syscall.TIOCSPTLCK, &unlock)
	ioctl(syscall.TIOCGPTN, &n)
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	text := make(chan string)
	go func() {
		b, _ := io.ReadAll(master) // ends with EIO when the last end of the terminal is closed
		text <- string(b)
	}()
	return tty, func() string { tty.Close(); defer master.Close(); return <-text }
}

func TestTerminalGetsAProgressBarAndColours(t *testing.T) {
	for _, tt := range []struct {
		name   string
		env    map[string]string
		colour bool
	}{{"plain", nil, true}, {"NO_COLOR", map[string]string{"NO_COLOR": "1"}, false}} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDaemon(t)
			d.onDrain = []change{at(handoff.StepFreeze), done}
			out, outText := pty(t)
			errs, errText := pty(t)
			code := run(t.Context(), []string{"--socket", d.socket, "drain", "main/a", "--to", "b"},
				streams{in: strings.NewReader(""), out: out, err: errs, getenv: func(k string) string { return tt.env[k] }})
			stdout, stderr := outText(), errText()
			if code != 0 || !strings.Contains(stdout, "done") {
				t.Errorf("%d %q %q", code, stdout, stderr)
			}
			if !strings.Contains(stderr, "drain main/a to b [") || !strings.HasSuffix(stderr, "\r\x1b[K") {
				t.Errorf("the bar was not drawn, or not taken away: %q", stderr)
			}
			if got := strings.Contains(stdout, "\x1b[32m"); got != tt.colour {
				t.Errorf("colours: %v, want %v: %q", got, tt.colour, stdout)
			}
		})
	}
}

func TestBarLine(t *testing.T) {
	m := admin.Move{Report: handoff.Report{Kind: handoff.KindDrain, Pool: "main", From: "a", To: "b", State: handoff.StateRunning, Step: handoff.StepPull, Attempted: 200, Progress: 120}}
	if got, want := line(m, 200, 340*time.Millisecond), "drain main/a to b [########............] pull 120/200 340ms"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	m.Note = "waiting\x1b[2J"
	if got, want := line(m, 40, time.Second), "drain main/a to b [########............]"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	last := -1
	for _, s := range steps {
		m.Step = s
		if n := strings.Count(cells(m), "#"); n < last || len(cells(m)) != barCells {
			t.Errorf("step %s: %s goes back", s, cells(m))
		} else {
			last = n
		}
	}
	if last != barCells {
		t.Errorf("the last step fills %d of %d", last, barCells)
	}
}

func TestSpans(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 340 * time.Millisecond: "340ms", 1234 * time.Millisecond: "1.2s", 70 * time.Second: "1m10s", 20 * time.Minute: "20m",
		3*time.Hour + 4*time.Minute + 10*time.Second: "3h4m", 10 * time.Hour: "10h0m", 50 * time.Hour: "2d2h"} {
		if got := span(d); got != want {
			t.Errorf("%v: got %s, want %s", d, got, want)
		}
	}
}
