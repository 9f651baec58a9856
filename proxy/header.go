package proxy

import (
	"bytes"
	"time"
)

// headerTime is how long a PROXY header may take.
const headerTime = 5 * time.Second

// headerBytes gathers the PROXY header of a session in StateHeader. What comes behind it is the client's.
func (w *worker) headerBytes(s *session, p []byte) {
	if s.reg == nil {
		s.reg = w.newOpening()
	}
	r := s.reg
	r.half = append(r.half, p...)
	n, verdict := findHeader(r.half)
	switch verdict {
	case headerMore:
		return
	case headerNone:
		w.refuse(s, ReasonHeaderBad, "A PROXY header is required from this address")
		return
	case headerBad:
		w.refuse(s, ReasonHeaderBad, "Malformed PROXY header")
		return
	}
	h, err := parseHeader(r.half[:n])
	if err != nil {
		w.refuse(s, ReasonHeaderBad, "Malformed PROXY header")
		return
	}
	if h.source.IsValid() {
		s.client, s.local = toEndpoint(h.source), toEndpoint(h.destination)
	}
	if rest := r.half[n:]; len(rest) > 0 {
		r.early = bytes.Clone(rest)
	}
	clear(r.half)
	r.half = nil
	r.headed = true
	w.admit(s)
}
