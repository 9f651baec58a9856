package leg

import (
	"errors"

	"github.com/ircferry/ircferry/proxy/loop"
	"github.com/ircferry/ircferry/proxy/wire"
)

// ErrKeeperBusy is a Keeper's answer when it has no room now. What it answers otherwise is that it does not keep the descriptor, for good.
var ErrKeeperBusy = errors.New("the keeper is busy")

// Keeper holds duplicates of descriptors for a process that comes after this one. No method blocks.
type Keeper interface {
	Keep(tag uint64, fd int) error
	Drop(tags ...uint64) error
}

// A tag names a descriptor for the keeper: the slot and how often it was used before, so that what is kept of a session that has ended is never taken for
// another's, and which of the session's descriptors it is. Tags with nothing in the upper half are not sessions'.
//
//	63      0: such tags are others'
//	62..32  the slot's generation
//	25..2   the slot
//	1..0    0: the client, 1 or 2: the backend's stream and one that a move has attached; which is which the slot says (wire.StreamOther)

// Tag is the tag of one of a session's descriptors.
func Tag(slot wire.SlotID, generation uint32, port uint8) uint64 {
	return uint64(generation&(1<<31-1))<<32 | uint64(slot)<<2 | uint64(port)
}

// PortOf is the number of a side's descriptor in its tag.
func PortOf(slot *wire.Slot, side Side) uint8 {
	other := uint8(0)
	if slot.Flags.Has(wire.StreamOther) {
		other = 1
	}
	switch side {
	case Backend:
		return 1 + other
	case Attached:
		return 2 - other
	}
	return 0
}

func (l *Leg) tag(lp *Loop) uint64 {
	return Tag(lp.Shard.IDOf(l.Slot), l.Slot.Generation, PortOf(l.Slot, l.side))
}

// Keep gives the leg's descriptor to the keeper, again if it has it. False: it is busy. A keeper that takes it not at all is no reason not to serve.
func (l *Leg) Keep(lp *Loop) bool { return l.fd < 0 || l.keep(lp, int(l.fd)) }

func (l *Leg) keep(lp *Loop, fd int) bool {
	return lp.Keeper == nil || !errors.Is(lp.Keeper.Keep(l.tag(lp), fd), ErrKeeperBusy)
}

// drop notes that the keeper's duplicate is to go, at the end of the turn: what is worked until then can still be put back.
func (l *Leg) drop(lp *Loop) {
	if lp.Keeper != nil {
		lp.dropped = append(lp.dropped, l.tag(lp))
	}
}

// hangUp ends both directions of a connection that is about to be closed: a duplicate of the descriptor may live for a while, and the peer is not to
// wait for it.
func (l *Leg) hangUp(lp *Loop) {
	if lp.Keeper != nil {
		loop.EndBoth(int(l.fd))
	}
}

// TurnOver takes back from the keeper what was closed.
func (lp *Loop) TurnOver() {
	if len(lp.dropped) > 0 {
		_ = lp.Keeper.Drop(lp.dropped...) // whoever comes finds them without a session, and closes them
		lp.dropped = lp.dropped[:0]
	}
}
