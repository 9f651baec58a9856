package ircclient

import (
	"strings"
	"testing"
	"time"
)

// say is how a server would deliver text.
func say(from, to, text string) Line {
	return Line{time.Now(), ":" + from + "!u@h PRIVMSG " + to + " :" + text}
}

func TestOracle(t *testing.T) {
	type deliver func(o *Oracle, f *Flow, r *Receiver)
	seq := func(f *Flow, n int) string { return flowText(f.id, uint32(n), "pad") }
	cases := []struct {
		name string
		run  deliver
		want Counts
	}{
		{"all in order", func(o *Oracle, f *Flow, r *Receiver) {
			for range 3 {
				r.Line(say("a", "#c", f.Next("pad")))
			}
		}, Counts{Sent: 3, Expected: 3, Delivered: 3}},
		{"one lost in the middle", func(o *Oracle, f *Flow, r *Receiver) {
			f.Next("")
			f.Next("")
			f.Next("")
			r.Line(say("a", "#c", seq(f, 1)))
			r.Line(say("a", "#c", seq(f, 3)))
		}, Counts{Sent: 3, Expected: 3, Delivered: 2, Lost: 1}},
		{"the last one lost", func(o *Oracle, f *Flow, r *Receiver) {
			r.Line(say("a", "#c", f.Next("")))
			f.Next("")
		}, Counts{Sent: 2, Expected: 2, Delivered: 1, Lost: 1}},
		{"doubled", func(o *Oracle, f *Flow, r *Receiver) {
			text := f.Next("")
			r.Line(say("a", "#c", text))
			r.Line(say("a", "#c", text))
		}, Counts{Sent: 1, Expected: 1, Delivered: 1, Duplicated: 1}},
		{"reordered", func(o *Oracle, f *Flow, r *Receiver) {
			one, two := f.Next(""), f.Next("")
			r.Line(say("a", "#c", two))
			r.Line(say("a", "#c", one))
		}, Counts{Sent: 2, Expected: 2, Delivered: 2, Reordered: 1}},
		{"other lines", func(o *Oracle, f *Flow, r *Receiver) {
			r.Line(Line{time.Now(), ":b!u@h QUIT :bye"})
			r.Line(say("a", "#c", "flow 0 1 forged"))
		}, Counts{Unexpected: 2}},
		{"damaged, never sent, wrong sender, wrong channel", func(o *Oracle, f *Flow, r *Receiver) {
			text := f.Next("pad")
			r.Line(say("a", "#c", strings.Replace(text, "pad", "pat", 1)))
			r.Line(say("a", "#c", seq(f, 2)))
			r.Line(say("b", "#c", text))
			r.Line(say("a", "#d", text))
		}, Counts{Sent: 1, Expected: 1, Lost: 1, Unexpected: 4}},
		{"left on purpose", func(o *Oracle, f *Flow, r *Receiver) {
			r.Line(say("a", "#c", f.Next("")))
			f.Next("")
			r.Leave()
			r.Closed(nil)
		}, Counts{Sent: 2, Expected: 1, Delivered: 1}},
		{"disconnected", func(o *Oracle, f *Flow, r *Receiver) {
			r.Closed(nil)
		}, Counts{Disconnects: 1}},
		{"heard from the second on", func(o *Oracle, f *Flow, r *Receiver) {
			late := o.Receiver("late", nil)
			r.Line(say("a", "#c", f.Next("")))
			late.Hears(f)
			two := f.Next("")
			r.Line(say("a", "#c", two))
			late.Line(say("a", "#c", two))
		}, Counts{Sent: 2, Expected: 3, Delivered: 3}},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			o := NewOracle()
			f := o.Flow("a", "#c")
			r := o.Receiver("r", nil)
			r.Hears(f)
			tc.run(o, f, r)
			if got := o.Counts(); got != tc.want {
				t.Errorf("\n got %v\nwant %v", got, tc.want)
			}
			if got, want := tc.want.Clean(), tc.want.Lost+tc.want.Duplicated+tc.want.Reordered+tc.want.Unexpected+tc.want.Disconnects == 0; got != want {
				t.Errorf("clean %v, want %v", got, want)
			}
		})
	}
}

func TestLineParts(t *testing.T) {
	l := Line{Text: "@time=x;+y=z :nick!u@h PRIVMSG #c :hello  world: yes"}
	if l.Tags() != "time=x;+y=z" || l.Nick() != "nick" || l.Command() != "PRIVMSG" || l.Param(0) != "#c" || l.Param(1) != "hello  world: yes" {
		t.Errorf("got %q %q %q %q", l.Tags(), l.Nick(), l.Command(), l.Params())
	}
	l = Line{Text: "PING :x"}
	if l.Source() != "" || l.Command() != "PING" || l.Param(0) != "x" || l.Param(1) != "" {
		t.Errorf("got %q %q %q", l.Source(), l.Command(), l.Params())
	}
}
