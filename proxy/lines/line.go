package lines

import (
	"bytes"

	"github.com/ircferry/ircferry/proxy/wire"
)

// Line is the outer form of one line (RFC 1459 2.3.1, IRCv3 message-tags): what the relay must know of the few lines that it
// looks at. The parts lie in the line itself.
type Line struct {
	Tagged bool
	Source []byte // without the colon; nil if there is none
	Verb   []byte
	Params []byte // behind the blanks that end the verb, terminator cut off
}

// Parse never fails: a line without a verb has an empty one. Ircds skip any number of blanks between parts, so it does too.
func Parse(line []byte) Line {
	var l Line
	p := bytes.TrimLeft(wire.TrimEOL(line), " ")
	if len(p) > 0 && p[0] == '@' {
		l.Tagged = true
		_, p = word(p)
	}
	if len(p) > 0 && p[0] == ':' {
		l.Source, p = word(p[1:])
	}
	l.Verb, l.Params = word(p)
	return l
}

// word cuts p at its first blank and skips the blanks there.
func word(p []byte) (first, rest []byte) {
	i := bytes.IndexByte(p, ' ')
	if i < 0 {
		return p, nil
	}
	return p[:i], bytes.TrimLeft(p[i:], " ")
}

// Param is the first parameter of params, and what comes after it.
func Param(params []byte) (first, rest []byte) {
	if len(params) > 0 && params[0] == ':' {
		return params[1:], nil
	}
	return word(params)
}

// Is reports whether the verb is v, in any case; v is in capitals.
func (l Line) Is(v string) bool { return isVerb(l.Verb, v) }

func isVerb(verb []byte, v string) bool {
	if len(verb) != len(v) {
		return false
	}
	for i, c := range verb {
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		if c != v[i] {
			return false
		}
	}
	return true
}
