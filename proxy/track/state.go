package track

import (
	"bytes"
	"strings"
)

// State is a Record for another process, which goes on with the stream.
type State struct {
	Nick     string        `json:"nick"`
	User     string        `json:"user,omitempty"`
	Real     string        `json:"real,omitempty"`
	Away     string        `json:"away,omitempty"`
	Asked    string        `json:"asked,omitempty"`
	Account  string        `json:"account,omitempty"`
	Caps     string        `json:"caps,omitempty"`
	Modes    uint64        `json:"modes,omitempty"`
	Flags    uint8         `json:"flags,omitempty"`
	Channels []StateMember `json:"channels,omitempty"`
	Lists    [][]string    `json:"lists,omitempty"`
	Down     []byte        `json:"down,omitempty"` // the begin of a line, of each side
	Up       []byte        `json:"up,omitempty"`
	Skips    [2]bool       `json:"skips"` // a line of which the rest does not matter
	ISupport [5]string     `json:"isupport"`
}

// StateMember is a membership in it.
type StateMember struct {
	Name    string `json:"name"`
	Status  uint8  `json:"status,omitempty"` // bits by the place in PREFIX
	Topic   string `json:"topic,omitempty"`
	TopicBy string `json:"topic_by,omitempty"`
	TopicAt int64  `json:"topic_at,omitempty"`
	TS      int64  `json:"ts,omitempty"`
}

// State is what another process must know. What waits of a line may be the begin of a password: it belongs in no file.
func (r *Record) State() State {
	n := r.net
	st := State{Nick: r.nick, User: r.user, Real: r.real, Away: r.away, Account: r.account, Caps: r.caps, Modes: r.modes, Flags: uint8(r.flags),
		ISupport: [5]string{n.mapping, "(" + n.prefixes + ")" + n.symbols, n.lists, n.always, n.onSet}}
	for _, m := range r.channels {
		c := m.channel
		st.Channels = append(st.Channels, StateMember{c.Name, m.status, c.Topic, c.TopicBy, c.TopicAt, c.TS})
	}
	if r.more != nil {
		st.Asked, st.Lists = r.more.asked, r.more.lists[:]
	}
	for i, h := range [...]half{r.down, r.up} {
		switch to := [...]*[]byte{&st.Down, &st.Up}[i]; h.text {
		case nil:
		case &skipped:
			st.Skips[i] = true
		default:
			*to = bytes.Clone(*h.text)
		}
	}
	return st
}

// Resume is the record of a State.
func (n *Network) Resume(st State) *Record {
	n.isupport("CASEMAPPING=" + st.ISupport[0])
	n.isupport("PREFIX=" + st.ISupport[1])
	n.isupport("CHANMODES=" + strings.Join(st.ISupport[2:], ",") + ",")
	r := &Record{net: n, nick: st.Nick, user: st.User, real: st.Real, away: st.Away, account: st.Account, caps: n.intern(st.Caps), modes: st.Modes, flags: flags(st.Flags)}
	for _, m := range st.Channels {
		r.join(m.Name)
		if i := r.at(m.Name); i >= 0 {
			r.channels[i].status = m.Status
			c := r.channels[i].channel
			c.Topic, c.TopicBy, c.TopicAt, c.TS = m.Topic, m.TopicBy, m.TopicAt, m.TS
		}
	}
	if st.Asked != "" || len(st.Lists) > 0 {
		more := r.extra()
		more.asked = st.Asked
		copy(more.lists[:], st.Lists)
	}
	for i, text := range [...][]byte{st.Down, st.Up} {
		h := [...]*half{&r.down, &r.up}[i]
		switch {
		case st.Skips[i]:
			h.text = &skipped
		case len(text) > 0:
			h.text = &text
		}
	}
	return r
}
