package proxy

import (
	"bytes"

	"github.com/ircferry/ircferry/proxy/wire"
)

// ircLine is the outer form of one line (RFC 1459 2.3.1, IRCv3 message-tags): what the relay must know of the few lines that it
// looks at. The parts lie in the line itself.
type ircLine struct {
	tagged bool
	source []byte // without the colon; nil if there is none
	verb   []byte
	params []byte // behind the blanks that end the verb, terminator cut off
}

// parseLine never fails: a line without a verb has an empty one. Ircds skip any number of blanks between parts, so it does too.
func parseLine(line []byte) ircLine {
	var l ircLine
	p := bytes.TrimLeft(wire.TrimEOL(line), " ")
	if len(p) > 0 && p[0] == '@' {
		l.tagged = true
		_, p = word(p)
	}
	if len(p) > 0 && p[0] == ':' {
		l.source, p = word(p[1:])
	}
	l.verb, l.params = word(p)
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

// param is the first parameter of params, and what comes after it.
func param(params []byte) (first, rest []byte) {
	if len(params) > 0 && params[0] == ':' {
		return params[1:], nil
	}
	return word(params)
}

// is reports whether the verb is v, in any case; v is in capitals.
func (l ircLine) is(v string) bool { return isVerb(l.verb, v) }

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
