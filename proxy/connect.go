package proxy

import (
	"bytes"

	"github.com/ircferry/ircferry/proxy/wire"
)

// connected goes on with a stream that is connected.
func (w *worker) connected(s *session) {
	if s.reg.stream.TLS != nil {
		w.secureBackend(s)
		return
	}
	w.introduce(s)
}

// introduce tells the backend who the client is.
func (w *worker) introduce(s *session) {
	o := &s.reg.stream
	if len(o.Preface) > 0 && !w.sayPreface(s, o.Preface) {
		return
	}
	if s.state == StateReopening {
		w.reopenConnected(s)
		return
	}
	if o.Native {
		w.enter(s, StateOpening)
		w.within(s, openTime)
		return
	}
	s.peer.b.DialOK()
	w.opened(s)
}

// opened begins to relay. The counts begin here.
func (w *worker) opened(s *session) {
	o := &s.reg.stream
	s.reg.holding = o.HoldForUser
	o.Preface = nil
	s.slot.BackendIn, s.slot.BackendOut = 0, 0
	s.errorAt = 0
	w.enter(s, StateRelay)
	w.registrationTime(s)
	w.openKept(s)
	if s.state == StateRelay && s.reg != nil && len(s.reg.early) > 0 {
		early := s.reg.early
		s.reg.early = nil
		w.registering(s, early)
		clear(early)
	}
	if s.state == StateRelay && s.has(clientMore) {
		w.readClient(s)
	}
}

// maxFirstLine bounds the line that answers OPEN.
const maxFirstLine = 1024

// openingBytes takes the backend's first line, which is for us, and passes on what is behind it.
func (w *worker) openingBytes(s *session, p []byte) {
	r := s.reg
	line, rest, ok := r.firstLine(p)
	if !ok {
		if len(r.first) > maxFirstLine {
			w.openingLost(s)
		}
		return
	}
	if !isAnswer(line, "OPENED", w.id(s)) {
		s.peer.b.OpenRefused(errorCode(line))
		r.refused = true
		w.retry(s)
		return
	}
	s.slot.Flags |= wire.BackendStripped
	s.peer.b.DialOK()
	w.opened(s)
	if len(rest) > 0 && s.state == StateRelay {
		w.fromBackend(s, rest)
	}
}

// firstLine gathers the first line; rest is a copy of its own, because the staging buffer will be used before it is passed on.
func (r *opening) firstLine(p []byte) (line, rest []byte, ok bool) {
	i := bytes.IndexByte(p, '\n') + 1
	if i == 0 {
		r.first = append(r.first, p...)
		return nil, nil, false
	}
	line = append(r.first, p[:i]...)
	r.first = nil
	return wire.TrimEOL(line), bytes.Clone(p[i:]), true
}

// openingLost: the stream ended, or the time, before OPEN was answered.
func (w *worker) openingLost(s *session) {
	s.peer.b.OpenRefused("")
	if s.state == StateReopening {
		w.reopenRetry(s)
		return
	}
	s.reg.refused = false
	w.retry(s)
}

// isAnswer reports whether a line is "VERB u=<u>", whatever other keys it has.
func isAnswer(line []byte, verb, u string) bool {
	fields := bytes.Fields(line)
	if len(fields) < 2 || string(fields[0]) != verb {
		return false
	}
	for _, f := range fields[1:] {
		if string(f) == "u="+u {
			return true
		}
	}
	return false
}

// errorCode is the code of an "ERROR code=" line, or a word for anything else.
func errorCode(line []byte) string {
	fields := bytes.Fields(line)
	if len(fields) > 0 && string(fields[0]) == "ERROR" {
		for _, f := range fields[1:] {
			if code, ok := bytes.CutPrefix(f, []byte("code=")); ok {
				return string(code)
			}
		}
	}
	return "unexpected-answer"
}
