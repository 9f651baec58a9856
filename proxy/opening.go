package proxy

import (
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/proxy/admit"
	"github.com/ircferry/ircferry/proxy/lines"
)

const (
	dialTime = 3 * time.Second // one connect: lets one lost SYN be repeated
	openTime = 5 * time.Second // from OPEN to OPENED
)

// opening is what a session has until it is registered at its backend, and what is forgotten then.
type opening struct {
	since   time.Duration // loop time when the present search for a backend began
	tries   int
	refused bool // the last try was answered with ERROR code=
	step    reopenStep
	match   answerMatcher // of a session that is opened anew
	stream  backend.Opening
	shake   *shaking          // TLS handshake under way, of the client or towards the backend
	facts   *backend.TLSFacts // of the client's TLS; nil: plaintext
	first   lines.Gather      // the backend's first line, which is not the client's

	// The registration; see registering.go.
	talk    transcript
	header  admit.HeaderReader // in StateHeader
	head    []byte             // the beginning of what may be a PROXY header and must not be
	early   []byte             // client bytes that came with the PROXY header
	answer  lines.Gather       // the backend's half line, as much as is needed to know it
	spoke   time.Duration      // loop time of the client's last line, or when it began to relay
	nick    string             // as the client asked for it
	user    string             // parameter 1 of USER
	spotter admit.Spotter
	refusal []string // lines of the backend that turn the client away
	quit    bool     // the client has said QUIT
	headed  bool     // a PROXY header was read
	check   bool     // it was about no client
	late    bool     // it was begun behind a crash: the backend's 001 may be past
	before  uint64   // of the bytes of the client, those of the header
	begun   bool     // the first bytes of the client, or behind its header, were looked at
}

// held is what waits here and not in the arena.
func (r *opening) held() int { return len(r.head) + len(r.early) + r.fed() }

func (s *session) pool() string { return s.lst().Config().Pool }

// facts is what a backend is told of the client.
func (s *session) facts() backend.Client {
	c := backend.Client{U: s.id(), Addr: s.remote(), Local: s.local()}
	if s.reg != nil {
		c.TLS = s.reg.facts
	}
	return c
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

// beginOpening makes the session's opening, if it has none yet.
func (s *session) beginOpening() {
	if s.reg == nil {
		s.reg = s.w.newOpening()
		s.set(opensHere)
	}
}

// dropRegistration zeroes what the client has said, which may be a password.
func (s *session) dropRegistration() {
	r := s.reg
	if r == nil {
		return
	}
	s.reg = nil
	s.unset(opensHere | holding | keepsBytes)
	if r.shake != nil {
		r.shake.End(errOver)
	}
	r.talk.empty()
	clear(r.head[:cap(r.head)])
	clear(r.early[:cap(r.early)])
	r.answer.Reset()
	r.match.wipe()
	if len(s.w.spare) < spareOpenings {
		s.w.spare = append(s.w.spare, r)
	}
}
