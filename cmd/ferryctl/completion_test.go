package main

import (
	"strings"
	"testing"
)

// What a command is for is completed from the running daemon, and without one there is silence.
func TestArgumentsAreCompleted(t *testing.T) {
	d := newDaemon(t)
	d.call(t, "__complete", "drain", "").want(t, 0, []string{"main/a\tready up\n", "main/b\t"}, nil)
	d.onHold = []change{parked}
	d.call(t, "hold", "main/a", "--no-wait").want(t, 0, nil, nil)
	d.call(t, "__complete", "cancel", "").want(t, 0, []string{"m1\thold main/a "}, nil)
	for _, complete := range [][]string{{"drain", "main/a", ""}, {"cancel", "m1", ""}} {
		if a := d.call(t, append([]string{"__complete"}, complete...)...); a.code != 0 || a.out != ":4\n" {
			t.Errorf("a second argument is completed: %v", a)
		}
	}
	for _, x := range []struct{ want, args string }{
		{"b\tdrain", "drain main/a --to"},
		{"main/a\t", "show sessions --backend"},
		{"table\njson\n", "status -o"},
	} {
		d.call(t, append(append([]string{"__complete"}, strings.Fields(x.args)...), "")...).want(t, 0, []string{x.want}, nil)
	}
	a := call(t, nil, "--socket", deadSocket(t), "__complete", "drain", "")
	if a.code != 0 || a.out != ":4\n" {
		t.Errorf("without a daemon: %v", a)
	}
}
