package link

import (
	"iter"
	"maps"
	"slices"
	"strings"
)

// Bounds of what is remembered of one end: a network of 800 servers says 4,000 such lines at most.
const (
	maxRemembered      = 4096
	maxRememberedBytes = 1 << 20
)

// memory holds the last line of each kind that an ircd takes in and never tells: what servers say of their versions (SINFO), and what a server says of the
// network as a whole (METADATA *), such as services' SASL mechanisms. No dump has these, so a replay says them again. They go with the server that said them.
type memory struct {
	lines   map[string]remembered
	order   []string // keys, in the order in which they came first
	size    int
	servers map[string]server // behind this end, by id
}

// server is one that was introduced, as far as it has to be known what goes with it.
type server struct{ name, parent string }

type remembered struct{ source, line string }

// note remembers a line if it is such a one.
func (m *memory) note(msg message, line []byte) {
	key := ""
	switch {
	case msg.is("SQUIT"):
		m.forget(msg)
		return
	case len(msg.source) == 0:
		return
	case msg.is("SERVER"):
		m.introduce(msg)
		return
	case msg.is("SINFO"):
		if p := msg.params(2); len(p) == 2 {
			key = "SINFO " + string(msg.source) + " " + p[0]
		}
	case msg.is("VERSION"): // SINFO version of 1202
		key = "VERSION " + string(msg.source)
	case msg.is("METADATA"):
		if p := msg.params(3); len(p) == 3 && p[0] == "*" && p[1] != markerKey {
			key = "METADATA " + p[1]
		}
	}
	if key != "" {
		m.set(key, remembered{string(msg.source), string(line)})
	}
}

// introduce remembers where a server stands.
func (m *memory) introduce(msg message) {
	sid, parent := introduced(msg), string(msg.source)
	if sid == "" || sid == parent || len(m.servers) >= maxRemembered { // Anope introduces itself with its id in front
		return
	}
	m.place(sid, server{msg.params(1)[0], parent})
}

func (m *memory) place(sid string, s server) {
	if m.servers == nil {
		m.servers = map[string]server{}
	}
	m.servers[sid] = s
}

// forget drops a server that has split, with all behind it: what these have said is true of nobody any more, and would take the room of others.
func (m *memory) forget(msg message) {
	p := msg.params(1)
	if len(p) == 0 {
		return
	}
	gone := map[string]bool{}
	for sid, s := range m.servers {
		if sid == p[0] || strings.EqualFold(s.name, p[0]) {
			gone[sid] = true
		}
	}
	for grown := len(gone) > 0; grown; {
		grown = false
		for sid, s := range m.servers {
			if gone[s.parent] && !gone[sid] {
				gone[sid], grown = true, true
			}
		}
	}
	maps.DeleteFunc(m.servers, func(sid string, _ server) bool { return gone[sid] })
	m.order = slices.DeleteFunc(m.order, func(key string) bool {
		r := m.lines[key]
		if !gone[r.source] {
			return false
		}
		m.size -= len(r.line)
		delete(m.lines, key)
		return true
	})
}

func (m *memory) set(key string, r remembered) {
	was, ok := m.lines[key]
	size := m.size + len(r.line) - len(was.line)
	if size > maxRememberedBytes || !ok && len(m.order) >= maxRemembered {
		return
	}
	if m.lines == nil {
		m.lines = map[string]remembered{}
	}
	if !ok {
		m.order = append(m.order, key)
	}
	m.lines[key], m.size = r, size
}

// of gives the lines whose source is one of these servers, with their ends.
func (m *memory) of(servers map[string]bool) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, key := range m.order {
			if r := m.lines[key]; servers[r.source] && !yield(r.line) {
				return
			}
		}
	}
}

// changed gives the lines of next that are not the same here.
func (m *memory) changed(next *memory) (lines []string) {
	for _, key := range next.order {
		if r := next.lines[key]; r.line != m.lines[key].line {
			lines = append(lines, r.line)
		}
	}
	return lines
}
