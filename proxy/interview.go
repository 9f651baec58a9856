package proxy

import (
	"bytes"
	"context"
	"sync"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/proxy/lines"
)

// asking is a question under way on a session's stream.
type asking struct {
	q     backend.Question
	into  *answers
	half  []byte // of a line whose end has not come
	pass  bool   // the rest of the present line is the client's, who has its begin
	lines []string
	size  int
	ended bool // the end was reached, and the stream is cut: what is in half waits for a thaw
	late  bool // nobody waits for it any more
}

// maxAnswers bounds what a stock ircd can have us keep of its answers to one question.
const maxAnswers = 1 << 20

// answers are collected by the loops.
type answers struct {
	mu sync.Mutex
	by map[string]backend.Answered
}

func (a *answers) note(got backend.Answered) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.by[got.U] = got
}

// Interview asks on the streams of frozen sessions, in the name of their users, and answers what the ircd has said to it. What it says beside that goes to the clients.
func (p *Proxy) Interview(ctx context.Context, questions []backend.Question) []backend.Answered {
	us := make([]string, len(questions))
	by := make(map[string]backend.Question, len(questions))
	for i, q := range questions {
		us[i], by[q.U] = q.U, q
	}
	into := &answers{by: make(map[string]backend.Answered, len(questions))}
	moved := p.step(ctx, us, step{
		begin: func(b *batch, s *session) {
			u := s.id()
			l := s.known()
			switch {
			case s.state != StateFrozen:
				b.answer(backend.Moved{U: u, Cause: backend.CauseGone})
			case !s.registered():
				b.answer(backend.Moved{U: u, Cause: backend.CauseRegistration})
			case l == nil || !l.Registered():
				b.answer(backend.Moved{U: u, Cause: backend.CauseUntracked})
			case s.backend.Ended():
				b.answer(backend.Moved{U: u, Cause: backend.CauseBehind})
			default:
				b.wait(s)
				s.ask(l, by[u], into)
			}
		},
		late: backend.CauseTimeout,
		giveUp: func(s *session) {
			if l := s.known(); l != nil && l.asked != nil {
				l.asked.late = true
			}
		},
	})
	all := make([]backend.Answered, 0, len(moved))
	for _, m := range moved {
		got := into.by[m.U]
		got.U, got.Cause = m.U, m.Cause
		all = append(all, got)
	}
	return all
}

// ask writes a question behind all that the client has said. What could not be written of it goes out later, so that no line is cut.
func (s *session) ask(l *listened, q backend.Question, into *answers) {
	line := &s.slot().ToBackend
	for line.Whole() > 0 && !s.backend.Full() {
		if s.backend.OfferQueue(s.w.legs, line, line.Whole()) != nil {
			break
		}
	}
	if line.Whole() > 0 || s.backend.Waiting(s.w.legs) > 0 {
		s.took(backend.Moved{Cause: backend.CauseFull})
		return
	}
	if l.asked != nil && l.asked.late {
		s.took(backend.Moved{Cause: backend.CauseTimeout}) // what was asked before is not answered yet
		return
	}
	l.asked = &asking{q: q, into: into, pass: s.has(midLine)}
	n, err := s.backend.Offer(s.w.legs, []byte(q.Lines))
	if err == nil && n < len(q.Lines) {
		err = s.w.shard.Prepend(line, []byte(q.Lines[n:]))
	}
	if err != nil || n < len(q.Lines) {
		l.asked.late = true
		s.took(backend.Moved{Cause: backend.CauseFull})
		return
	}
	s.backend.LookAgain()
	s.pullBackend()
}

// heardAnswers takes answers out of what the ircd says.
func (s *session) heardAnswers(l *listened, p []byte) []byte {
	a := l.asked
	var client []byte
	if a.ended && (s.mv == nil || !s.mv.cutting) { // thawed behind the last answer
		l.asked = nil
		return append(a.half, p...)
	}
	for len(p) > 0 && !(a.ended && (!a.q.Last || a.late)) {
		i := bytes.IndexByte(p, '\n') + 1
		switch {
		case i == 0 && !a.pass && len(a.half)+len(p) <= answerRoom:
			a.half, p = append(a.half, p...), nil
		case i == 0: // the client has its begin, or no ircd says such a line
			client = append(append(client, a.half...), p...)
			a.half, a.pass, p = nil, true, nil
		case a.pass:
			client, a.pass, p = append(client, p[:i]...), false, p[i:]
		default:
			line := append(a.half, p[:i]...)
			a.half, p = nil, p[i:]
			if !a.take(line) {
				client = append(client, line...)
			}
		}
	}
	if a.ended {
		s.answeredAll(l)
	}
	return append(client, p...)
}

// take reports whether a line is ours.
func (a *asking) take(line []byte) bool {
	l := lines.Parse(line)
	switch {
	case a.ended:
		return false
	case l.Is("PONG") && bytes.Contains(l.Params, []byte(a.q.Token)):
		a.ended = true
		return true
	case !a.q.Answers[string(l.Verb)]:
		return false
	}
	if a.size += len(line); a.size <= maxAnswers {
		a.lines = append(a.lines, string(bytes.TrimRight(line, "\r\n")))
	}
	return true
}

// answeredAll: the end of the answers was there.
func (s *session) answeredAll(l *listened) {
	a := l.asked
	if a.into == nil {
		return
	}
	into := a.into
	a.into = nil
	if !a.q.Last || a.late || s.mv == nil {
		l.asked = nil
		if !a.late {
			into.note(backend.Answered{U: s.id(), Lines: a.lines, Out: s.slot().BackendOut, User: s.record(l)})
			s.took(backend.Moved{})
		}
		return
	}
	s.mv.cut, s.mv.cutting = s.slot().BackendOut, true
	into.note(backend.Answered{U: s.id(), Lines: a.lines, Out: s.slot().BackendOut, User: s.record(l)})
	a.lines = nil
}
