package proxy

import "time"

// heldState is what a successor must know of a session that a move holds, frozen or parked: of a move that rests, so that no step is under way, and
// nothing is attached.
type heldState struct {
	From      string        `json:"from"` // the backend whose move it is, "pool/name"
	FrozenAt  time.Duration `json:"frozen_at"`
	Deadline  time.Duration `json:"deadline,omitempty"`
	Cut       uint64        `json:"cut,omitempty"`
	Cutting   bool          `json:"cutting,omitempty"`
	Server    string        `json:"server,omitempty"`
	Awaits    bool          `json:"awaits,omitempty"`
	Awake     bool          `json:"awake,omitempty"`
	WasAwake  bool          `json:"was_awake,omitempty"`
	HeldLines int           `json:"held_lines,omitempty"`
	HeldBytes int           `json:"held_bytes,omitempty"`
}

func (mv *moving) carried() *heldState {
	return &heldState{From: mv.from, FrozenAt: mv.frozenAt, Deadline: mv.deadline, Cut: mv.cut, Cutting: mv.cutting, Server: mv.server, Awaits: mv.awaits,
		Awake: mv.awake, WasAwake: mv.wasAwake, HeldLines: mv.heldLines, HeldBytes: mv.heldBytes}
}

// resumeHeld makes the session's part in its move what it was. Its state was entered.
func (s *session) resumeHeld(st *heldState) {
	mv := s.move()
	mv.from, mv.frozenAt, mv.deadline, mv.cut, mv.cutting, mv.server = st.From, st.FrozenAt, st.Deadline, st.Cut, st.Cutting, st.Server
	mv.awaits, mv.awake, mv.wasAwake, mv.heldLines, mv.heldBytes = st.Awaits, st.Awake, st.WasAwake, st.HeldLines, st.HeldBytes
	if s.parks() {
		s.keepPlace()
	}
}
