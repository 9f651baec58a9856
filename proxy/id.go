package proxy

import (
	"strconv"
	"strings"

	"github.com/ircferry/ircferry/proxy/loop"
)

// A stream id is the instance id, a dot, and a number in base 36: at most 32 of A-Z a-z 0-9 . - _ (handoff/protocol/HANDOFF.md).
// The number is made of the session's place (slot and loop) and of how often that place was used before, so it is never used twice
// while the instance lives, and the session is found from it without a table of ids.

// maxInstance leaves 13 characters for the largest number.
const maxInstance = 18

func (w *worker) number(s *session) uint64 {
	return (uint64(s.gen)<<24|uint64(s.index))*uint64(len(w.p.workers)) + uint64(w.index)
}

func (s *session) id() string {
	b := make([]byte, 0, 32)
	b = append(b, s.w.p.instance...)
	b = append(b, '.')
	return string(strconv.AppendUint(b, s.w.number(s), 36))
}

// find is the living session of a stream id, if it is one of this worker's.
func (w *worker) find(u string) *session {
	n, ok := w.p.parse(u)
	if !ok || int(n%uint64(len(w.p.workers))) != w.index {
		return nil
	}
	n /= uint64(len(w.p.workers))
	return w.at(loop.MakeKey(uint32(n)&loop.MaxSlot, uint32(n>>24), 0))
}

// workerOf is whose session the id would be.
func (p *Proxy) workerOf(u string) *worker {
	n, ok := p.parse(u)
	if !ok {
		return nil
	}
	return p.workers[n%uint64(len(p.workers))]
}

func (p *Proxy) parse(u string) (uint64, bool) {
	text, ok := strings.CutPrefix(u, p.instance+".")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(text, 36, 64)
	return n, err == nil
}
