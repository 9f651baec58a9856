package track

import (
	"slices"
	"strings"
)

// Bounds of what a client or its ircd can make us keep. They are above what the ircds allow.
const (
	maxText     = 512 // of an away text, a realname; a longer one is cut by every ircd
	maxNick     = 128
	maxChannels = 1000
	maxList     = 1000        // entries of MONITOR and its like
	maxHalf     = 8<<10 + 512 // tags and line (IRCv3 message-tags)
	maxInterned = 4096
)

// Record is what is known of one user.
type Record struct {
	net      *Network
	nick     string
	user     string // ident as sent in USER
	real     string
	away     string // "": here
	account  string
	caps     string // capabilities in force, in order of the alphabet
	modes    uint64 // letters of user modes, see bit
	channels []member
	more     *more // nil: nothing of it
	down, up half

	flags flags
}

type flags uint8

const (
	usedPass flags = 1 << iota
	usedSASL
	usedOper
	overflow
	registered
)

// more is what few users have.
type more struct {
	asked string // the text of the last AWAY, until the ircd has answered
	lists [listKinds][]string
}

// member is a membership.
type member struct {
	channel *Channel
	status  uint8 // bits by the place in Network.prefixes
}

// List is a list that a client keeps at its ircd.
type List int

const (
	Monitor List = iota
	Watch
	Silence
	Accept
	listKinds
)

// Membership is one of a user's channels.
type Membership struct {
	Channel *Channel
	Status  string // mode letters, the highest first: "ov"
}

// New is the record of a client that has not said anything yet.
func (n *Network) New() *Record { return &Record{net: n} }

func (r *Record) Nick() string     { return r.nick }
func (r *Record) User() string     { return r.user }
func (r *Record) Realname() string { return r.real }
func (r *Record) Away() string     { return r.away }
func (r *Record) Account() string  { return r.account }

// Caps are the capabilities in force.
func (r *Record) Caps() []string { return strings.Fields(r.caps) }

// Registered reports whether 001 was seen.
func (r *Record) Registered() bool { return r.flags&registered != 0 }

// Overflow reports whether something did not fit.
func (r *Record) Overflow() bool { return r.flags&overflow != 0 }

// Secrets names what the user has logged in with and is not kept: "PASS", "SASL", "OPER".
func (r *Record) Secrets() (used []string) {
	for i, name := range [...]string{"PASS", "SASL", "OPER"} {
		if r.flags&(1<<i) != 0 {
			used = append(used, name)
		}
	}
	return used
}

// Modes are the letters of the user's modes, in the order of the alphabet, capitals first.
func (r *Record) Modes() string {
	var out []byte
	for c := byte('A'); c <= 'z'; c++ {
		if b := bit(c); b != 0 && r.modes&b != 0 {
			out = append(out, c)
		}
	}
	return string(out)
}

// Channels are the user's channels, in the order in which he came there.
func (r *Record) Channels() []Membership {
	out := make([]Membership, len(r.channels))
	for i, m := range r.channels {
		out[i] = Membership{m.channel, r.net.letters(m.status)}
	}
	return out
}

// List is one of the user's lists, in the order in which it was made.
func (r *Record) List(which List) []string {
	if r.more == nil {
		return nil
	}
	return slices.Clone(r.more.lists[which])
}

// Drop gives back what the record shares with others. It must not be used any more.
func (r *Record) Drop() {
	for len(r.channels) > 0 {
		r.leave(r.channels[0].channel.Name)
	}
}

func (r *Record) extra() *more {
	if r.more == nil {
		r.more = new(more)
	}
	return r.more
}

// at is where a channel is among the user's; -1: he is not there.
func (r *Record) at(name string) int {
	folded := r.net.fold(name)
	return slices.IndexFunc(r.channels, func(m member) bool { return m.channel.folded == folded })
}

func (r *Record) join(name string) {
	if r.at(name) >= 0 {
		return
	}
	if len(r.channels) >= maxChannels {
		r.flags |= overflow
		return
	}
	if r.channels == nil {
		r.channels = make([]member, 0, 2)
	}
	r.channels = append(r.channels, member{channel: r.net.hold(name)})
}

func (r *Record) leave(name string) {
	if i := r.at(name); i >= 0 {
		r.net.release(r.channels[i].channel)
		r.channels = slices.Delete(r.channels, i, i+1)
	}
}

// bit is the bit of a mode letter; 0: it is none.
func bit(c byte) uint64 {
	switch {
	case c >= 'A' && c <= 'Z':
		return 1 << (c - 'A')
	case c >= 'a' && c <= 'z':
		return 1 << (26 + c - 'a')
	}
	return 0
}

// cut is a copy of s of at most n bytes, so that the line that it was in is not kept by it.
func (r *Record) cut(s string, n int) string {
	if len(s) > n {
		r.flags |= overflow
		s = s[:n]
	}
	return strings.Clone(s)
}
