package proxy

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/proxy/admit"
	"github.com/ircferry/ircferry/proxy/leg"
	"github.com/ircferry/ircferry/proxy/wire"
)

// What a process that goes on with our sessions must know beside the wire arena and the descriptors. It is JSON, so that a program of another version
// passes over what it does not know; who changes the meaning of something raises CarryFormat. It holds what clients said while they registered:
// it belongs in no file and no log.

// CarryFormat is the form of Carried that this program writes and reads.
const CarryFormat = 1

// Carried is a Proxy for a successor.
type Carried struct {
	Format    int               `json:"format"`
	Listeners admit.State       `json:"listeners"`
	Tallies   []tallyState      `json:"tallies"`
	Loops     []json.RawMessage `json:"-"` // one document for each loop, to be carried beside this one: they are long
	Panics    uint64            `json:"panics"`
}

type tallyState struct {
	Listener   string            `json:"listener"`
	Accepted   uint64            `json:"accepted"`
	Ended      map[string]uint64 `json:"ended"` // by close reason
	Handshakes map[string]uint64 `json:"handshakes"`
	Records    map[string]uint64 `json:"records"`
}

// loopState is one loop's part. Its time goes on in the successor, so all times are loop time.
type loopState struct {
	Now      time.Duration  `json:"now"`
	Gen      uint32         `json:"gen"` // no place has had a higher one
	Sessions []sessionState `json:"sessions"`
	Left     []wire.SlotID  `json:"left"` // of sessions that do not go along
}

type sessionState struct {
	Slot  wire.SlotID `json:"slot"`
	Index uint32      `json:"index"`
	Gen   uint32      `json:"gen"`
	State string      `json:"state"`

	ClientFD  bool      `json:"client_fd,omitempty"` // there is a descriptor, the next one of all
	BackendFD bool      `json:"backend_fd,omitempty"`
	Client    leg.State `json:"client"`
	Backend   leg.State `json:"backend"`

	Token   admit.TokenState `json:"token"`
	At      string           `json:"at,omitempty"`   // the backend that has the stream, "pool/name"
	Last    string           `json:"last,omitempty"` // or had it
	Remote  netip.AddrPort   `json:"remote"`
	Local   netip.AddrPort   `json:"local"`
	Started time.Duration    `json:"started"`
	Until   time.Duration    `json:"until,omitempty"`

	Dismissed bool   `json:"dismissed,omitempty"`
	MidLine   bool   `json:"mid_line,omitempty"`
	Securing  bool   `json:"securing,omitempty"`
	Owed      uint16 `json:"owed,omitempty"`
	ErrorAt   uint8  `json:"error_at,omitempty"` // see errorSpot: the values are part of the form
	Reason    string `json:"reason,omitempty"`
	TLSWhy    string `json:"tls_why,omitempty"`
	Pace      *int   `json:"pace,omitempty"` // what was held goes out slowly, and so much is left of it

	Opening *openingState `json:"opening,omitempty"`
	Move    *heldState    `json:"move,omitempty"`  // of one that a move holds
	Heard   *heardState   `json:"heard,omitempty"` // of one that is listened to
}

// openingState is an opening in a state that goes along.
type openingState struct {
	Since   time.Duration     `json:"since"`
	Spoke   time.Duration     `json:"spoke,omitempty"`
	Facts   *backend.TLSFacts `json:"facts,omitempty"`
	Shaken  []byte            `json:"shaken,omitempty"` // what the client has said of a TLS handshake that begins anew
	Header  admit.HeaderState `json:"header"`
	Lines   []byte            `json:"lines,omitempty"`
	Answers []byte            `json:"answers,omitempty"`
	Over    bool              `json:"over,omitempty"`
	Ended   bool              `json:"ended,omitempty"`
	Head    []byte            `json:"head,omitempty"`
	Early   []byte            `json:"early,omitempty"`
	Answer  []byte            `json:"answer,omitempty"`
	Nick    string            `json:"nick,omitempty"`
	User    string            `json:"user,omitempty"`
	Spotter uint8             `json:"spotter,omitempty"`
	Refusal []string          `json:"refusal,omitempty"`
	Quit    bool              `json:"quit,omitempty"`
	Holding bool              `json:"holding,omitempty"`
	Headed  bool              `json:"headed,omitempty"`
	Check   bool              `json:"check,omitempty"`
	Before  uint64            `json:"before,omitempty"`
	Begun   bool              `json:"begun,omitempty"`
}

