package proxy

import (
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/proxy/loop"
	"github.com/ircferry/ircferry/proxy/wire"
)

// phase is what a session does in one state, with the bytes of either side, with their ends and with time. Each state has a file phase_*.go; the data
// path (relay.go) asks the phase and knows no states. A phase has no fields: what it works on is the session.
type phase interface {
	// clientRoom and backendRoom are how much of that side may be read now; 0: it stays in the kernel.
	clientRoom(s *session) int
	backendRoom(s *session) int

	// fromClient and fromBackend take bytes that were read. They are valid until the loop's next read.
	fromClient(s *session, p []byte)
	fromBackend(s *session, p []byte)

	// clientLeaving is told that the kernel has the client's end, before it is read.
	clientLeaving(s *session)
	// clientEnded: the client has ended its direction, in order. clientLeft: its descriptor is closed.
	clientEnded(s *session)
	clientLeft(s *session)

	// connected: the connect of the backend's leg is decided. backendEnded: the backend will say no more.
	connected(s *session, errno unix.Errno)
	backendEnded(s *session)

	// dismiss goes on when the client has had its last words.
	dismiss(s *session)

	// timeOver: the deadline that was set in this state is over.
	timeOver(s *session)
}

// early is the base of states in which no ircd has heard of the client, or it is gone for the session: if the client leaves, the session ends.
type early struct{}

func (early) clientRoom(*session) int        { return 0 }
func (early) backendRoom(*session) int       { return 0 }
func (early) fromClient(*session, []byte)    {}
func (early) fromBackend(*session, []byte)   {}
func (early) clientLeaving(*session)         {}
func (early) clientEnded(s *session)         { s.finish() }
func (early) clientLeft(s *session)          { s.finish() }
func (early) connected(*session, unix.Errno) {}
func (early) backendEnded(s *session)        {}
func (early) dismiss(s *session)             { s.dropBackend(); s.enter(StateClosing) }
func (early) timeOver(*session)              {}

// late is the base of states in which an ircd has the user, or had him when a move took him: if the client leaves, what it has said is still said, and
// then its end.
type late struct{ early }

func (late) clientEnded(s *session) {
	s.noteEnd(ReasonClientClosed)
	s.client.NoMore()
}

func (late) clientLeft(s *session) { s.client.NoMore() }

// phases is the table. What is not in it does nothing: a free place, a session that is over.
var phases = [stateCount]phase{
	stateFree:             nowhere{},
	StateHeader:           header{},
	StateHandshake:        shakingHands{},
	StateWaiting:          waiting{},
	StateDialing:          dialing{},
	StateBackendHandshake: backendShaking{},
	StateOpening:          awaitingOpened{},
	StateRelay:            relaying{},
	StateFrozen:           frozen{},
	StateParked:           parked{},
	StateSplicing:         splicing{},
	StateReopening:        reopening{},
	StateClosing:          closing{},
	stateOver:             nowhere{},
}

// nowhere is the phase of what is over: whoever still holds the session in this turn can do no harm with it.
type nowhere struct{ early }

func (nowhere) clientEnded(*session) {}
func (nowhere) clientLeft(*session)  {}
func (nowhere) dismiss(*session)     {}

func (s *session) phase() phase { return phases[s.state] }

// enter changes the state, and the counts by state with it.
func (s *session) enter(to State) {
	counts := &s.w.counts.states
	counts[s.state].Add(-1)
	counts[to].Add(1)
	s.state = to
	s.slot().State = uint8(to)
}

// over reports whether the session has ended: its place is given back at the end of the turn.
func (s *session) over() bool { return s.state == stateOver || s.state == stateFree }

// held reports whether a move has the session: it stays until the move lets it go, whatever its client does.
func (s *session) held() bool { return s.state == StateFrozen || s.state == StateParked }

// parks reports whether the session is parked.
func (s *session) parks() bool { return s.state == StateParked }

// relays reports whether the session relays.
func (s *session) relays() bool { return s.state == StateRelay }

// goes says whether the session, between two turns of its loop, can go along. Of those in a move only who is held comes here.
func (s *session) goes() bool {
	switch s.state {
	case StateHeader, StateWaiting, StateRelay, StateClosing, StateFrozen, StateParked:
		return true
	case StateHandshake:
		return s.reg.shake == nil || !s.reg.shake.spoke && s.reg.shake.fed == len(s.reg.shake.first)
	}
	return false
}

// inMove reports whether a move has to do with the session, other than that it holds it and is one of those that rest.
func (s *session) inMove(resting []string) bool {
	if s.mv != nil && (s.mv.batch != nil || s.mv.attached.state != attachNone) {
		return true
	}
	return s.state == StateSplicing || s.state == StateReopening || s.held() && !slices.Contains(resting, s.mv.from)
}

// unsettled reports whether the session is connecting to a backend: it goes back and waits for one again, nothing of the client was sent yet.
func (s *session) unsettled() bool {
	return s.state == StateDialing || s.state == StateBackendHandshake || s.state == StateOpening
}

// shakes reports whether the client's TLS handshake is to come, or under way.
func (s *session) shakes() bool { return s.state == StateHandshake }

// streaming reports whether the session has a stream that lives, at a backend of this name.
func (s *session) streaming(name string) bool {
	return s.peer != nil && s.peer.name == name && (s.relays() || s.state == StateFrozen) && !s.backend.Ended()
}

// event hands an event of the loop on to its side of the session.
func (s *session) event(port uint8, ev loop.Events) {
	switch port {
	case portClient:
		s.clientEvent(ev)
	case portBackend:
		s.backendEvent(ev)
	case portAttached:
		s.attachedEvent(ev)
	}
}

// anyRoom is room for a whole read.
const anyRoom = wire.StagingSize
