package track

import (
	"strconv"
	"strings"
)

// Network is what the users of one ircd have in common, as far as their streams tell it.
type Network struct {
	prefixes string // mode letters of statuses, the highest first: "ov"
	symbols  string // "@+"
	lists    string // channel modes that are lists: "beI"
	always   string // that have a parameter always
	onSet    string // that have one when they are set
	mapping  string // the casemapping's name
	lower    [256]byte
	channels map[string]*Channel
	texts    map[string]string
}

// Channel is a channel as its members here know it.
type Channel struct {
	Name    string
	Topic   string
	TopicBy string // as the ircd shows it
	TopicAt int64
	TS      int64 // when it was made (329)

	folded  string
	members int
}

// NewNetwork has the modes and the casemapping of RFC 1459 until 005 tells others.
func NewNetwork() *Network {
	n := &Network{prefixes: "ov", symbols: "@+", lists: "beI", always: "k", onSet: "l", channels: make(map[string]*Channel), texts: make(map[string]string)}
	n.casemapping("rfc1459")
	return n
}

func (n *Network) casemapping(name string) {
	n.mapping = strings.Clone(name)
	for i := range n.lower {
		c := byte(i)
		if c >= 'A' && c <= 'Z' || name == "rfc1459" && c >= '[' && c <= '^' || name == "rfc1459-strict" && c >= '[' && c <= ']' {
			c += 'a' - 'A'
		}
		n.lower[i] = c
	}
}

func (n *Network) fold(s string) string {
	for i := range len(s) {
		if n.lower[s[i]] != s[i] {
			b := []byte(s)
			for i, c := range b {
				b[i] = n.lower[c]
			}
			return string(b)
		}
	}
	return s
}

func (n *Network) same(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if n.lower[a[i]] != n.lower[b[i]] {
			return false
		}
	}
	return true
}

// hold is the channel of a name, once more.
func (n *Network) hold(name string) *Channel {
	folded := n.fold(name)
	c := n.channels[folded]
	if c == nil {
		name = strings.Clone(name)
		c = &Channel{Name: name, folded: n.fold(name)}
		n.channels[c.folded] = c
	}
	c.members++
	return c
}

func (n *Network) release(c *Channel) {
	if c.members--; c.members == 0 && n.channels[c.folded] == c {
		delete(n.channels, c.folded)
	}
}

func (n *Network) channel(name string) *Channel { return n.channels[n.fold(name)] }

// intern keeps a text once for all who have it.
func (n *Network) intern(s string) string {
	if t, ok := n.texts[s]; ok {
		return t
	}
	s = strings.Clone(s)
	if len(n.texts) < maxInterned {
		n.texts[s] = s
	}
	return s
}

// isupport takes one word of 005 in.
func (n *Network) isupport(word string) {
	key, value, _ := strings.Cut(word, "=")
	switch key {
	case "CASEMAPPING":
		if len(n.channels) == 0 { // names are kept folded by the one of before
			n.casemapping(value)
		}
	case "PREFIX":
		letters, symbols, ok := strings.Cut(strings.TrimPrefix(value, "("), ")")
		if ok && len(letters) == len(symbols) && len(letters) <= 8 && letters != n.prefixes && len(n.channels) == 0 {
			n.prefixes, n.symbols = strings.Clone(letters), strings.Clone(symbols)
		}
	case "CHANMODES":
		if c := strings.Split(value, ","); len(c) >= 4 && (n.lists != c[0] || n.always != c[1] || n.onSet != c[2]) {
			n.lists, n.always, n.onSet = strings.Clone(c[0]), strings.Clone(c[1]), strings.Clone(c[2])
		}
	}
}

// letters are the statuses of the bits, the highest first.
func (n *Network) letters(status uint8) string {
	if status == 0 {
		return ""
	}
	var out []byte
	for i := range len(n.prefixes) {
		if status&(1<<i) != 0 {
			out = append(out, n.prefixes[i])
		}
	}
	return n.intern(string(out))
}

// takesParam reports whether a channel mode has a parameter, when it is set or taken away.
func (n *Network) takesParam(mode byte, set bool) bool {
	return strings.IndexByte(n.prefixes, mode) >= 0 || strings.IndexByte(n.lists, mode) >= 0 || strings.IndexByte(n.always, mode) >= 0 ||
		set && strings.IndexByte(n.onSet, mode) >= 0
}

func seconds(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}
