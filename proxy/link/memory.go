package link

import "iter"

// Bounds of what is remembered of one end: a network of 800 servers says 4,000 such lines at most.
const (
	maxRemembered      = 4096
	maxRememberedBytes = 1 << 20
)

// memory holds the last line of each kind that an ircd takes in and never tells: what servers say of their versions (SINFO), and what a server says of the
// network as a whole (METADATA *), such as services' SASL mechanisms. No dump has these, so a replay says them again.
type memory struct {
	lines map[string]remembered
	order []string // keys, in the order in which they came first
	size  int
}

type remembered struct{ source, line string }

// note remembers a line if it is such a one.
func (m *memory) note(msg message, line []byte) {
	key := ""
	switch {
	case len(msg.source) == 0:
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
