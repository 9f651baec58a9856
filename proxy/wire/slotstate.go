package wire

import "fmt"

// slotStateSize is more than a slot takes as bytes, without its queues and annexes.
const slotStateSize = 128

const slotFlags = BackendStripped<<1 - 1

// ExportSlot makes bytes of a session's wire state, for ImportSlot of another shard: what the slot says, both queues, and both
// connections over TLS as with ExportTLS, whose conditions hold. The slot stays, to be freed as always, but its queues are empty
// and its connections have ended. ErrTLSEnded if one of them was exported before.
//
// Left out are Generation, which is of the place, and Base: the counters of a socket begin anew where it is made anew. So is what stands behind
// the annexes: who it belongs to tells it in its own form.
func (s *Shard) ExportSlot(id SlotID) ([]byte, error) {
	slot := s.Slot(id)
	size := 2 + slotStateSize + slot.ToBackend.Len() + slot.ToClient.Len()
	for _, annex := range [...]TLSID{slot.ClientTLS, slot.BackendTLS} {
		if annex == 0 {
			continue
		}
		t := s.TLS(annex)
		if t.Flags.Has(tlsExported) {
			return nil, fmt.Errorf("export slot: %w", ErrTLSEnded)
		}
		size += t.stateSize()
	}
	c := stateCodec{s: s, b: make([]byte, 0, size)} // never grown, which would leave keys behind
	c.begin(kindSlot)
	c.slot(slot)
	if c.err != nil {
		clear(c.b[:cap(c.b)])
		return nil, fmt.Errorf("export slot: %w", c.err)
	}
	for _, annex := range [...]TLSID{slot.ClientTLS, slot.BackendTLS} {
		if annex != 0 {
			s.giveAway(annex, s.TLS(annex))
		}
	}
	s.Clear(&slot.ToBackend)
	s.Clear(&slot.ToClient)
	return c.b, nil
}

// ImportSlot takes over what ExportSlot has given, into a slot of its own, and wipes b. On an error b is as it was: ErrFull, or
// that b is not what an export of this format can be.
func (s *Shard) ImportSlot(b []byte) (SlotID, error) {
	s.check()
	c := stateCodec{s: s, b: b, reading: true}
	c.begin(kindSlot)
	if c.err != nil {
		return 0, fmt.Errorf("import slot: %w", c.err)
	}
	id, slot, err := s.NewSlot()
	if err != nil {
		return 0, fmt.Errorf("import slot: %w", err)
	}
	c.slot(slot)
	c.end()
	if c.err != nil {
		s.FreeSlot(id)
		return 0, fmt.Errorf("import slot: %w", c.err)
	}
	clear(b)
	return id, nil
}

// slot is what follows.
//
//	8     session
//	2     flags
//	1     state, not 0
//	4*8   counters: client in, client out, backend in, backend out
//	4, n  bytes to the backend, and 4 of how many of them are a half line
//	4, n  bytes to the client, and the same
//	1     0, or 1 and the client's connection over TLS, as with kind 'T'
//	1     the backend's
func (c *stateCodec) slot(v *Slot) {
	c.u64(&v.Session)
	flags := uint16(v.Flags & slotFlags)
	c.u16(&flags)
	if c.reading {
		v.Flags = Flags(flags)
	}
	c.u8(&v.State)
	for _, n := range [...]*uint64{&v.ClientIn, &v.ClientOut, &v.BackendIn, &v.BackendOut} {
		c.u64(n)
	}
	if c.reading && c.err == nil && (v.Flags&^slotFlags != 0 || v.State == 0) {
		c.fail(errState("unknown flags, or a free slot"))
	}
	c.lines(&v.ToBackend)
	c.lines(&v.ToClient)
	c.maybeTLS(&v.ClientTLS)
	c.maybeTLS(&v.BackendTLS)
}

// lines is a queue of which the end may be a half line.
func (c *stateCodec) lines(q *Queue) {
	c.queue(q)
	half := q.Half
	c.u32(&half)
	if half > q.Bytes {
		c.fail(errState("half line longer than all"))
		return
	}
	q.Half = half
}

func (c *stateCodec) maybeTLS(id *TLSID) {
	var there uint8
	if *id != 0 {
		there = 1
	}
	c.u8(&there)
	switch there {
	case 0:
	case 1:
		c.connection(id)
	default:
		c.fail(errState("more than one connection over TLS on a side"))
	}
}
