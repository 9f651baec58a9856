package proxy

import (
	"bytes"

	"github.com/ircferry/ircferry/proxy/wire"
)

// parkedLines goes through whole client lines that came while the session is parked, in place. Untagged PINGs are answered here, as
// server, and taken out; untagged PONGs are taken out, since they answer an ircd that is gone; everything else is kept in order. A
// tagged line is always kept: its label may want an answer that only an ircd can give. The answers are appended to answers.
//
// The loop calls it for what it reads from a client that has been frozen for over 10 s; before that an answer would overtake lines that
// the client fences with its PING. Bytes behind the last LF must not be passed.
func parkedLines(lines []byte, server string, answers []byte) (kept, answersOut []byte) {
	kept = lines[:0]
	for line := range wire.Lines(lines) {
		l := parseLine(line)
		if !l.tagged && l.is("PONG") {
			continue
		}
		if !l.tagged && l.is("PING") {
			if token, ok := pingToken(l.params, server); ok {
				answers = appendPong(answers, server, token)
				continue
			}
		}
		kept = append(kept, line...) // never behind line, so nothing unread is written over
	}
	return kept, answers
}

// pingToken is what a PONG must bring back. A PING without one, or for another server, is for an ircd to answer.
func pingToken(params []byte, server string) (token []byte, ok bool) {
	if len(params) == 0 {
		return nil, false
	}
	token, rest := param(params)
	if other, _ := param(rest); len(other) > 0 && !bytes.EqualFold(other, []byte(server)) {
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
