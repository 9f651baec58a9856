package proxy

import (
	"bytes"

	"github.com/ircferry/ircferry/proxy/lines"
)

// parkedLine looks at a line of a client that is parked. Untagged PINGs are answered here, as server, and not kept; untagged PONGs are not kept
// either, since they answer an ircd that is gone; everything else is, in order. A tagged line is always kept: its label may want an answer that only
// an ircd can give.
//
// The loop asks it for what it reads from a client that has been frozen for over 10 s; before that an answer would overtake lines that
// the client fences with its PING. pongs keeps the PONGs, for an ircd that is still there.
func parkedLine(line []byte, server string, pongs bool) (answer []byte, keep bool) {
	l := lines.Parse(line)
	if l.Tagged || l.Is("PONG") {
		return nil, l.Tagged || pongs
	}
	if l.Is("PING") {
		if token, ok := pingToken(l.Params, server); ok {
			return appendPong(nil, server, token), false
		}
	}
	return nil, true
}

// pingToken is what a PONG must bring back. A PING without one, or for another server, is for an ircd to answer.
func pingToken(params []byte, server string) (token []byte, ok bool) {
	if len(params) == 0 {
		return nil, false
	}
	token, rest := lines.Param(params)
	if other, _ := lines.Param(rest); len(other) > 0 && !bytes.EqualFold(other, []byte(server)) {
		return nil, false
	}
	return token, len(token) > 0
}

func appendPong(dst []byte, server string, token []byte) []byte {
	dst = append(dst, ':')
	dst = append(dst, server...)
	dst = append(dst, " PONG "...)
	dst = append(dst, server...)
	dst = append(dst, " :"...)
	dst = append(dst, token...)
	return append(dst, "\r\n"...)
}