// carried is the session for a successor, and its descriptors.
func (s *session) carried(c *admit.Census) (st sessionState, fds []int) {
	token := s.token()
	st = sessionState{Slot: s.slotID, Index: s.index, Gen: s.gen, State: s.state.String(), ClientFD: s.client.IsOpen(), BackendFD: s.backend.IsOpen(),
		Client: s.client.State(), Backend: s.backend.State(), Token: c.Token(&token), Remote: s.remote(), Local: s.local(),
		Started: s.started(), Until: s.deadline, Dismissed: s.has(dismissed), MidLine: s.has(midLine), Securing: s.has(securing), Owed: s.slot().Owed,
		ErrorAt: s.slot().ErrorAt, TLSWhy: s.tlsWhy().String()}
	if r := s.reason(); r != reasonNone {
		st.Reason = r.String()
	}
	st.Heard = s.heardState()
	if s.peer != nil {
		st.At = s.peer.name
	}
	st.Last = s.w.p.names.of(s.slot().Last)
	if s.has(pacing) {
		st.Pace = &s.mv.pace
	}
	if s.reg != nil {
		st.Opening = s.openingState()
	}
	if s.held() {
		st.Move = s.mv.carried()
	}
	for _, l := range [...]*leg.Leg{&s.client, &s.backend} {
		if l.IsOpen() {
			fds = append(fds, l.FD())
		}
	}
	return st, fds
}

func (s *session) openingState() *openingState {
	r := s.reg
	st := &openingState{Since: r.since, Spoke: r.spoke, Facts: r.facts, Header: r.header.State(), Lines: r.talk.lines, Answers: r.talk.answers, Over: r.talk.over,
		Ended: r.talk.ended, Head: r.head, Early: r.early, Answer: r.answer.Half(), Nick: r.nick, User: r.user, Spotter: uint8(r.spotter),
		Refusal: r.refusal, Quit: r.quit, Holding: s.has(holding), Headed: r.headed, Check: r.check, Before: r.before, Begun: r.begun}
	if r.shake != nil {
		st.Shaken = r.shake.first
	}
	return st
}

func (w *worker) resumeOpening(st *openingState) *opening {
	r := w.newOpening()
	r.spoke = st.Spoke
	r.since, r.facts, r.talk = st.Since, st.Facts, transcript{lines: st.Lines, answers: st.Answers, over: st.Over, ended: st.Ended}
	r.header.Resume(st.Header)
	r.head, r.early, r.nick, r.user, r.spotter = st.Head, st.Early, st.Nick, st.User, admit.Spotter(st.Spotter)
	r.answer.Resume(st.Answer)
	r.refusal, r.quit, r.headed, r.check, r.before, r.begun = st.Refusal, st.Quit, st.Headed, st.Check, st.Before, st.Begun
	if len(st.Shaken) > 0 {
		r.early = st.Shaken
	}
	return r
}

// carried is the counts of a listener's name.
func (t *tally) carried() tallyState {
	st := tallyState{Listener: t.listener, Accepted: t.accepted.Load(), Ended: map[string]uint64{}, Handshakes: t.handshakes.all(), Records: t.records.all()}
	for r := range t.ended {
		if n := t.ended[r].Load(); n > 0 {
			st.Ended[CloseReason(r).String()] = n
		}
	}
	return st
}

// resume makes the counts what they were. A reason that this program does not know counts with the others.
func (t *tally) resume(st tallyState) {
	t.accepted.Store(st.Accepted)
	for word, n := range st.Ended {
		r, err := parseReason(word)
		if err != nil {
			r = ReasonMoveOther
		}
		t.ended[r].Add(n)
	}
	t.handshakes.set(st.Handshakes)
	t.records.set(st.Records)
}

func parseReason(word string) (CloseReason, error) {
	for r, name := range reasonNames {
		if name == word {
			return CloseReason(r), nil
		}
	}
	return 0, fmt.Errorf("close reason %q is not known", word)
}

func parseState(word string) (State, error) {
	for s := StateHeader; s < stateOver; s++ {
		if stateNames[s] == word {
			return s, nil
		}
	}
	return 0, fmt.Errorf("session state %q is not known", word)
}
