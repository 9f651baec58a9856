package loop

// Key names what an event is for: the owner's slot, the generation of that slot (so that an event for an earlier owner is known
// as stale) and a port, which is the owner's own number for one of its descriptors. Never a descriptor: those are reused at once.
type Key uint64

// MaxSlot is the highest slot that fits into a Key.
const MaxSlot = 1<<24 - 1

// MakeKey packs a key.
func MakeKey(slot, gen uint32, port uint8) Key {
	return Key(gen)<<32 | Key(slot&MaxSlot)<<8 | Key(port)
}

// Slot is the owner's slot.
func (k Key) Slot() uint32 { return uint32(k>>8) & MaxSlot }

// Gen is the generation of the slot.
func (k Key) Gen() uint32 { return uint32(k >> 32) }

// Port is the owner's number for the descriptor.
func (k Key) Port() uint8 { return uint8(k) }

// wakeKey is the loop's own eventfd.
const wakeKey = ^Key(0)

// Events says why a handler is called. The values are those of epoll.
type Events uint32

const (
	Readable  Events = 0x001
	Writable  Events = 0x004
	Broken    Events = 0x008  // error on the descriptor: the next read or write tells which
	HangUp    Events = 0x010  // both directions are over
	PeerEnded Events = 0x2000 // the peer will send no more: read on to the end
	Again     Events = 1 << 20
)
