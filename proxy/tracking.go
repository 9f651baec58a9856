package proxy

import (
	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/proxy/track"
)

// listened is what is known of a session whose backend can only be replayed: a record of what its stream has told, and what is being asked on it. It hangs
// on the worker and not on the session, which most have without it.
type listened struct {
	*track.Record
	gen   uint32
	facts *backend.TLSFacts // of the client's TLS, as the ircd was told
	asked *asking           // nil: nothing
	rest  []byte            // of an adopted stream, for the client
}

// listens reports whether the session's stream is listened to.
func (s *session) listens() bool { return s.peer != nil && s.peer.network != nil }

// known is what was heard on the session's stream; nil: nothing.
func (s *session) known() *listened {
	if l := s.w.listened[s.index]; l != nil && l.gen == s.gen {
		return l
	}
	return nil
}

// listen begins to listen, or goes on.
func (s *session) listen() *listened {
	l := s.known()
	if l == nil {
		if s.w.listened == nil {
			s.w.listened = make(map[uint32]*listened)
		}
		l = &listened{Record: s.peer.network.New(), gen: s.gen}
		s.w.listened[s.index] = l
	}
	if s.reg != nil && s.reg.facts != nil {
		l.facts = s.reg.facts
	}
	return l
}

// spoke takes what the client says to its ircd, or will have said to it.
func (s *session) spoke(p []byte) {
	if s.listens() {
		s.listen().FromClient(p)
	} else if l := s.known(); l != nil { // parked
		l.FromClient(p)
	}
}

// heard takes what the ircd says, and answers what of it is the client's.
func (s *session) heard(p []byte) []byte {
	l := s.listen()
	l.FromIRCd(p)
	if l.asked == nil {
		return p
	}
	return s.heardAnswers(l, p)
}

// forgetKnown is for a session that is over.
func (s *session) forgetKnown() {
	if l := s.known(); l != nil {
		l.Drop()
		delete(s.w.listened, s.index)
	}
}

// record is what is known of the user.
func (s *session) record(l *listened) backend.UserRecord {
	c := s.facts()
	c.TLS = l.facts
	u := backend.UserRecord{U: s.id(), Client: c, Nick: l.Nick(), User: l.User(), Realname: l.Realname(), Modes: l.Modes(), Away: l.Away(), Account: l.Account(), Caps: l.Caps(),
		Monitor: l.List(track.Monitor), Watch: l.List(track.Watch), Silence: l.List(track.Silence), Accept: l.List(track.Accept),
		Secrets: l.Secrets(), Overflow: l.Overflow()}
	for _, m := range l.Channels() {
		u.Channels = append(u.Channels, backend.ChannelRecord{Name: m.Channel.Name, Status: m.Status})
	}
	return u
}

// heardState is what is known of a session, for a successor. What is being asked does not go along: a move that asks does not rest.
type heardState struct {
	Record track.State       `json:"record"`
	Facts  *backend.TLSFacts `json:"facts,omitempty"`
	Rest   []byte            `json:"rest,omitempty"`
}

func (s *session) heardState() *heardState {
	l := s.known()
	if l == nil {
		return nil
	}
	return &heardState{l.State(), l.facts, l.rest}
}

// resumeHeard goes on listening. at is the backend that has, or had, the stream.
func (s *session) resumeHeard(st *heardState, at string) {
	b, ok := s.w.p.backends.Backend(at)
	if st == nil || !ok || !b.Replays() {
		return
	}
	p := s.w.peerOf(b)
	p.listen()
	if s.w.listened == nil {
		s.w.listened = make(map[uint32]*listened)
	}
	s.w.listened[s.index] = &listened{Record: p.network.Resume(st.Record), gen: s.gen, facts: st.Facts, rest: st.Rest}
}

// listen has the streams of the backend's clients listened to from now on, if that is configured.
func (p *peer) listen() {
	if p.network == nil && p.b.Replays() {
		p.network = track.NewNetwork()
	}
}
