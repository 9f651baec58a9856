// Package lines cuts what clients and ircds say into lines, once for all who must see lines: registration, STARTTLS, parked clients. It knows
// the outer form of a line and nothing of sessions.
//
// What goes to an ircd is cut at LF and never rewritten. Inside of that a line ends at CR, LF or CR LF, as for the strictest ircds (Solanum,
// ircd-hybrid and UnrealIRCd end lines at a bare CR), so that nothing can be hidden from us behind one.
package lines

import (
	"bytes"
	"errors"

	"github.com/ircferry/ircferry/proxy/wire"
)

// ErrTooLong says that a line of the client is longer than wire.MaxLine. What came before it is not touched by that.
var ErrTooLong = errors.New("line too long")

// Framer goes through the lines of clients. One serves all sessions of a loop: what it must keep of a stream is the half line at the end of
// the stream's own queue. Only for the loop's goroutine.
type Framer struct {
	shard *wire.Shard
	text  []byte // a line that came in pieces, while somebody looks at it; zeroed after it, since it may be a password
	out   []byte // what is left of lines of which some were taken out; zeroed before the next ones
}

// NewFramer is a framer for sessions whose queues are of this shard.
func NewFramer(shard *wire.Shard) *Framer { return &Framer{shard: shard} }

// Filter goes through what a client has said, p, behind the half line that waits at the end of q, and takes the lines out that keep refuses. It
// answers what of p is to be put behind q (AppendLines): the kept lines as they were, and the half line at the end. It is valid until the next
// Filter; p stays as it is, so that it can be worked once more if this process ends meanwhile. keep gets each line once, whole, with its terminator, in whatever pieces it came. If quick, only lines that may be STARTTLS are looked at.
//
// ErrTooLong: the answer is what goes before the line that is too long. Other errors are those of the arena: the session cannot go on.
func (f *Framer) Filter(q *wire.Queue, p []byte, quick bool, keep func(line []byte) bool) ([]byte, error) {
	clear(f.out)
	f.out = f.out[:0]
	n := Bound(int(q.Half), p)
	out, err := f.filter(q, p[:n], quick, keep)
	if err == nil && n < len(p) {
		err = ErrTooLong
	}
	return out, err
}

func (f *Framer) filter(q *wire.Queue, p []byte, quick bool, keep func(line []byte) bool) ([]byte, error) {
	head := 0 // bytes of p that end the line in q
	if q.Half > 0 {
		i := bytes.IndexByte(p, '\n') + 1
		if i == 0 {
			return p, nil
		}
		kept, err := f.joined(q, p[:i], keep)
		if err != nil {
			return nil, err
		}
		if kept {
			head = i
		} else {
			p = p[i:]
		}
	}
	if quick && !Suspect(p[head:]) {
		return p, nil
	}
	cut := head + wire.Cut(p[head:])
	out := f.sift(p[:cut], head, keep)
	if len(out) == cut {
		return p, nil
	}
	f.out = append(out, p[cut:]...)
	return f.out, nil
}

// joined looks at the line that began in q and ends with tail. False: it is not in q any more, and what is to be kept of it is.
func (f *Framer) joined(q *wire.Queue, tail []byte, keep func(line []byte) bool) (bool, error) {
	f.text = append(f.shard.AppendHalf(f.text[:0], q), tail...)
	defer func() { clear(f.text) }()
	whole := len(f.text)
	left := f.sift(f.text, 0, keep)
	if len(left) == whole {
		return true, nil
	}
	if err := f.shard.DropHalf(q); err != nil {
		return false, err
	}
	return false, f.shard.AppendLines(q, left)
}

// sift takes lines out of whole ones, from an index on; what is left lies in p if that is all, else in out. Where a line in the middle of what an ircd that ends lines at LF reads as one is taken out,
// its terminator stays: what is before it must not run into what comes behind.
func (f *Framer) sift(p []byte, from int, keep func(line []byte) bool) []byte {
	kept, whole := p[:from], true
	for at := from; at < len(p); {
		line := p[at : at+end(p[at:])]
		at += len(line)
		if keep(line) {
			if whole {
				kept = p[:at]
			} else {
				kept = append(kept, line...)
			}
			continue
		}
		if whole {
			kept, whole = append(f.out[:0], kept...), false
		}
		line = line[len(wire.TrimEOL(line)):]
		if len(kept) > 0 && kept[len(kept)-1] != '\n' && line[len(line)-1] == '\n' && keep(line) {
			kept = append(kept, line...)
		}
	}
	if !whole {
		f.out = kept
	}
	return kept
}

// end is the length of the first line of p, terminator counted: CR LF, LF, or a CR alone. p ends with one.
func end(p []byte) int {
	i := bytes.IndexByte(p, '\n')
	if r := bytes.IndexByte(p[:max(i, 0)], '\r'); r >= 0 && r != i-1 {
		return r + 1
	}
	return i + 1
}

// Bound is how much of p, behind a half line of half bytes, goes before the first line that is longer than wire.MaxLine: all of it if none is. A
// half line counts as soon as it is too long, so that nobody can send one without end.
func Bound(half int, p []byte) int {
	if half+len(p) <= wire.MaxLine { // nearly always
		return len(p)
	}
	for at := 0; ; half = 0 {
		i := bytes.IndexByte(p[at:], '\n') + 1
		n := i
		if i == 0 {
			n = len(p) - at
		}
		if half+n > wire.MaxLine {
			return at
		}
		if i == 0 || at+i == len(p) {
			return len(p)
		}
		at += i
	}
}
