package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/ircferry/ircferry/admin"
	"github.com/ircferry/ircferry/handoff"
)

// bar draws one line on stderr while a move runs, if stderr is a terminal; else it says only what the operator has to know while
// nothing moves: the notes of a wait.
type bar struct {
	w     io.Writer
	width int // 0: no terminal
	drawn bool
	note  *string // the last that was told, also by a bar before this one
}

func (c *ctl) newBar() *bar {
	b := &bar{w: c.err, note: &c.note}
	if f, ok := c.err.(*os.File); ok && terminal(c.err) && c.getenv("TERM") != "dumb" && c.output != "json" {
		b.width = 80
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 20 {
			b.width = w
		}
	}
	return b
}

// patience is how long a long poll may take before the line's clock needs to be drawn again.
func (b *bar) patience() time.Duration {
	if b.width == 0 {
		return 30 * time.Second
	}
	return refresh
}

func (b *bar) draw(m admin.Move) {
	if b.width == 0 {
		if m.Note != *b.note && m.Note != "" && !m.State.Ended() {
			fmt.Fprintln(b.w, "ferryctl: "+clean(m.Note))
			*b.note = m.Note
		}
		return
	}
	fmt.Fprint(b.w, "\r\x1b[K"+line(m, b.width-1, time.Since(m.Started)))
	b.drawn = true
}

// clear takes the line away, so that the result begins where it was.
func (b *bar) clear() {
	if b.drawn {
		fmt.Fprint(b.w, "\r\x1b[K")
		b.drawn = false
	}
}

// steps are a move's, in order; how far it is says the bar, together with the sessions through the present step.
var steps = []handoff.Step{handoff.StepCheck, handoff.StepPrepare, handoff.StepFreeze, handoff.StepPull, handoff.StepPush, handoff.StepRelease,
	handoff.StepCommit, handoff.StepSplice, handoff.StepThaw}

const barCells = 20

// line is the bar's text, cut to width.
func line(m admin.Move, width int, age time.Duration) string {
	target := ""
	if m.To != "" {
		target = " to " + m.To
	}
	text := fmt.Sprintf("%s %s/%s%s [%s] %s", m.Kind, m.Pool, m.From, target, cells(m), m.Step)
	if m.Attempted > 0 && m.Progress > 0 {
		text += fmt.Sprintf(" %d/%d", m.Progress, m.Attempted)
	} else if m.Attempted > 0 {
		text += fmt.Sprintf(" %d", m.Attempted)
	}
	text += " " + span(age)
	if m.Note != "" {
		text += " " + clean(m.Note)
	}
	if r := []rune(text); len(r) > width {
		return string(r[:max(width, 0)])
	}
	return text
}

func cells(m admin.Move) string {
	full := 0
	for i, s := range steps {
		if s == m.Step {
			full = (i + 1) * barCells / len(steps)
		}
	}
	if m.State == handoff.StateParked {
		full = barCells / 2
	}
	if m.State == handoff.StateDone {
		full = barCells
	}
	return strings.Repeat("#", full) + strings.Repeat(".", barCells-full)
}
