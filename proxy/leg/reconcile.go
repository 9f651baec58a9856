package leg

import (
	"errors"
	"fmt"

	"github.com/ircferry/ircferry/proxy/loop"
	"github.com/ircferry/ircferry/proxy/wire"
)

// The counts in a slot and the kernel's, of one socket, differ by a constant, the Baseline, whenever nothing is worked. Behind a SIGKILL they may not: what
// the kernel has more of was read or written, and not counted any more.

// counted is what was taken from the kernel, and what it has taken, by our own counts.
func (l *Leg) counted(lp *Loop) (in, out uint32) {
	if id := l.TLS(); id != 0 {
		t := lp.Shard.TLS(id)
		return t.Totals.Received, t.Totals.Sent - uint32(l.Waiting(lp))
	}
	if l.side == Client {
		return uint32(l.Slot.ClientIn), uint32(l.Slot.ClientOut) - uint32(l.Slot.ToClient.Len())
	}
	return uint32(l.Slot.BackendOut), uint32(l.Slot.BackendIn)
}

func (l *Leg) baseline() (in, out *uint32) {
	b := &l.Slot.Base
	if l.side == Client {
		return &b.ClientIn, &b.ClientOut
	}
	return &b.BackendIn, &b.BackendOut
}

// Begin notes where the kernel's counts are, because our own begin, or because nobody has until now. Of what was read ahead bytes are not counted yet.
func (l *Leg) Begin(lp *Loop, ahead int) {
	if !lp.Shard.Journals() || l.fd < 0 || l.side == Attached {
		return
	}
	k := loop.Counts(int(l.fd))
	in, out := l.counted(lp)
	bin, bout := l.baseline()
	*bin, *bout = k.In-in-uint32(ahead), k.Out-out
}

// ErrUnexplained says that the kernel has given or taken bytes that nobody knows of: the connection cannot go on.
var ErrUnexplained = errors.New("the kernel's counts and ours cannot be brought together")

// Reconciled is what a socket's counts say behind a crash.
type Reconciled struct {
	Read      int  // bytes that were taken from the kernel and not counted: they are in the staging buffer, or gone
	Ahead     int  // bytes that the kernel has taken and that what waits does not explain: they are of the work that was interrupted
	Corrected bool // something was
	Dead      bool // the connection is reset, or both directions are over
	Ended     bool // our direction has ended
}

// Reconcile brings the leg's counts, and what waits, in line with the kernel's. working: the session's bytes were being worked when the process ended.
// The descriptor is there.
func (l *Leg) Reconcile(lp *Loop, working bool) (Reconciled, error) {
	k := loop.Counts(int(l.fd))
	in, out := l.counted(lp)
	bin, bout := l.baseline()
	r := Reconciled{Read: int(int32(k.In - *bin - in)), Dead: k.Dead, Ended: k.Ended}
	if l.Ended() {
		r.Read = 0 // it was said already that nothing counts any more
	}
	if k.Ended && !working { // else the work comes to it
		l.Slot.Flags |= l.sent()
	}
	if k.Dead { // whatever it did not take is nobody's
		r.Read = l.readOfDead(r.Read, working)
		return r, nil
	}
	more := int(int32(k.Out - *bout - out))
	var err error
	if id := l.TLS(); id != 0 {
		err = l.catchUp(lp, id, more)
	} else {
		r.Ahead, err = l.catchUpPlain(lp, more, working)
	}
	r.Corrected = more != 0 || r.Read != 0
	if r.Read < 0 {
		err = fmt.Errorf("%w: %d bytes less were read", ErrUnexplained, -r.Read)
	}
	return r, err
}

// readOfDead is how much was read of a connection that is over, of which the kernel does not say any more whether a FIN is among the bytes. Half a line
// that is nobody's does no harm at the ircd's side of us, since it is never sent on, and a byte that is nobody's does at the client's.
func (l *Leg) readOfDead(n int, working bool) int {
	switch {
	case n <= 1 || !working:
		return 0
	case l.side == Client || l.TLS() != 0:
		return n
	}
	return n - 1
}

