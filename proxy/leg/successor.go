package leg

import (
	"fmt"

	"github.com/ircferry/ircferry/proxy/loop"
)

// State is what a process that goes on with a leg must know beside what is in the slot and its descriptor. What an edge has told comes again when the
// descriptor is watched anew.
type State struct {
	Gone    bool `json:"gone,omitempty"`     // it was open and is closed
	Deaf    bool `json:"deaf,omitempty"`     // see Deaf
	Reset   bool `json:"reset,omitempty"`    // see WasReset
	SaidBye bool `json:"said_bye,omitempty"` // close_notify was sealed
	Kept    bool `json:"kept,omitempty"`     // bytes that came with the end of a TLS handshake wait to be opened
}

// State answers it. The connect of the leg is decided.
func (l *Leg) State() State {
	return State{Gone: l.has(gone), Deaf: l.has(deaf), Reset: l.has(reset), SaidBye: l.has(saidBye), Kept: l.has(kept)}
}

// Resume makes the leg what it was in the process before, with its descriptor there; fd is -1 if it had none. Its events come under k as soon as
// the loop runs. What waits is written when the owner flushes. On an error fd stays the caller's.
func (l *Leg) Resume(lp *Loop, fd int, k loop.Key, st State) error {
	*l = New(l.Slot, l.side)
	for _, f := range [...]struct {
		on   bool
		flag flag
	}{{st.Gone, gone}, {st.Deaf, deaf}, {st.Reset, reset}, {st.SaidBye, saidBye}, {st.Kept, kept | more}} {
		if f.on {
			l.flags |= f.flag
		}
	}
	if fd < 0 {
		return nil
	}
	if err := lp.Watch(fd, k, false); err != nil {
		return fmt.Errorf("go on with a connection: %w", err)
	}
	l.fd, l.key = int32(fd), k
	return nil
}
