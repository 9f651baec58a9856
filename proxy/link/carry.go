package link

import (
	"fmt"
	"slices"
	"syscall"
	"time"
)

// What a process that goes on with our links must know beside the descriptors. It is JSON, so that a program of another version passes over what it does
// not know; who changes the meaning of something raises CarryFormat. It holds what was said and, with TLS, keys: it belongs in no file and no log.

// CarryFormat is the form of Carried that this program writes and reads.
const CarryFormat = 1

// Carried is a Set for a successor. Behind it go the descriptors of all listeners, and of each link the peer's and the ircd's.
type Carried struct {
	Format int                   `json:"format"`
	Prefix string                `json:"prefix"` // of tokens: an ircd may still answer a fence of before
	Tokens uint64                `json:"tokens"`
	Doors  []string              `json:"doors"` // see port.doorKey
	Links  []linkState           `json:"links"`
	Counts map[string]countState `json:"counts"` // by "pool/name"
}

// Descriptors is how many there are.
func (c *Carried) Descriptors() int { return len(c.Doors) + 2*len(c.Links) }

// Wipe zeroes its keys.
func (c *Carried) Wipe() {
	for _, l := range c.Links {
		clear(l.Peer.TLS)
		clear(l.Ircd.TLS)
	}
}

type countState struct {
	GivenUp uint64 `json:"given_up"`
	Refused uint64 `json:"refused"`
}

// linkState is one link in a state that goes along.
type linkState struct {
	Number  uint32      `json:"number"` // for tags of the keeper
	Pool    string      `json:"pool"`
	Name    string      `json:"name"`
	Dial    string      `json:"dial,omitempty"` // this and Hold for one that the configuration has no more
	Hold    int64       `json:"hold"`
	Backend string      `json:"backend"`
	From    string      `json:"from"`
	State   string      `json:"state"`
	Since   time.Time   `json:"since"`
	Peer    sideState   `json:"peer"`
	Ircd    sideState   `json:"ircd"`
	Us      introState  `json:"us"`
	Kept    []byte      `json:"kept,omitempty"`
	Memory  memoryState `json:"memory"`
	Own     memoryState `json:"own"`
	Fence   string      `json:"fence,omitempty"` // the token whose answer a link waits for that is fed
}

type sideState struct {
	Who    introState  `json:"who"`
	Half   []byte      `json:"half,omitempty"` // what was not worked off
	Ended  bool        `json:"ended,omitempty"`
	Broken string      `json:"broken,omitempty"` // why what comes cannot be opened
	Stream streamState `json:"stream"`
	TLS    []byte      `json:"tls,omitempty"` // see wire.ExportTLS
}

type introState struct {
	Proto int    `json:"proto,omitempty"`
	Name  string `json:"name,omitempty"`
	SID   string `json:"sid,omitempty"`
	Burst bool   `json:"burst,omitempty"`
}

func (i intro) carried() introState { return introState{i.proto, i.name, i.sid, i.burst} }

func (st introState) intro() intro { return intro{st.Proto, st.Name, st.SID, st.Burst} }

// goes reports whether a link in this state can go to another process: what a move holds is the move's.
func (s State) goes() bool { return s == Linking || s == Raw || s == Flushing }

func parseState(word string) (State, error) {
	i := slices.Index(stateNames[:], word)
	if i < 0 || !State(i).goes() {
		return 0, fmt.Errorf("no link goes on in state %q", word)
	}
	return State(i), nil
}

// described is what there is of it beside its sides.
func (l *link) described() (st linkState) {
	st = linkState{Number: l.number, Pool: l.port.pool, Name: l.conf.Name, Dial: l.conf.Dial, Hold: int64(l.conf.Hold), Backend: l.backend, From: l.from, State: l.state.String(),
		Since: l.since, Us: l.us.carried(), Kept: l.kept.all(), Memory: l.memory.carried(), Own: l.own.carried()}
	if l.state == Flushing {
		st.Fence = l.fence.token
	}
	return st
}

// carried is the link for a successor, and its sockets. It stands.
func (l *link) carried() (st linkState, sockets []syscall.Conn, err error) {
	st = l.described()
	for _, s := range [...]struct {
		side *side
		st   *sideState
	}{{l.peer, &st.Peer}, {l.ircd, &st.Ircd}} {
		var socket syscall.Conn
		if *s.st, socket, err = s.side.carried(); err != nil {
			return st, nil, fmt.Errorf("link %s: %w", l.conf.Name, err)
		}
		sockets = append(sockets, socket)
	}
	return st, sockets, nil
}

// descriptorOf is that of a socket, which keeps it.
func descriptorOf(socket syscall.Conn) (fd int, err error) {
	raw, err := socket.SyscallConn()
	if err != nil {
		return -1, err
	}
	err = raw.Control(func(n uintptr) { fd = int(n) })
	return fd, err
}

// memoryState is a memory for another process: its lines in their order, and who has been introduced.
type memoryState struct {
	Lines   []memoryLine  `json:"lines,omitempty"`
	Servers []serverState `json:"servers,omitempty"`
}

type memoryLine struct {
	Key    string `json:"key"`
	Source string `json:"source"`
	Line   []byte `json:"line"` // a server may say what is no UTF-8
}

type serverState struct {
	SID    string `json:"sid"`
	Name   string `json:"name"`
	Parent string `json:"parent"`
}

func (m *memory) carried() (st memoryState) {
	for _, key := range m.order {
		r := m.lines[key]
		st.Lines = append(st.Lines, memoryLine{key, r.source, []byte(r.line)})
	}
	for sid, s := range m.servers {
		st.Servers = append(st.Servers, serverState{sid, s.name, s.parent})
	}
	return st
}

func (m *memory) resume(st memoryState) {
	for _, l := range st.Lines {
		m.set(l.Key, remembered{l.Source, string(l.Line)})
	}
	for _, s := range st.Servers {
		m.place(s.SID, server{s.Name, s.Parent})
	}
}
