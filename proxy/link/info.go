package link

import (
	"time"
)

// Info is a picture of one link.
type Info struct {
	Pool, Name string
	Peer       string // its address; "": not connected
	SID        string
	Proto      int
	Backend    string // "pool/name"
	Server     string // the ircd's name in the network
	State      State
	Since      time.Time // of the state
	Held       time.Time // since when a move holds it; zero: none does
	Kept       int64     // bytes
	Hold       int64     // the bound of Kept
	Removed    bool      // not in the configuration any more
}

// publish shows others how it stands.
func (l *link) publish() {
	l.mu.Lock()
	defer l.mu.Unlock()
	held := time.Time{}
	if l.state.held() {
		held = l.held
	}
	l.info = Info{Pool: l.port.pool, Name: l.conf.Name, SID: l.peer.who.sid, Proto: l.peer.who.proto, Backend: l.backend, State: l.state, Since: l.since, Held: held, Peer: l.from,
		Server: l.us.name, Kept: l.kept.size, Hold: int64(l.conf.Hold)}
}

func (l *link) picture() Info {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.info
}