// catchUp has the records that wait begin where the kernel's are over, and end where the sealed ones do.
func (l *Leg) catchUp(lp *Loop, id wire.TLSID, more int) error {
	t, q := lp.Shard.TLS(id), l.pending(lp)
	missing := int(int32(t.Totals.Sent - t.Queued)) // sealed and not queued
	if q.Len() == 0 {
		missing = -more
		if more > 0 {
			return fmt.Errorf("%w: %d bytes more than were sealed", ErrUnexplained, more)
		}
	} else {
		// more is reckoned with all of Sent that is not in the queue as taken.
		taken := more + missing
		if taken < 0 || taken > q.Len() {
			return fmt.Errorf("%w: %d bytes were taken of %d that wait", ErrUnexplained, taken, q.Len())
		}
		lp.Shard.Consume(q, taken)
	}
	if missing == 0 {
		return nil
	}
	records, ok := lp.Shard.Sealed(id, missing)
	if !ok {
		return fmt.Errorf("%w: %d bytes of records are gone", ErrUnexplained, missing)
	}
	return lp.Shard.AppendRecords(q, id, records)
}

// catchUpPlain takes what the kernel has out of what waits.
func (l *Leg) catchUpPlain(lp *Loop, more int, working bool) (ahead int, err error) {
	if more < 0 {
		if l.side == Client { // said, and not queued
			l.Slot.ClientOut -= uint64(-more)
			return 0, nil
		}
		return 0, fmt.Errorf("%w: %d bytes less were written", ErrUnexplained, -more)
	}
	if working {
		return more, nil
	}
	q := &l.Slot.ToClient
	most := q.Len()
	if l.side == Backend {
		q = &l.Slot.ToBackend
		most = q.Whole()
	}
	if more > most {
		return 0, fmt.Errorf("%w: %d bytes were written of %d that wait", ErrUnexplained, more, most)
	}
	lp.Shard.Consume(q, more)
	if l.side == Backend {
		l.Slot.BackendIn += uint64(more)
	}
	return 0, nil
}

// Taken takes bytes that the kernel has out of what waits.
func (l *Leg) Taken(lp *Loop, n int) error {
	if n == 0 || !l.IsOpen() || l.TLS() != 0 {
		return nil
	}
	_, err := l.catchUpPlain(lp, n, false)
	return err
}

// redo is the work of a session that is done once more: what the kernel has taken of its outcome is not written again, and what was sealed is not sealed
// again.
type redo struct {
	leg    [2]*Leg // the client's and the backend's
	ahead  [2]int
	sealed [2]int
}

// Redo begins it: so much of what is written next the kernel has already, and so much of what is sealed next was sealed. Redone ends it and
// answers how much was not written after all.
func (lp *Loop) Redo(client, backend *Leg, ahead, sealed [2]int) {
	lp.redo = &redo{leg: [2]*Leg{client, backend}, ahead: ahead, sealed: sealed}
}

func (lp *Loop) Redone() (left [2]int) {
	left = lp.redo.ahead
	lp.redo = nil
	return left
}

// Redoing reports whether it is under way.
func (lp *Loop) Redoing() bool { return lp.redo != nil }

func take(n *int, most int) int {
	k := min(*n, most)
	*n -= k
	return k
}

// had is how much of n bytes for the leg the kernel has.
func (r *redo) had(l *Leg, n int) int {
	for i := range r.leg {
		if r.leg[i] == l {
			return take(&r.ahead[i], n)
		}
	}
	return 0
}

// wasSealed is how much of n bytes for the leg was sealed.
func (lp *Loop) wasSealed(l *Leg, n int) int {
	if r := lp.redo; r != nil {
		for i := range r.leg {
			if r.leg[i] == l {
				return take(&r.sealed[i], n)
			}
		}
	}
	return 0
}

// Reread is a Read whose n bytes are in the staging buffer since the process before read them, Reopened one of which it had opened n bytes.
func (l *Leg) Reread(lp *Loop, n int) Got {
	id := l.TLS()
	if id == 0 {
		return Got{Data: lp.Shard.Staging()[:n], Read: n}
	}
	n = min(n, len(lp.Shard.ReadRoom(id)))
	return l.open(lp, id, n)
}

// Unworked is a copy of what Reread would work: with TLS records.
func (l *Leg) Unworked(lp *Loop, n int) []byte {
	buf := lp.Shard.Staging()
	if id := l.TLS(); id != 0 {
		buf = lp.Shard.ReadRoom(id)
	}
	return append([]byte(nil), buf[:min(n, len(buf))]...)
}

func (l *Leg) Reopened(lp *Loop, n int) Got { return Got{Data: lp.Shard.Plaintext(n)} }
