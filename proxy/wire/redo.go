package wire

import (
	"sync/atomic"
	"unsafe"
)

// Opening and sealing are transactions, so that a process that comes after one that was killed neither loses nor repeats a record:
//
//  1. The bytes are opened or sealed into a staging buffer of their own; source and annex are untouched.
//  2. What the annex will be is in the shard's redo record that is not valid.
//  3. One atomic store makes that record the valid one. This is the commit.
//  4. The annex is changed, its Ops last, and keys are wiped from the record.
//  5. Only now the result is given out.
//
// Who ends before 3 has done nothing: a record that was sealed has not left the process, and sealing others under the same number
// shows nobody two texts under one nonce. Who ends between 3 and 4 has done it: Recover does 4. A committed record is never sealed
// again.

// redoLog is at the beginning of the shard's area in the file.
type redoLog struct {
	Commits uint64 // Records[Commits&1] is valid, if this is not 0
	_       [56]byte
	Records [2]redo
}

// redo is what one transaction makes of an annex.
type redo struct {
	TLS     TLSID
	Ops     uint32 // of the annex afterwards; before it was one less
	Dir     direction
	Updated uint8 // 1: Keys are those of the direction from now on
	Flags   TLSFlags
	Made    uint32 // bytes of the result, from the beginning of its staging buffer on
	_       [2]uint32

	Seq      uint64
	Receiver TLSReceiver // for an Open
	Totals   TLSTotals
	Keys     TLSKeys
	_        [16]byte
}

// tlsShard is what the TLS connections of a shard need in process memory. A successor needs none of it.
type tlsShard struct {
	ciphers ciphers
	room    TLSID             // whose partial record is at the beginning of the staging buffer; 0: nobody's
	updates uint64            // after so many records we update our keys
	nonce   [nonceSize]byte   // this and the next are not on the stack, because they go through an interface
	extra   [13]byte          // additional data of a TLS 1.2 record
	message [8]byte           // an alert or a KeyUpdate of ours
	step    func(name string) // a field for the tests of a process that ends between two steps
}

func (t *tlsShard) init() { t.updates = updateAfter }

func (t *tlsShard) forget(id TLSID) {
	t.ciphers.forget(id, tlsIn)
	t.ciphers.forget(id, tlsOut)
}

func (s *Shard) redoLog() *redoLog {
	return (*redoLog)(unsafe.Pointer(unsafe.SliceData(s.area(0, redoSize))))
}

// begin answers the record that is not valid, filled with the annex as it is. Its Keys are zero: who sets them wipes them.
func (s *Shard) begin(id TLSID, t *TLS, d direction) *redo {
	l := s.redoLog()
	r := &l.Records[(l.Commits+1)&1]
	r.TLS, r.Ops, r.Dir, r.Updated, r.Flags, r.Totals = id, t.Ops+1, d, 0, t.Flags, t.Totals
	if d == tlsIn {
		r.Seq, r.Receiver = t.InSeq, t.Receiver
	} else {
		r.Seq = t.OutSeq
	}
	return r
}

// commit is steps 3 and 4, for a result of so many bytes.
func (s *Shard) commit(t *TLS, r *redo, made int) {
	r.Made = uint32(made)
	if r.Dir == tlsIn {
		r.Totals.Opened += r.Made
	} else {
		r.Totals.Sent += r.Made
	}
	s.at("recorded")
	l := s.redoLog()
	atomic.StoreUint64(&l.Commits, l.Commits+1)
	s.at("committed")
	r.apply(t, s.tls.step)
	s.at("applied")
}

// apply makes the annex what the record says. Doing it again changes nothing.
func (r *redo) apply(t *TLS, step func(string)) {
	t.Flags, t.Totals = r.Flags, r.Totals
	if r.Dir == tlsIn {
		t.InSeq = r.Seq
		t.Receiver = r.Receiver
		if r.Updated != 0 {
			t.In = r.Keys
		}
	} else {
		t.OutSeq = r.Seq
		if r.Updated != 0 {
			t.Out = r.Keys
		}
	}
	if step != nil {
		step("half applied")
	}
	atomic.StoreUint32(&t.Ops, r.Ops)
	if r.Updated != 0 {
		r.Keys = TLSKeys{}
	}
}

// OnStep has f called between two steps: for tests.
func (s *Shard) OnStep(f func(step string)) { s.tls.step = f }

// at lets a test look between two steps.
func (s *Shard) at(step string) {
	if s.tls.step != nil {
		s.tls.step(step)
	}
}
