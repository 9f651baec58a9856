package proxy

import (
	"bytes"

	"github.com/ircferry/ircferry/proxy/lines"
	"github.com/ircferry/ircferry/proxy/wire"
)

// transcript is what a client and its ircd have said to each other so far, while the client is not registered: with it the session
// can be opened anew on another ircd. Only the loop of the session uses it, and it lives only during registration, since a
// client's lines hold passwords: wipe it when 001 comes or the session ends.
//
// The loop calls said for each line that it forwards to the backend, and heard for each line of the backend that goes to the client.
type transcript struct {
	lines   []byte // of the client, as they were
	answers []byte // of the ircd, as verb and parameters, each ended by LF
	over    bool   // there was more than transcriptRoom of one of them
	other   bool   // the ircd has answered with more than NOTICE and CAP
}

// transcriptRoom bounds each direction: CAP, PASS, NICK, USER and a SASL exchange are under 2 KiB, a CAP LS answer under 1 KiB.
const transcriptRoom = 8 << 10

func (t *transcript) said(line []byte) {
	if !t.keeping() {
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
	if !t.keeping() || len(l.Verb) == 0 {
		return
	}
	if !l.Is("NOTICE") && !l.Is("CAP") {
		t.give(&t.other)
		return
	}
	if len(t.answers)+len(l.Verb)+len(l.Params)+2 > transcriptRoom {
		t.give(&t.over)
		return
	}
	t.answers = appendAnswer(t.answers, l)
}

// reopenable reports whether the session can be opened anew with lines: nothing was left out, and the ircd has said nothing that another
// could not take back.
func (t *transcript) reopenable() bool { return t.keeping() }

func (t *transcript) keeping() bool { return !t.over && !t.other }

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

// matcher compares what a second ircd answers with what the first has, and swallows what is equal.
func (t *transcript) matcher() answerMatcher { return answerMatcher{want: bytes.Clone(t.answers)} }

// answerMatcher is used by the loop of its session. Tags and the source are not compared: server names and times differ.
type answerMatcher struct {
	want []byte       // not answered yet, in the form of transcript.answers
	half lines.Gather // the second ircd's half line
}

// done reports whether all was answered: what comes from now on is the client's.
func (m *answerMatcher) done() bool { return len(m.want) == 0 }

// feed takes bytes of the second ircd. rest is what is behind the last answer, for the client, once done; it lies in p. It is false at the
// first answer that differs; the session cannot be opened anew then.
func (m *answerMatcher) feed(p []byte) (rest []byte, same bool) {
	for !m.done() {
		line, behind := m.half.Next(p, wire.MaxLine)
		if line == nil {
			return nil, m.half.Len() < wire.MaxLine
		}
		if p = behind; !m.take(line) {
			return nil, false
		}
	}
	return p, true
}

func (m *answerMatcher) wipe() {
	clear(m.want)
	m.want = nil
	m.half.Reset()
}

func (m *answerMatcher) take(line []byte) bool {
	l := lines.Parse(line)
	if len(l.Verb) == 0 {
		return true
	}
	want := m.want[:bytes.IndexByte(m.want, '\n')+1]
	if !bytes.Equal(appendAnswer(nil, l), want) {
		return false
	}
	m.want = m.want[len(want):]
	return true
}

func appendAnswer(dst []byte, l lines.Line) []byte {
	dst = appendWiping(dst, bytes.ToUpper(l.Verb))
	dst = appendWiping(dst, []byte{' '})
	dst = appendWiping(dst, l.Params)
	return appendWiping(dst, []byte{'\n'})
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
