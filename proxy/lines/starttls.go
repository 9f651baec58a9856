package lines

import "bytes"

var cr = []byte{'\r'}

// IsSTARTTLS reports whether a line is the command STARTTLS (IRCv3 tls), which must never reach an ircd: one that took it would begin a
// handshake in the middle of our stream.
func IsSTARTTLS(line []byte) bool { return Parse(line).Is("STARTTLS") }

// Suspect reports whether a whole line of p may be STARTTLS. It is on the way of every line, so a look at a line's first byte is nearly always
// all, and one count of the CRs: one that ends no line before its LF may hide the beginning of another.
func Suspect(p []byte) bool {
	crs := 0
	for rest := p; len(rest) > 0; {
		i := bytes.IndexByte(rest, '\n') + 1
		if i == 0 {
			if rest[len(rest)-1] == '\r' {
				crs++ // its LF is still to come
			}
			break
		}
		switch rest[0] {
		case 's', 'S', '@', ':', ' ':
			if IsSTARTTLS(rest[:i]) {
				return true
			}
		}
		if i > 1 && rest[i-2] == '\r' {
			crs++
		}
		rest = rest[i:]
	}
	return bytes.Count(p, cr) != crs
}
