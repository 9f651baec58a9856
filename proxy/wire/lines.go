package wire

import (
	"bytes"
	"iter"
)

// MaxLine bounds a client's line with its tags and terminator. IRCv3 allows 4,096 + 512 from a client and 8,191 + 512 from
// a server; 16 KiB leaves room for ircds that allow more.
const MaxLine = 16 << 10

// Cut is the index after the last LF of p: p[:Cut(p)] is whole lines, the rest a half line. 0 if there is no LF.
func Cut(p []byte) int { return bytes.LastIndexByte(p, '\n') + 1 }

// CountLines is the number of lines that end in p.
func CountLines(p []byte) int { return bytes.Count(p, lf) }

var lf = []byte{'\n'}

// Lines are the whole lines of p, each with its LF; a half line at the end is left out.
func Lines(p []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for {
			i := bytes.IndexByte(p, '\n') + 1
			if i == 0 || !yield(p[:i:i]) {
				return
			}
			p = p[i:]
		}
	}
}

// TrimEOL is a line without its terminator: LF or CR LF.
func TrimEOL(line []byte) []byte {
	if n := len(line); n > 0 && line[n-1] == '\n' {
		line = line[:n-1]
	}
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	return line
}

// TooLong reports whether a line is longer than MaxLine when p comes after a half line of half bytes. A half line counts as
// soon as it is too long, so that nobody can send one without end.
func TooLong(half int, p []byte) bool {
	if half+len(p) <= MaxLine { // nearly always
		return false
	}
	for {
		i := bytes.IndexByte(p, '\n') + 1
		if i == 0 {
			return half+len(p) > MaxLine
		}
		if half+i > MaxLine {
			return true
		}
		half, p = 0, p[i:]
	}
}
