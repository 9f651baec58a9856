package link

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/internal/config"
)

// Info is a picture of one link.
type Info struct {
	Pool, Name string
	Listen     string // where it listens; "": not any more
	Dial       string // the peer's address, if it is we who connect
	From       string // the peer's address; "": not connected
	SID        string // from here on of a link that is there
	Proto      int
	Backend    string // "pool/name"
	Server     string // the ircd's name in the network
	State      State  // Down: there is none
	Since      time.Time
	Held       time.Time // since when a move holds it; zero: none does
	Kept       int64     // bytes
	Hold       int64     // the bound of Kept
	Removed    bool      // not in the configuration any more
	Protected  bool      // it outlives a crash of this process
	GivenUp    uint64    // how often a move could not hold it on
	Refused    uint64    // connections

	conf config.Link
	said string // Name as the peer writes it
}

// link is what moves know of it.
func (i Info) link() backend.Link {
	return backend.Link{Name: i.said, SID: i.SID, Proto: i.Proto, Backend: i.Backend}
}

func (i Info) key() string { return i.Pool + "/" + i.Name }

// publish shows others how it stands.
func (l *link) publish() {
	l.mu.Lock()
	defer l.mu.Unlock()
	held := time.Time{}
	if l.state.held() {
		held = l.held
	}
	l.info = Info{Pool: l.port.pool, Name: l.conf.Name, Dial: l.conf.Dial, From: l.from, SID: l.peer.who.sid, Proto: l.peer.who.proto, Backend: l.backend,
		Server: l.us.name, State: l.state, Since: l.since, Held: held, Protected: l.guard.on, Kept: l.kept.size, Hold: int64(l.conf.Hold), conf: l.conf, said: l.peer.who.name}
}

func (l *link) picture() Info {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.info
}

// Links lists what the configuration has, and what is up without being there any more, by pool and name. Of several connections of one link the one
// that is most is shown.
func (s *Set) Links() []Info {
	s.mu.Lock()
	all := map[string]Info{}
	for key, p := range s.ports {
		i := Info{Pool: p.pool, Name: p.conf.Name, Dial: p.conf.Dial, Hold: int64(p.conf.Hold), State: Down}
		if d := s.doors[p.doorKey()]; d != nil {
			i.Listen = d.Addr().String()
		}
		all[key] = i
	}
	links := slices.Clone(s.links)
	s.mu.Unlock()
	for _, l := range links {
		i := l.picture()
		was, ok := all[i.key()]
		if i.State == Down || ok && was.State != Down && was.State > i.State {
			continue
		}
		i.Listen, i.Removed = was.Listen, !ok || was.Removed
		all[i.key()] = i
	}
	infos := slices.SortedFunc(maps.Values(all), func(a, b Info) int { return cmp.Compare(a.key(), b.key()) })
	for n := range infos {
		s.metrics.counts(&infos[n])
	}
	return infos
}
