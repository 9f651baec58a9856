package proxy

import (
	"bytes"
	"time"
)

// headerTime is how long a PROXY header may take.
const headerTime = 5 * time.Second

// header waits for the PROXY header of a client whose address must send one.
type header struct{ early }

func (header) clientRoom(*session) int { return anyRoom }

// fromClient gathers the header. What comes behind it is the client's.
func (header) fromClient(s *session, p []byte) {
	s.tookFromClient(p)
	if s.reg == nil {
		s.reg = s.w.newOpening()
	}
	r := s.reg
	r.head = append(r.head, p...)
	n, verdict := findHeader(r.head)
	switch verdict {
	case headerMore:
		return
	case headerNone:
		s.refuse(ReasonHeaderBad, "A PROXY header is required from this address")
		return
	case headerBad:
		s.refuse(ReasonHeaderBad, "Malformed PROXY header")
		return
	}
	h, err := parseHeader(r.head[:n])
	if err != nil {
		s.refuse(ReasonHeaderBad, "Malformed PROXY header")
		return
	}
	if h.source.IsValid() {
		s.remote, s.local = toEndpoint(h.source), toEndpoint(h.destination)
	}
	if rest := r.head[n:]; len(rest) > 0 {
		r.early = bytes.Clone(rest)
	}
	clear(r.head)
	r.head = nil
	r.headed = true
	s.admit()
}

func (header) timeOver(s *session) { s.refuse(ReasonHeaderTimeout, "PROXY header timeout") }
