package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ircferry/ircferry/handoff"
	"github.com/ircferry/ircferry/internal/ircclient"
)

// Fifty users move, and one of them misbehaves: in every way, at every step. The other 49 arrive, exact to the byte, and nobody keeps a ghost.

// slowly makes every step of a move take a moment, so that something can happen in it.
var slowly = []string{"--fault", "IMPORT:delay:30ms", "--fault", "EXPORT:delay:30ms", "--fault", "END:delay:30ms", "--fault", "PREPARE:delay:30ms",
	"--fault", "RELEASE:delay:30ms", "--fault", "COMMIT:delay:30ms"}

// misbehaviours are what a client can do with its connection.
var misbehaviours = map[string]func(c *ircclient.Client){
	"leaves":          func(c *ircclient.Client) { c.Close() },
	"resets":          func(c *ircclient.Client) { c.Reset() },
	"half-closes":     func(c *ircclient.Client) { c.CloseWrite() },
	"has no line end": func(c *ircclient.Client) { c.Write([]byte(strings.Repeat("x", 17<<10))) },
	"floods": func(c *ircclient.Client) {
		c.Write([]byte(strings.Repeat("PING "+strings.Repeat("y", 400)+"\r\n", 200)))
	},
	"reads nothing": func(c *ircclient.Client) { c.Pause(); c.Write([]byte(strings.Repeat("STARTTLS\n", 2000))) },
	"says nonsense": func(c *ircclient.Client) { c.Write([]byte("\x00\xff\r\r\n\n:\n \n@\n" + strings.Repeat("\n", 500))) },
}

// fifty is 49 who talk, one who watches, and a daemon with two slow ircds.
type fifty struct {
	t       *testing.T
	d       *daemon
	a, b    *process
	w       *world
	watcher *ircclient.Tester
}

func newFifty(t *testing.T, channels int, aArgs, bArgs []string) *fifty {
	t.Helper()
	d, addr, a, b := pair(t, aArgs, bArgs)
	f := &fifty{t: t, d: d, a: a, b: b, w: newWorld(t, d)}
	f.w.populate(48, channels)
	f.watcher = ircclient.TestUser(t, addr, "watcher")
	f.watcher.Join("#watched")
	return f
}

// clean: what was said arrived, once and in order, and the watcher is alone.
func (f *fifty) clean() {
	f.t.Helper()
	f.w.stop()
	if counts := f.w.oracle.Settle(patience); !counts.Clean() || counts.Sent < 100 {
		f.t.Errorf("%v\n%s", counts, strings.Join(f.w.oracle.Samples(), "\n"))
	}
}

// villain is a client that misbehaves when a move comes to a step.
func (f *fifty) villain(n int) *ircclient.Client {
	f.t.Helper()
	c, err := f.w.dial(f.t.Context(), n, ircclient.Options{})
	if err != nil {
		f.t.Fatal(err)
	}
	if err := c.Register(nick("villain", n), "message-tags"); err != nil {
		f.t.Fatal(err)
	}
	if err := c.Join("#watched"); err != nil {
		f.t.Fatal(err)
	}
	return c
}

// when waits until a move is at a step, or past it.
func when(m *handoff.Move, step handoff.Step) {
	for {
		r, changed := m.Watch()
		if r.Step == step || r.State.Ended() {
			return
		}
		<-changed
	}
}

// judge looks at a move with one villain.
func (f *fifty) judge(name string, r handoff.Report) {
	f.t.Helper()
	if r.State != handoff.StateDone || r.Moved < 49 || r.Failed+r.Left > 1 || r.Attempted != r.Moved+r.Failed+r.Left {
		f.t.Fatalf("%s: %+v", name, r)
	}
	for _, n := range r.Named {
		if n.Cause == "" || !strings.HasPrefix(n.Nick, "villain") && n.Nick != "" {
			f.t.Errorf("%s: named is %+v", name, n)
		}
	}
}

// alone waits until the watcher is the last in the villains' channel: who was lost in a move must be seen to leave.
func (f *fifty) alone(name string) {
	f.t.Helper()
	await(f.t, name+": the villain's end", func() bool {
		return !strings.Contains(f.watcher.Ask("NAMES #watched"), "villain")
	})
}

