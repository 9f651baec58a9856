package proxy

import (
	"bytes"
	"time"

	"github.com/ircferry/ircferry/proxy/admit"
)

// headerTime is how long a PROXY header may take.
const headerTime = 5 * time.Second

// checkTime is how long a connection that is about no client waits until a backend hears of it. Most are checks of a balancer, and have ended by
// then.
const checkTime = 500 * time.Millisecond

// header waits for the PROXY header of a client whose address must send one.
type header struct{ early }

func (header) clientRoom(s *session) int {
	if s.has(unkept) {
		return 0
	}
	return anyRoom
}

// fromClient gathers the header. What comes behind it is the client's.
func (header) fromClient(s *session, p []byte) {
	s.tookFromClient(p)
	s.beginOpening()
	r := s.reg
	h, rest, verdict := r.header.Take(p)
	switch verdict {
	case admit.HeaderMore:
		return
	case admit.HeaderNone:
		s.refuse(ReasonHeaderBad, "A PROXY header is required from this address")
		return
	case admit.HeaderBad:
		s.refuse(ReasonHeaderBad, "Malformed PROXY header")
		return
	}
	check := h.About(s.remote())
	if h.Source.IsValid() {
		s.slot().Remote, s.slot().Local = toEndpoint(h.Source), toEndpoint(h.Destination)
	}
	if len(rest) > 0 {
		r.early = bytes.Clone(rest)
		s.set(keepsBytes)
	}
	r.header, r.headed, r.check = admit.HeaderReader{}, true, check
	r.before = s.slot().ClientIn
	if !s.has(securing) {
		r.before -= uint64(len(rest))
	}
	if check || s.letIn(s.admit()) {
		s.secure()
	}
}

// admit applies the limits, now that it is certain where the client is.
func (s *session) admit() admit.Refusal {
	t := s.token()
	defer func() { s.hold(t) }()
	return t.Admit(s.remote().Addr(), time.Now())
}

func (header) timeOver(s *session) { s.refuse(ReasonHeaderTimeout, "PROXY header timeout") }
