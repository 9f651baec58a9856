package link

import (
	"bytes"
	"fmt"
	"strconv"
)

// What is known here of InspIRCd's server protocol, spanningtree 1202, 1205 and 1206, in one file: how both ends introduce themselves, the
// fence, a PING and its answer, the marker, and how to say that a user or a server has gone. All else passes as it is.

// old1202 is the protocol of InspIRCd 2, which Debian's Atheme speaks. In its PINGs and PONGs the source stands a second time as first parameter
// (src/modules/m_spanningtree/compat.cpp of InspIRCd 3).
const old1202 = 1202

// holdable reports whether links of a protocol can be held.
func holdable(proto int) bool { return proto == old1202 || proto == 1205 || proto == 1206 }

// message is a line, taken apart as far as is needed. Its parts are the line's own bytes.
type message struct {
	source  []byte // without its colon; empty: none
	command []byte
	rest    []byte // parameters as they stand
}

// parse takes a line apart. Tags before it are skipped.
func parse(line []byte) (m message) {
	m.rest = bytes.TrimRight(line, "\r\n")
	if len(m.rest) > 0 && m.rest[0] == '@' {
		m.word()
	}
	if len(m.rest) > 0 && m.rest[0] == ':' {
		m.source = m.word()[1:]
	}
	m.command = m.word()
	return m
}

// word takes the next word off the rest.
func (m *message) word() (w []byte) {
	w, m.rest, _ = bytes.Cut(m.rest, []byte(" "))
	m.rest = bytes.TrimLeft(m.rest, " ")
	return w
}

// params are the first n parameters at most.
func (m message) params(n int) (all []string) {
	for len(m.rest) > 0 && len(all) < n {
		if m.rest[0] == ':' {
			return append(all, string(m.rest[1:]))
		}
		all = append(all, string(m.word()))
	}
	return all
}

func (m message) is(command string) bool { return string(m.command) == command }

func (m message) from(sid string) bool { return sid != "" && string(m.source) == sid }

// intro is what one end has said of itself.
type intro struct {
	proto int // the number of CAPAB START; 0: not said yet
	name  string
	sid   string // "": not introduced yet
	burst bool   // its burst is at its end
}

// hear looks for it in a line. Anope says its id before its handshake too (":00S CAPAB START 1205").
func (i *intro) hear(m message) {
	switch {
	case i.burst:
	case m.is("ENDBURST"):
		i.burst = m.from(i.sid)
	case i.sid != "":
	case m.is("CAPAB"):
		if p := m.params(2); len(p) == 2 && p[0] == "START" {
			i.proto, _ = strconv.Atoi(p[1])
		}
	case m.is("SERVER"):
		p := m.params(5) // name, password, from 1206 on no count of hops, id, description
		for _, at := range []int{2, 3} {
			if i.sid == "" && len(p) > at+1 && isSID(p[at]) {
				i.name, i.sid = p[0], p[at]
			}
		}
	}
}

// isSID reports whether a word is the id of a server: a digit, and two digits or capital letters.
func isSID(w string) bool {
	capital := func(c byte) bool { return c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' }
	return len(w) == 3 && w[0] >= '0' && w[0] <= '9' && capital(w[1]) && capital(w[2])
}

// dialect is how one link is spoken: by the peer's number, between its id and the ircd's.
type dialect struct {
	proto      int
	peer, ircd string // ids
}

// doubled is the source as it stands before the parameters of PING and PONG.
func (d dialect) doubled(source string) string {
	if d.proto > old1202 {
		return ""
	}
	return source + " "
}

// fence is a question in the peer's name whose answer says that the ircd has read all before it.
func (d dialect) fence(token string) string {
	return fmt.Sprintf(":%s PING %s%s %s\n", d.peer, d.doubled(d.peer), d.ircd, token)
}

// answer is the token of the answer to a fence in the peer's name.
func (d dialect) answer(m message) (token string, ok bool) {
	if !m.is("PONG") || !m.from(d.ircd) {
		return "", false
	}
	p := m.params(4)
	if len(p) < 2 || p[len(p)-2] != d.peer {
		return "", false
	}
	return p[len(p)-1], true
}

// pong is the answer to a PING of the peer, in the ircd's name. ok is false if m is none that the ircd itself would answer.
func (d dialect) pong(m message) (answer string, ok bool) {
	if !m.is("PING") || !m.from(d.peer) {
		return "", false
	}
	p := m.params(3)
	if d.proto <= old1202 && len(p) == 1 { // compat.cpp answers these whatever they ask for
		return fmt.Sprintf(":%s PONG %s\n", d.ircd, p[0]), true
	}
	if d.proto <= old1202 && len(p) > 0 {
		p = p[1:]
	}
	return d.reply(d.ircd, d.peer, p)
}

// ircdPong is the answer to a PING of the ircd, in the peer's name.
func (d dialect) ircdPong(m message) (answer string, ok bool) {
	if !m.is("PING") || !m.from(d.ircd) {
		return "", false
	}
	p := m.params(3)
	if d.proto <= old1202 && len(p) > 1 {
		p = p[1:]
	}
	return d.reply(d.peer, d.ircd, p)
}

// reply answers a PING of to, with parameters p, if it is for us.
func (d dialect) reply(us, to string, p []string) (answer string, ok bool) {
	if len(p) == 0 || p[0] != us {
		return "", false
	}
	answer = fmt.Sprintf(":%s PONG %s%s", us, d.doubled(us), to)
	if len(p) > 1 {
		answer += " " + p[1]
	}
	return answer + "\n", true
}

// markerKey is the key of a marker: a server that does not know it leaves it alone.
const markerKey = "ircferry"

// marker answers the transaction of a marker, of which the peer must never hear.
func (d dialect) marker(m message) (tx string, ok bool) {
	if !m.is("METADATA") || !m.from(d.ircd) {
		return "", false
	}
	p := m.params(3)
	if len(p) < 3 || p[0] != "*" || p[1] != markerKey {
		return "", false
	}
	return p[2], true
}

// quit says that a user of the ircd has gone.
func (d dialect) quit(id, reason string) string {
	return fmt.Sprintf(":%s QUIT :%s\n", id, oneLine(reason))
}

// squit says that a server has gone with all behind it.
func (d dialect) squit(sid, reason string) string {
	return fmt.Sprintf(":%s SQUIT %s :%s\n", d.ircd, sid, oneLine(reason))
}

// oneLine keeps a reason from being more than one.
func oneLine(s string) string {
	return string(bytes.Map(func(r rune) rune {
		if r == '\r' || r == '\n' || r == 0 {
			return ' '
		}
		return r
	}, []byte(s)))
}
