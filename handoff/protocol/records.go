package protocol

import (
	"iter"
	"strings"
)

// Chan, List, User and Memb are records seen by their known keys. They are views: all keys of the Message, known or not, are kept and
// written again. Number methods return 0 for what is missing or no number; Validate tells of it.
type (
	// Chan is a channel that an exported user is on.
	Chan struct{ Message }
	// List is one entry of a list mode of a channel.
	List struct{ Message }
	// User is one registered user.
	User struct{ Message }
	// Memb is one user's membership of one channel.
	Memb struct{ Message }
)

// NewChan begins a CHAN record.
func NewChan(name string, ts int64) Chan {
	c := Chan{NewMessage(VerbChan, "n", name)}
	c.SetInt("ts", ts)
	return c
}

func (c Chan) Name() string    { return c.Get("n") }
func (c Chan) TS() int64       { return c.num("ts") }
func (c Chan) Topic() string   { return c.Get("topic") }
func (c Chan) TopicBy() string { return c.Get("tby") }
func (c Chan) TopicAt() int64  { return c.num("tat") }

// NewList makes a LIST record.
func NewList(channel, mode, mask, by string, at int64) List {
	l := List{NewMessage(VerbList, "c", channel, "m", mode, "mask", mask, "by", by)}
	l.SetInt("at", at)
	return l
}

func (l List) Channel() string { return l.Get("c") }
func (l List) Mode() string    { return l.Get("m") }
func (l List) Mask() string    { return l.Get("mask") }
func (l List) By() string      { return l.Get("by") }
func (l List) At() int64       { return l.num("at") }

// NewUser begins a USER record.
func NewUser(u, nick string) User {
	return User{NewMessage(VerbUser, "u", u, "nick", nick)}
}

func (u User) U() string       { return u.Get("u") }
func (u User) Nick() string    { return u.Get("nick") }
func (u User) Account() string { return u.Get("account") }
func (u User) Signon() int64   { return u.num("signon") }
func (u User) Idle() int64     { return u.num("idle") }

// Cut returns the byte counts since the LF of OPEN or LIVE: in, read by the ircd, and out, written by it.
func (u User) Cut() (in, out uint64, err error) {
	if in, err = u.Uint("in"); err != nil {
		return 0, 0, err
	}
	out, err = u.Uint("out")
	return in, out, err
}

// Queues returns rq, input that was read and not run, and sq, output that was not written.
func (u User) Queues() (rq, sq []byte) { return []byte(u.Get("rq")), []byte(u.Get("sq")) }

// Strip returns the record as it goes to a destination: without in, out, rq and sq, which are the coordinator's. It shares no Fields.
func (u User) Strip() User {
	s := User{Message{Verb: u.Verb, Fields: make([]Field, 0, len(u.Fields))}}
	for _, f := range u.Fields {
		switch f.Key {
		case "in", "out", "rq", "sq":
		default:
			s.Fields = append(s.Fields, f)
		}
	}
	return s
}

// NewMemb makes a MEMB record; prefixes are prefix letters, the highest first.
func NewMemb(u, channel, prefixes string) Memb {
	return Memb{NewMessage(VerbMemb, "u", u, "c", channel, "m", prefixes)}
}

func (m Memb) U() string        { return m.Get("u") }
func (m Memb) Channel() string  { return m.Get("c") }
func (m Memb) Prefixes() string { return m.Get("m") }
func (m Memb) At() int64        { return m.num("at") }

// SetMode sets a mode by its canonical name, without a parameter.
func (m *Message) SetMode(name string) { m.SetBare("m." + name) }

// SetModeParam sets a mode by its canonical name, with a parameter.
func (m *Message) SetModeParam(name, param string) { m.Set("m."+name, param) }

// Modes yields the canonical names and parameters of a CHAN's or USER's modes, in order.
func (m Message) Modes() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, f := range m.Fields {
			if name, ok := strings.CutPrefix(f.Key, "m."); ok && !yield(name, f.Value) {
				return
			}
		}
	}
}

func (m Message) num(key string) int64 {
	n, _ := m.Int(key)
	return n
}

// numbers are the keys of each record that must be decimal if they are there.
var numbers = map[string][]string{
	VerbChan: {"ts", "tat"},
	VerbList: {"at"},
	VerbUser: {"nts", "port", "signon", "idle", "awayat", "capver"},
	VerbMemb: {"at"},
	VerbLink: {"users"},
}

// names are the keys of each record that must be there and not empty.
var names = map[string][]string{
	VerbChan: {"n"},
	VerbList: {"c", "m", "mask"},
	VerbUser: {"u", "nick"},
	VerbMemb: {"u", "c"},

	VerbLink:   {"n", "sid"},
	VerbBurst:  {"l", "d"},
	VerbRemote: {"l", "id"},
}

// Validate reports what makes a record useless by itself: a name that is missing, a number that is none, a stream id that is none, text
// that would be more than its place in a line.
func Validate(m Message) error {
	want, ok := names[m.Verb]
	if !ok {
		return badRecord(m, "not a record")
	}
	for _, key := range want {
		if m.Get(key) == "" {
			return badRecord(m, m.Verb+" without "+key)
		}
	}
	for _, key := range numbers[m.Verb] {
		if _, err := m.Int(key); err != nil {
			return badRecord(m, m.Verb+" "+key+": not a number")
		}
	}
	if u, ok := m.Lookup("u"); ok && !ValidU(u) {
		return badRecord(Message{}, m.Verb+" u: not a stream id")
	}
	if m.Verb == VerbUser {
		if _, _, err := (User{m}).Cut(); err != nil {
			return badRecord(m, "USER in or out: not a count")
		}
	}
	if err := validateLink(m); err != nil {
		return err
	}
	return validateText(m)
}