func TestOneClientOfFiftyMisbehavesInADrain(t *testing.T) {
	t.Parallel() // most of its time is the ircds' delay
	f := newFifty(t, 6, slowly, slowly)
	f.w.runTalk()
	from, to, n := "a", "b", 0
	for _, step := range []handoff.Step{handoff.StepPrepare, handoff.StepFreeze, handoff.StepPull, handoff.StepPush, handoff.StepRelease, handoff.StepCommit, handoff.StepSplice} {
		for way, misbehave := range misbehaviours {
			name := fmt.Sprintf("%s at %s", way, step)
			c := f.villain(n)
			n++
			m, err := f.d.moves.Drain(handoff.Request{Pool: "main", From: from, To: to})
			if err != nil {
				t.Fatal(err)
			}
			when(m, step)
			misbehave(c)
			f.judge(name, ended(t, m))
			c.Close()
			f.alone(name)
			readyAgain(t, f.d, from)
			from, to = to, from
		}
	}
	f.clean()
}

func TestOneClientOfFiftyMisbehavesInARestart(t *testing.T) {
	t.Parallel()
	f := newFifty(t, 6, slowly, nil)
	f.w.runTalk()
	n := 0
	for _, step := range []handoff.Step{handoff.StepPull, handoff.StepRelease, handoff.StepPark, handoff.StepPush, handoff.StepCommit} {
		for way, misbehave := range misbehaviours {
			name := fmt.Sprintf("%s at %s", way, step)
			c := f.villain(n)
			n++
			m, err := f.d.moves.Hold(handoff.Request{Kind: handoff.KindRestart, Pool: "main", From: "a"})
			if err != nil {
				t.Fatal(err)
			}
			late := step == handoff.StepPush || step == handoff.StepCommit
			if !late {
				when(m, step)
				misbehave(c)
			}
			<-m.Parked()
			f.a.kill()
			f.a.start(slowly...)
			if _, err := f.d.moves.Release("main", "a", "", "test"); err != nil {
				t.Fatal(err)
			}
			if late {
				when(m, step)
				misbehave(c)
			}
			f.judge(name, ended(t, m))
			c.Close()
			f.alone(name)
			awaitUp(t, f.d, "main/a")
		}
	}
	f.clean()
}

// The same at the ircd's end: one stream of fifty is refused, dropped, closed or not made live. Everybody is alone on his channel, so that a drain
// can leave the one where he is.
func TestOneStreamOfFiftyMisbehaves(t *testing.T) {
	for fault, cause := range map[string]string{"ATTACH:refuse*1": "attach", "ATTACHED:refuse*1": "attach", "ATTACH:close*1": "", "ATTACHED:close*1": "",
		"LIVE:close*1": "no-live or detached"} {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s restart=%v", fault, restart), func(t *testing.T) {
				t.Parallel()
				args := []string{"--fault", fault}
				f := newFifty(t, 48, nil, args)
				f.w.runTalk()
				f.w.talkOn(100)
				r := f.move(restart, args)
				outcome, stays := "failed", cause == "attach" && !restart
				if stays {
					outcome = "left"
				}
				switch {
				case cause == "" && (r.State != handoff.StateDone || r.Moved != 49):
					t.Fatalf("%+v", r)
				case cause != "" && (r.State != handoff.StateDone || r.Moved != 48 || len(r.Named) != 1 || r.Named[0].Outcome != outcome ||
					!strings.Contains(cause, r.Named[0].Cause)):
					t.Fatalf("%+v", r)
				}
				f.w.talkOn(100)
				gone := cause != "" && !stays && r.Named[0].Nick != "watcher"
				if gone {
					f.w.lost(r.Named[0].Nick)
				}
				f.w.stop()
				counts := f.w.oracle.Settle(patience)
				if gone {
					counts.Disconnects--
					counts.Unexpected = max(0, counts.Unexpected-1) // the ERROR line
				}
				if !counts.Clean() || counts.Sent < 100 {
					t.Errorf("%v\n%s", counts, strings.Join(f.w.oracle.Samples(), "\n"))
				}
			})
		}
	}
}

// move is a drain to b, or a restart of a with other arguments.
func (f *fifty) move(restart bool, args []string) handoff.Report {
	f.t.Helper()
	if !restart {
		return drain(f.t, f.d, "a", "b")
	}
	m, err := f.d.moves.Hold(handoff.Request{Kind: handoff.KindRestart, Pool: "main", From: "a"})
	if err != nil {
		f.t.Fatal(err)
	}
	<-m.Parked()
	f.a.kill()
	f.a.start(args...)
	if _, err := f.d.moves.Release("main", "a", "", "test"); err != nil {
		f.t.Fatal(err)
	}
	return ended(f.t, m)
}

// lost takes a client out of what the oracle expects, whose session was closed.
func (w *world) lost(nick string) {
	for i, c := range w.clients {
		if c.Nick == nick {
			w.ears[i].Leave()
		}
	}
}
