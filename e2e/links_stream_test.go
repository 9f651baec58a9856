//go:build e2e

package e2e

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

var (
	marks = regexp.MustCompile(`^(@\S+ )?:\S+ METADATA \* ircferry :`)
	pongs = regexp.MustCompile(`^(@\S+ )?:\S+ PONG `)
	pings = regexp.MustCompile(`^(@\S+ )?:\S+ PING `)
)

// heard is how a link's two ends differ, as lines.
type heard struct {
	extra, missing []string // at the receiving end, against what the other has said
	reordered      bool
}

func (h heard) clean() bool { return len(h.extra)+len(h.missing) == 0 && !h.reordered }

func (h heard) String() string {
	return fmt.Sprintf("%d lines more, %d missing, reordered: %v\nmore:\n%s\nmissing:\n%s", len(h.extra), len(h.missing), h.reordered,
		strings.Join(h.extra[:min(20, len(h.extra))], "\n"), strings.Join(h.missing[:min(20, len(h.missing))], "\n"))
}

// between compares what came with what had to.
func between(came, said []string) (h heard) {
	count := make(map[string]int)
	for _, line := range said {
		count[line]++
	}
	for _, line := range came {
		if count[line] > 0 {
			count[line]--
		} else {
			h.extra = append(h.extra, line)
		}
	}
	for line, n := range count {
		for range n {
			h.missing = append(h.missing, line)
		}
	}
	h.reordered = len(h.extra)+len(h.missing) == 0 && !slices.Equal(came, said)
	return h
}

// connsOf is the connections to the ircds of one link, over all hubs, in order. Behind the first, one that has not become live is none of them.
func (n *linkNet) connsOf(name string) (conns []tapConn) {
	for _, tap := range n.behind {
		conns = append(conns, tap.of(name)...)
	}
	if n.dials != nil {
		conns = append(conns, n.dials.of(name)...)
	}
	slices.SortFunc(conns, func(a, b tapConn) int { return a.began.Compare(b.began) })
	live := conns[:min(1, len(conns))]
	for _, c := range conns[len(live):] {
		if slices.ContainsFunc(c.lines, func(l tapLine) bool { return !l.up && marks.MatchString(l.text) }) {
			live = append(live, c)
		}
	}
	return live
}

// carried is the part of a connection to an ircd that is the peer's: all of the first up to the marker at its cut, and of those after it what stands
// behind the marker that makes them live.
func carried(c tapConn, first, last bool) (lines []tapLine) {
	var at []int
	for n, l := range c.lines {
		if !l.up && marks.MatchString(l.text) {
			at = append(at, n)
		}
	}
	begin, end := 0, len(c.lines)
	if !first {
		begin = at[0] + 1
		at = at[1:]
	}
	if !last && len(at) > 0 {
		end = at[len(at)-1]
	}
	return c.lines[begin:end]
}

// streams compares what one peer got with what the ircds had for it, and the other way round: all but PINGs and PONGs, which ircferry answers and
// asks itself, is the same and in the same order. The peer is idle: what is under way counts as missing.
func (n *linkNet) streams(name string) (toPeer, toIRCd heard) {
	n.t.Helper()
	peers := n.taps[name].of(name)
	if len(peers) != 1 {
		n.t.Errorf("%s has had %d connections", name, len(peers))
		return
	}
	plain := func(lines []tapLine, up bool) (texts []string) {
		for _, l := range lines {
			if l.up == up && !pings.MatchString(l.text) && !pongs.MatchString(l.text) {
				texts = append(texts, l.text)
			}
		}
		return texts
	}
	var down, up []string
	conns := n.connsOf(name)
	for k, c := range conns {
		lines := carried(c, k == 0, k == len(conns)-1)
		down = append(down, withoutMarks(plain(lines, false))...)
		up = append(up, plain(lines, true)...)
	}
	return between(plain(peers[0].lines, false), down), between(up, plain(peers[0].lines, true))
}

// withoutMarks: a marker of a move that was taken back is never the peer's.
func withoutMarks(lines []string) []string {
	return slices.DeleteFunc(lines, marks.MatchString)
}

// quiet waits until nothing has gone through the taps for a while, so that streams are whole.
func (n *linkNet) quiet() {
	n.t.Helper()
	sizes := func() (all []int) {
		for name, tap := range n.taps {
			all = append(all, tap.count(name))
		}
		for _, tap := range n.behind {
			for name := range n.taps {
				all = append(all, tap.count(name))
			}
		}
		return all
	}
	last, since := fmt.Sprint(sizes()), time.Now()
	eventually(n.t, 10*time.Second, "the links are quiet", func() bool {
		if now := fmt.Sprint(sizes()); now != last {
			last, since = now, time.Now()
		}
		return time.Since(since) > 200*time.Millisecond
	})
}
