package link

import "bytes"

const (
	// maxLine is as long as a line may be: InspIRCd's own are a few kilobytes, services' burst lines likewise. Who says more speaks another protocol.
	maxLine = 64 << 10
	// maxWaiting is how much may wait to be written before the other side is read no more.
	maxWaiting = 256 << 10
)

// side is a stream and what of it has not been worked off: half a line, or what stands behind a line at which the loop has stopped.
type side struct {
	stream
	who   intro
	buf   []byte
	out   []byte // what this turn of the loop has for it
	ended bool   // received was closed
}

// take adds what has come.
func (s *side) take(b []byte) { s.buf = append(s.buf, b...) }

// line takes the next whole line, with its end; it is valid until take. ok is false if there is none yet.
func (s *side) line() (l []byte, ok bool) {
	i := bytes.IndexByte(s.buf, '\n')
	if i < 0 {
		return nil, false
	}
	l, s.buf = s.buf[:i+1:i+1], s.buf[i+1:]
	if len(s.buf) == 0 {
		s.buf = nil
	}
	return l, true
}

// tooLong reports whether the next line is longer than any may be.
func (s *side) tooLong() bool {
	i := bytes.IndexByte(s.buf[:min(len(s.buf), maxLine+1)], '\n')
	return i < 0 && len(s.buf) > maxLine
}

// full reports whether it has enough to write for now.
func (s *side) full() bool { return s.waiting() > maxWaiting }

// pass puts a line behind what this turn has for it.
func (s *side) pass(line []byte) { s.out = append(s.out, line...) }

// flush sends what the turn has gathered.
func (s *side) flush() {
	if len(s.out) > 0 {
		s.send(s.out)
		s.out = s.out[:0]
	}
	if cap(s.out) > maxWaiting {
		s.out = nil
	}
}
