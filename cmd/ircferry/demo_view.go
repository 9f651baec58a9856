package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// demoView shows where the sessions are: on a terminal a few lines that are drawn again ten times a second, else one line for each
// step. It writes to standard error.
type demoView struct {
	demo     *demo
	w        io.Writer
	terminal bool
	began    time.Time

	mu    sync.Mutex // of the fields below, and of drawing
	what  string
	drawn int // lines on the screen that the next drawing overwrites
	done  chan struct{}
	ended sync.WaitGroup
}

func newDemoView(d *demo) *demoView {
	v := &demoView{demo: d, w: d.opt.err, began: time.Now()}
	if f, ok := v.w.(*os.File); ok {
		v.terminal = term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb"
	}
	return v
}

func (v *demoView) start() {
	v.done = make(chan struct{})
	if v.terminal {
		v.ended.Go(v.redraw)
	}
}

// again draws a new view below what was printed, for the visitor's own moves.
func (v *demoView) again() {
	v.mu.Lock()
	v.what, v.drawn = "talking, slowly", 0
	v.mu.Unlock()
	v.start()
}

// stop leaves the last picture on the screen.
func (v *demoView) stop() {
	close(v.done)
	v.ended.Wait()
	if v.terminal {
		v.say("done")
		v.draw()
		fmt.Fprintln(v.w)
	}
}

// say tells what is being done now.
func (v *demoView) say(format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.what = fmt.Sprintf(format, args...)
	if !v.terminal {
		fmt.Fprintf(v.w, "%5.1fs  %-24s  sessions: %s\n", time.Since(v.began).Seconds(), v.what, v.where())
	}
}

// where is the sessions of each backend on one line.
func (v *demoView) where() string {
	var parts []string
	for _, name := range demoBackends {
		parts = append(parts, fmt.Sprintf("%s %d", name, v.demo.backend(name).Sessions()))
	}
	return strings.Join(parts, ", ")
}

// redraw is a goroutine.
func (v *demoView) redraw() {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-v.done:
			return
		case <-tick.C:
			v.draw()
		}
	}
}

func (v *demoView) draw() {
	v.mu.Lock()
	defer v.mu.Unlock()
	var b bytes.Buffer
	if v.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", v.drawn)
	}
	lines := v.picture()
	for _, l := range lines {
		fmt.Fprintf(&b, "\r\x1b[K%s\n", l)
	}
	v.drawn = len(lines)
	v.w.Write(b.Bytes())
}

// picture is the lines of the view.
func (v *demoView) picture() []string {
	const cells = 40
	lines := []string{fmt.Sprintf("ircferry demo: clients connect to %s   %.1f s", v.demo.address(), time.Since(v.began).Seconds())}
	for _, name := range demoBackends {
		n := v.demo.backend(name).Sessions()
		full := min(cells, (n*cells+v.demo.opt.clients-1)/v.demo.opt.clients)
		lines = append(lines, fmt.Sprintf("  ircd %s  %s%s %4d sessions", name, strings.Repeat("#", full), strings.Repeat(".", cells-full), n))
	}
	talk := ""
	if c := v.demo.crowd; c != nil {
		counts := c.oracle.Counts()
		talk = fmt.Sprintf("; %d messages sent, %d delivered", counts.Sent, counts.Delivered)
	}
	return append(lines, "  "+v.what+talk)
}

// recentLog keeps the daemon's last warnings: shown only if the demo fails, since they would spoil the view.
type recentLog struct {
	mu    sync.Mutex
	lines []string
}

// recentLines is enough for what goes before a failure.
const recentLines = 50

func (l *recentLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, string(b))
	if len(l.lines) > recentLines {
		l.lines = l.lines[len(l.lines)-recentLines:]
	}
	return len(b), nil
}

func (l *recentLog) dump(w io.Writer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		io.WriteString(w, line)
	}
	l.lines = nil
}
