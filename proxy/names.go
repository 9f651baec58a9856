package proxy

import (
	"hash/fnv"
	"sync"
)

// names are those of backends, by the marks that slots have of them. A mark is a hash of the name, so that a process that comes after this one knows
// it by its own configuration. Two names with the same mark would be a session at the wrong backend after a crash: the second
// gets none, and its sessions do not come along then.
type names struct {
	mu    sync.Mutex
	known map[uint32]string
}

// mark is the mark of a name, 0 if another one has it.
func (n *names) mark(name string) uint32 {
	h := markOf(name)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.known == nil {
		n.known = map[uint32]string{}
	}
	if was, ok := n.known[h]; ok && was != name {
		return 0
	}
	n.known[h] = name
	return h
}

// of is the name with a mark, "" if there is none.
func (n *names) of(mark uint32) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.known[mark]
}

func markOf(name string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(name))
	return max(h.Sum32(), 1)
}
