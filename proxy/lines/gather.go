package lines

import "bytes"

// Gather puts together a line that comes in pieces, where an ircd is asked something and its answer is not for the client. The zero value is ready.
type Gather struct{ half []byte }

// Next takes bytes and answers the first line that they complete, with its LF, and what is behind it; line is nil if there is none yet. At most most
// bytes are kept of a line that is not whole: Len says how many, so that the caller can give one up that is too long. line and rest lie in p or
// in the Gather, and are valid until either is used again.
func (g *Gather) Next(p []byte, most int) (line, rest []byte) {
	i := bytes.IndexByte(p, '\n') + 1
	if i == 0 {
		g.half = append(g.half, p[:min(len(p), max(most-len(g.half), 0))]...)
		return nil, nil
	}
	if len(g.half) == 0 {
		return p[:i], p[i:]
	}
	line = append(g.half, p[:i]...)
	g.half = nil
	return line, p[i:]
}

// Len is how many bytes wait for the rest of their line.
func (g *Gather) Len() int { return len(g.half) }

// IsOther reports whether a line has begun, and not with this byte.
func (g *Gather) IsOther(first byte) bool { return len(g.half) > 0 && g.half[0] != first }

// Reset forgets and zeroes what waits.
func (g *Gather) Reset() {
	clear(g.half[:cap(g.half)])
	g.half = nil
}

// Half is what waits for the rest of its line, and Resume makes a Gather of it in another process.
func (g *Gather) Half() []byte { return g.half }

// Resume has half wait for the rest of its line.
func (g *Gather) Resume(half []byte) { g.half = half }
