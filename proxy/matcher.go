package proxy

import (
	"bytes"
	"slices"

	"github.com/ircferry/ircferry/proxy/lines"
	"github.com/ircferry/ircferry/proxy/wire"
)

// answerMatcher compares what a second ircd answers to a client's lines with what the first has answered, and swallows what the client knows.
//
// Answers by which the client has negotiated or proven something (binding) must come again as they were, in their order: else the client would
// believe what is not so. All others are swallowed if they are equal, in any order, and are the client's if they are not: a nick that was in use
// there and is free here, a notice with another text. At 001 and at ERROR there is nothing more to compare.
//
// It is used by the loop of its session.
type answerMatcher struct {
	want  []byte       // not answered yet, in the form of appendAnswer
	got   []byte       // was answered again, in that form
	shown []byte       // lines for the client, as they came
	half  lines.Gather // the second ircd's half line
	over  bool
}

// matcher begins a comparison.
func (t *transcript) matcher() answerMatcher { return answerMatcher{want: bytes.Clone(t.answers)} }

// done reports whether there is nothing more to compare: what comes from now on is the client's.
func (m *answerMatcher) done() bool { return m.over || len(m.want) == 0 }

// bound reports whether the client cannot go on before more was answered.
func (m *answerMatcher) bound() bool { return !m.over && len(first(m.want, isBinding)) > 0 }

// feed takes bytes of the second ircd. It is false at the first answer that the client must not be shown and that is not the one that it has; the
// session cannot be opened anew then.
func (m *answerMatcher) feed(p []byte) (same bool) {
	for !m.done() {
		line, behind := m.half.Next(p, wire.MaxLine)
		if line == nil {
			return m.half.Len() < wire.MaxLine
		}
		if p = behind; !m.take(line) {
			return false
		}
		if len(m.shown) > transcriptRoom {
			if m.bound() {
				return false
			}
			m.over = true
		}
	}
	m.shown = appendWiping(m.shown, p)
	return true
}

// end ends the comparison and answers what is the client's, the half line too.
func (m *answerMatcher) end() (rest []byte) {
	m.over = true
	if m.half.Len() > 0 {
		line, _ := m.half.Next([]byte{'\n'}, wire.MaxLine)
		m.shown = appendWiping(m.shown, line[:len(line)-1])
	}
	return m.shown
}

func (m *answerMatcher) wipe() {
	clear(m.want)
	clear(m.got)
	clear(m.shown)
	m.want, m.got, m.shown = nil, nil, nil
	m.half.Reset()
}

func (m *answerMatcher) take(line []byte) bool {
	l := lines.Parse(line)
	switch {
	case len(l.Verb) == 0:
		return true
	case l.Is("001") && m.bound():
		return false
	case l.Is("001"), l.Is("ERROR"):
		m.over = true
	default:
		answer := appendAnswer(nil, l)
		defer clear(answer)
		equal := func(a []byte) bool { return bytes.Equal(a, answer) }
		if !binding(l.Verb) {
			if m.again(first(m.want, equal)) {
				return true
			}
			break
		}
		next := first(m.want, isBinding)
		return equal(next) && m.again(next)
	}
	m.shown = appendWiping(m.shown, line)
	return true
}

// again moves an answer that lies in want to got; false: there is none.
func (m *answerMatcher) again(answer []byte) bool {
	if len(answer) == 0 {
		return false
	}
	m.got = appendWiping(m.got, answer)
	m.want = slices.Delete(m.want, len(m.want)-cap(answer), len(m.want)-cap(answer)+len(answer))
	return true
}

// first is the first of the answers that is so, with what is behind it in its capacity; nil: none is.
func first(all []byte, is func(answer []byte) bool) []byte {
	for p := all[:len(all):len(all)]; len(p) > 0; {
		n := bytes.IndexByte(p, '\n') + 1
		if is(p[:n]) {
			return p[:n]
		}
		p = p[n:]
	}
	return nil
}

// isBinding reports whether an answer is binding.
func isBinding(answer []byte) bool {
	verb, _, _ := bytes.Cut(answer, []byte{' '})
	return binding(verb)
}

// binding reports whether the client goes by answers of this verb: capabilities, and how its login went.
func binding(verb []byte) bool {
	l := lines.Line{Verb: verb}
	return l.Is("CAP") || l.Is("AUTHENTICATE") || isNumeric(verb) && verb[0] == '9' && verb[1] == '0'
}

func isNumeric(verb []byte) bool {
	return len(verb) == 3 && '0' <= verb[0] && verb[0] <= '9' && '0' <= verb[1] && verb[1] <= '9' && '0' <= verb[2] && verb[2] <= '9'
}

// appendAnswer appends a line as it is compared, ended by LF: the verb and the parameters, of a numeric not the text for people, and of those that
// tell of a login (900 to 908) the verb alone. Tags and the source are not compared: server names and times differ.
func appendAnswer(dst []byte, l lines.Line) []byte {
	dst = appendWiping(dst, bytes.ToUpper(l.Verb))
	dst = appendWiping(dst, []byte{' '})
	params := l.Params
	if isNumeric(l.Verb) {
		if params, _, _ = bytes.Cut(params, []byte(" :")); binding(l.Verb) {
			params = nil
		}
	}
	dst = appendWiping(dst, params)
	return appendWiping(dst, []byte{'\n'})
}
