package proxy

import "github.com/ircferry/ircferry/proxy/lines"

// transcript is what a client and its ircd have said to each other so far, while the client is not registered: with it the session
// can be opened anew on another ircd. Only the loop of the session uses it, and it lives only during registration, since a
// client's lines hold passwords: wipe it when 001 comes or the session ends.
//
// The loop calls said for each line that it forwards to the backend, and heard for each line of the backend that goes to the client.
type transcript struct {
	lines   []byte // of the client, as they were
	answers []byte // of the ircd, in the form of appendAnswer
	over    bool   // there was more than transcriptRoom of one of them
	ended   bool   // the ircd has said ERROR
}

// transcriptRoom bounds each direction: CAP, PASS, NICK, USER and a SASL exchange are under 2 KiB, a CAP LS answer under 1 KiB.
const transcriptRoom = 8 << 10

func (t *transcript) said(line []byte) {
	if !t.keeping() || lines.Parse(line).Is("PONG") { // an answer to this ircd alone
		return
	}
	if len(t.lines)+len(line) > transcriptRoom {
		t.give(&t.over)
		return
	}
	t.lines = appendWiping(t.lines, line)
}

// heard takes one line of the backend. Blank lines say nothing. Whether it is registered by it is for the caller to see.
func (t *transcript) heard(line []byte) {
	l := lines.Parse(line)
	if !t.keeping() || len(l.Verb) == 0 || l.Is("PING") { // a second ircd asks by itself
		return
	}
	if l.Is("ERROR") {
		t.give(&t.ended)
		return
	}
	if len(t.answers)+len(l.Verb)+len(l.Params)+2 > transcriptRoom {
		t.give(&t.over)
		return
	}
	t.answers = appendAnswer(t.answers, l)
}

// reopenable reports whether the session can be opened anew with lines: nothing was left out, and the ircd is not ending it.
func (t *transcript) reopenable() bool { return t.keeping() }

func (t *transcript) keeping() bool { return !t.over && !t.ended }

// give gives the transcript up for one of the two reasons.
func (t *transcript) give(why *bool) {
	t.wipe()
	*why = true
}

// wipe zeroes and forgets what was kept.
func (t *transcript) wipe() {
	clear(t.lines[:cap(t.lines)])
	clear(t.answers[:cap(t.answers)])
	t.lines, t.answers = nil, nil
}

// empty zeroes what was kept and keeps the room, if that is of ordinary size.
func (t *transcript) empty() {
	if cap(t.lines)+cap(t.answers) > 2<<10 {
		t.wipe()
		return
	}
	clear(t.lines[:cap(t.lines)])
	clear(t.answers[:cap(t.answers)])
	t.lines, t.answers = t.lines[:0], t.answers[:0]
}

// appendWiping is append that leaves nothing behind in the array that it outgrows.
func appendWiping(dst, p []byte) []byte {
	if len(dst)+len(p) <= cap(dst) {
		return append(dst, p...)
	}
	grown := make([]byte, len(dst), max(512, 2*cap(dst), len(dst)+len(p)))
	copy(grown, dst)
	clear(dst)
	return append(grown, p...)
}
