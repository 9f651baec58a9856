package proxy

// What a process that comes after a crash must know of a session's part in a move lies in Slot.Move: whose move it is, and the following.
//
//	31..0  the mark of the backend whose move it is; 0: nobody has frozen the session
//	32..   heldMark

// heldMark is one of them.
type heldMark uint64

const (
	markAttached heldMark = 1 << (32 + iota) // ATTACHED was read on the stream that is attached, and nothing behind it
	markAwake                                // its client was read meanwhile
	markOverflow                             // its client could not take the rest of the old stream
)

func (s *session) marked(m heldMark) bool { return s.slot().Move&uint64(m) != 0 }

func (s *session) mark(m heldMark, on bool) {
	if on {
		s.slot().Move |= uint64(m)
	} else {
		s.slot().Move &^= uint64(m)
	}
}

// markFrozen notes whose move has frozen the session.
func (s *session) markFrozen() {
	s.slot().Move = s.slot().Move&uint64(markAttached) | uint64(s.peer.id())
}

// unmark forgets the move, but what is attached all the same.
func (s *session) unmark() { s.slot().Move &= uint64(markAttached) }
