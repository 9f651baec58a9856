package proxy

import (
	"bytes"
	"time"

	"github.com/ircferry/ircferry/proxy/wire"
)

// Until 001 each line is looked at, in both directions; after it only for STARTTLS.

const (
	// userTime is how long lines are held for USER, for ircds that want WEBIRC behind it.
	userTime = 2 * time.Second
	// userRoom is how much is held for it.
	userRoom = 8 << 10
	// answerRoom is how much of a backend's half line is kept to know what it is: tags alone may be 8,191 bytes.
	answerRoom = wire.MaxLine
)

// registrationTime sets the deadline of a session that begins to relay.
func (w *worker) registrationTime(s *session) {
	switch limit := s.lst.conf.Load().Limits.Registration.D(); {
	case s.reg.holding:
		w.within(s, userTime)
	case limit > 0:
		w.within(s, limit)
	default:
		w.noDeadline(s)
	}
}

func (w *worker) registrationTimeOver(s *session) {
	if s.reg.holding {
		w.releaseHeld(s)
		if s.reg != nil && s.state == StateRelay {
			w.registrationTime(s)
		}
		return
	}
	w.end(s, ReasonRegistration, "Registration timeout")
}

// registering takes client bytes of a session that is not registered yet: lines for us are answered, the others go on.
func (w *worker) registering(s *session, p []byte) {
	r := s.reg
	verdict := headerNone
	if !r.begun && !r.headed { // one header is enough: a second one is a line for the ircd
		verdict = r.spotter.see(p)
	}
	if !r.begun && len(r.half) == 0 && p[0] == handshakeRecord && s.slot.ClientTLS == 0 {
		w.end(s, ReasonTLSOnPlaintext, notForTLS)
		return
	}
	if len(r.half) > 0 {
		p = appendWiping(r.half, p)
		r.half = nil
		defer clear(p)
	}
	switch {
	case verdict == headerBad:
		w.end(s, ReasonHeaderRefused, "PROXY header refused: this address is not trusted to send one")
		return
	case wire.TooLong(0, p):
		w.lineTooLong(s)
		return
	case verdict == headerMore:
		r.half = bytes.Clone(p)
		return
	}
	r.begun = true
	cut := wire.Cut(p)
	r.half = bytes.Clone(p[cut:])
	w.sendLines(s, w.forBackend(s, p[:cut]))
}

// forBackend looks at whole lines and takes those out, in place, that are for us. That is STARTTLS (IRCv3 tls): the ircd behind us
// would begin a handshake in the middle, so it is answered here.
func (w *worker) forBackend(s *session, lines []byte) []byte {
	kept := lines[:0]
	for line := range wire.Lines(lines) {
		l := parseLine(line)
		if l.is("STARTTLS") {
			w.saySoon(s, []byte(startTLSRefused))
			if s.state == stateFree {
				return nil
			}
			continue
		}
		w.noteLine(s, l)
		kept = append(kept, line...) // never behind line, so nothing unread is written over
	}
	return kept
}

// noteLine notes what a line of the client says of the user to be.
func (w *worker) noteLine(s *session, l ircLine) {
	switch {
	case l.is("NICK"):
		nick, _ := param(l.params)
		s.reg.nick = string(nick[:min(len(nick), 64)])
	case l.is("USER"):
		user, _ := param(l.params)
		s.reg.user = string(user[:min(len(user), 64)])
	}
}

// sendLines sends whole lines, or keeps them until USER was seen.
func (w *worker) sendLines(s *session, p []byte) {
	if len(p) == 0 || s.state == stateFree || s.has(dismissed) {
		return
	}
	r := s.reg
	r.talk.said(p)
	if !r.holding {
		w.toBackend(s, p)
		return
	}
	r.held = appendWiping(r.held, p)
	if r.user != "" || len(r.held) > userRoom {
		w.releaseHeld(s)
	}
}

// releaseHeld sends the WEBIRC line and what has waited for it.
func (w *worker) releaseHeld(s *session) {
	r := s.reg
	r.holding = false
	held := r.held
	r.held = nil
	w.registrationTime(s)
	w.toBackend(s, s.peer.b.WebIRC(w.client(s), r.user))
	if s.state != stateFree && len(held) > 0 {
		w.toBackend(s, held)
	}
	clear(held)
}

// saySoon says a line of ours to the client, between two lines of the backend.
func (w *worker) saySoon(s *session, line []byte) {
	if s.has(midLine) {
		s.reg.say = append(s.reg.say, line...)
		return
	}
	w.toClient(s, line)
}

// answered looks at what the backend says until 001, the first line of which it is known that the user is registered.
func (w *worker) answered(s *session, p []byte) {
	r := s.reg
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n') + 1
		if i == 0 {
			r.answer = append(r.answer, p[:min(len(p), answerRoom-min(len(r.answer), answerRoom))]...)
			return
		}
		line := p[:i]
		if len(r.answer) > 0 {
			line = append(r.answer, line...)
			r.answer = nil
		}
		p = p[i:]
		if parseLine(line).is("001") {
			w.welcomed(s)
			return
		}
		r.talk.heard(line)
	}
}

// welcomed ends the registration: what was kept for it is zeroed, and lines are not looked at any more.
func (w *worker) welcomed(s *session) {
	half := s.reg.half
	s.reg.half = nil
	w.setRegistered(s)
	if s.state == StateRelay && s.slot.Flags&(wire.ClientFINSeen|wire.BackendFINSeen) == 0 && !s.has(dismissed) {
		w.noDeadline(s)
	}
	w.dropRegistration(s)
	if len(half) > 0 {
		if err := w.shard.AppendLines(&s.slot.ToBackend, half); err != nil {
			w.again(s) // the arena is full: the session ends with the next line
		}
		clear(half)
	}
}

// dropRegistration zeroes what the client has said, which may be a password.
func (w *worker) dropRegistration(s *session) {
	r := s.reg
	if r == nil {
		return
	}
	s.reg = nil
	if r.shake != nil {
		r.shake.End(errOver)
	}
	r.talk.empty()
	for _, b := range [][]byte{r.half, r.held, r.early, r.answer} {
		clear(b[:cap(b)])
	}
	if len(w.spare) < spareOpenings {
		w.spare = append(w.spare, r)
	}
}

// spareOpenings bounds what a loop keeps of ended registrations. Their number rises to that of the registrations under way at a time;
// without it a thousand new clients leave a megabyte for the garbage collector, more than they cost when they are registered.
const spareOpenings = 64

// newOpening is a fresh opening. A spare one keeps its fields until here, because the handler that ended the registration may still
// look at them.
func (w *worker) newOpening() *opening {
	n := len(w.spare)
	if n == 0 {
		return &opening{}
	}
	r := w.spare[n-1]
	w.spare = w.spare[:n-1]
	*r = opening{talk: transcript{lines: r.talk.lines, answers: r.talk.answers}}
	return r
}
