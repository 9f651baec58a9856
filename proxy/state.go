package proxy

// State is where a session is.
//
//	                accept
//	                  |
//	    +-------------+------+
//	    v                    |
//	header --(complete)--> handshake (TLS listeners only)
//	    |                    |  taken over
//	    |                    v
//	    |                 waiting <--(refused, gate, none usable)---+
//	    |                    |  backend chosen                      |
//	    |                    v                                      |
//	    |                 dialing ----------------------------------+
//	    |                    | connected; relay only: straight on,  |
//	    |                    | or by way of backend_handshake ------+
//	    |                    v                                      |
//	    |                 opening --(ERROR code=, nothing sent)-----+
//	    |                    | OPENED
//	    |                    v
//	    |                  relay <-----(thaw)------ frozen --(park)--> parked
//	    |                    |  \-----(freeze)------>  |                 |
//	    |                    |                         | splice          | splice, reopen
//	    |                    |                         v                 v
//	    |                    |<------(LIVE)-------- splicing          reopening
//	    |                    |<------(same answers)-----------------------+
//	    v                    v
//	  (every state) -> closing -> over -> free
//
// Closing is for the last words to the client: an ERROR line and FIN, at most two seconds. A session whose client has left
// stays in relay until its backend has ended the stream, so that the ircd's QUIT is part of the ircd's state when users are moved; and
// one that is frozen or parked stays until the move lets it go, whatever becomes of its client. Over is for the rest of the turn in which a
// session ends: its place, its slot and its descriptors are given back when nobody is left who could go on with it. What a session does
// in each state is in phase_<state>.go.
type State uint8

const (
	stateFree State = iota
	StateHeader
	StateHandshake
	StateWaiting
	StateDialing
	StateBackendHandshake
	StateOpening
	StateRelay
	StateFrozen
	StateParked
	StateSplicing
	StateReopening
	StateClosing
	stateOver
	stateCount
)

var stateNames = [stateCount]string{"free", "header", "handshake", "waiting", "dialing", "backend_handshake", "opening", "relay", "frozen", "parked", "splicing", "reopening", "closing", "over"}

func (s State) String() string { return stateNames[s] }
