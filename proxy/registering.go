package proxy

import (
	"time"

	"github.com/ircferry/ircferry/proxy/admit"
	"github.com/ircferry/ircferry/proxy/lines"
	"github.com/ircferry/ircferry/proxy/wire"
)

// The registration of a session that relays already: each line is looked at, in both directions, until 001.

const (
	// userTime is how long lines are held for USER, for ircds that want WEBIRC behind it.
	userTime = 2 * time.Second
	// userRoom is how much is held for it.
	userRoom = 8 << 10
	// silentTime is how long a client that is about to be registered is silent at most.
	silentTime = 2 * time.Second
	// answerRoom is how much of a backend's half line is kept to know what it is: tags alone may be 8,191 bytes.
	answerRoom = wire.MaxLine
)

// registrationTime sets the deadline of a session that begins to relay.
func (s *session) registrationTime() {
	switch limit := s.lst().Config().Limits.Registration.D(); {
	case s.has(holding):
		s.within(userTime)
	case limit > 0:
		s.within(limit)
	default:
		s.noDeadline()
	}
}

func (s *session) registrationTimeOver() {
	if !s.has(holding) {
		s.end(ReasonRegistration, "Registration timeout")
		return
	}
	s.saidUser()
}

// waitsForUser reports whether the client's lines wait in the queue until USER was seen.
func (s *session) waitsForUser() bool { return s.has(holding) }

// registering takes client bytes of a session that is not registered yet: lines for us are answered, the others go on.
func (s *session) registering(p []byte) {
	r := s.reg
	if !r.begun {
		if p = s.firstWords(p); p == nil {
			return
		}
		defer clear(r.head[:cap(r.head)])
	}
	q := &s.slot().ToBackend
	p, err := s.w.framer.Filter(q, p, false, s.forBackend)
	s.toBackend(p)
	if s.waitsForUser() && (s.reg.user != "" || q.Whole() > userRoom) {
		s.saidUser()
	}
	s.framed(err)
}

// firstWords looks at how a client begins, and keeps what may be the beginning of a PROXY header that it must not send. It answers what is to be
// read as lines; nil: nothing yet, or the session has ended.
func (s *session) firstWords(p []byte) []byte {
	r := s.reg
	if len(r.head) == 0 && p[0] == handshakeRecord && s.client.TLS() == 0 {
		s.end(ReasonTLSOnPlaintext, notForTLS)
		return nil
	}
	if !r.headed { // one header is enough: a second one is a line for the ircd
		switch r.spotter.See(p) {
		case admit.HeaderBad:
			s.end(ReasonHeaderRefused, "PROXY header refused: this address is not trusted to send one")
			return nil
		case admit.HeaderMore:
			r.head = appendWiping(r.head, p)
			s.set(keepsBytes)
			return nil
		}
	}
	r.begun = true
	s.unset(keepsBytes)
	if len(r.head) > 0 {
		r.head = appendWiping(r.head, p)
		p = r.head
	}
	return p
}

// forBackend is asked about each line of the client. What is for us is STARTTLS; what is passed on is noted for the case that the session is opened
// anew on another ircd.
func (s *session) forBackend(line []byte) bool {
	r := s.reg
	if r == nil {
		return false // it was ended by a line before
	}
	l := lines.Parse(line)
	switch {
	case l.Is("STARTTLS"):
		s.refuseSTARTTLS()
		return false
	case l.Is("NICK"):
		nick, _ := lines.Param(l.Params)
		r.nick = string(nick[:min(len(nick), 64)])
	case l.Is("USER"):
		user, _ := lines.Param(l.Params)
		r.user = string(user[:min(len(user), 64)])
	case l.Is("QUIT"):
		r.quit = true
	}
	r.talk.said(line)
	r.spoke = s.w.loop.Now()
	s.clientSpoke()
	return true
}

// saidUser sends the WEBIRC line, and what has waited for it.
func (s *session) saidUser() {
	r := s.reg
	s.unset(holding)
	s.registrationTime()
	if err := s.w.shard.Prepend(&s.slot().ToBackend, s.peer.b.WebIRC(s.facts(), r.user)); err != nil {
		s.outOfMemory(err)
		return
	}
	s.flushBackend()
}

// answered looks at what the backend says until 001, the first line of which it is known that the user is registered.
func (s *session) answered(p []byte) {
	r := s.reg
	for len(p) > 0 {
		line, rest := r.answer.Next(p, answerRoom)
		if line == nil {
			return
		}
		l := lines.Parse(line)
		if l.Is("001") || r.late && isWelcome(l) {
			s.peer.b.Welcomed()
			s.welcomed()
			return
		}
		r.noteRefusal(l, line)
		r.talk.heard(line)
		if isNumeric(l.Verb) && l.Verb[0] == '4' {
			s.awaitClient()
		}
		p = rest
	}
}

// isWelcome reports whether a line is one that an ircd says behind 001 and to nobody before.
func isWelcome(l lines.Line) bool {
	return l.Is("002") || l.Is("003") || l.Is("004") || l.Is("005") || l.Is("375") || l.Is("376") || l.Is("422")
}

// maxRefusal bounds the lines that are kept of an ircd that turns a client away: a numeric, ERROR.
const maxRefusal = 2

// noteRefusal keeps the line if it turns the client away.
func (r *opening) noteRefusal(l lines.Line, line []byte) {
	if (l.Is("ERROR") || l.Is("463") || l.Is("464") || l.Is("465") || l.Is("466")) && len(r.refusal) < maxRefusal {
		r.refusal = append(r.refusal, string(line[:min(len(line), 512)]))
	}
}

// turnedAway tells the backend of a client whose registration the ircd has ended. One who has left, or never said who it is and was told nothing,
// was not: an ircd that bans us says so before it has read a word.
func (s *session) turnedAway() {
	r := s.reg
	if r == nil || r.quit || len(r.refusal) == 0 && (r.nick == "" || r.user == "") || s.client.Gone() || s.client.Ended() || s.has(dismissed) {
		return
	}
	s.peer.b.Refused(s.remote().Addr(), r.refusal...)
}

// welcomed ends the registration: what was kept for it is zeroed, and lines are not looked at any more.
func (s *session) welcomed() {
	s.setRegistered()
	if s.relays() && !s.client.Ended() && !s.backend.Ended() && !s.has(dismissed) {
		s.noDeadline()
	}
	s.dropRegistration()
}
