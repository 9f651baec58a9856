package wire

import (
	"crypto/cipher"
	"encoding/binary"
	"time"
)

// Opened is what Open found.
type Opened struct {
	Plain  []byte // application data of all complete records, in order, one piece
	Reply  bool   // a KeyUpdate or a no_renegotiation warning of ours is due: SealReply makes it, the next Seal would too
	Closed bool   // close_notify came; what is behind it is forgotten
}

// ReadRoom is where the next read of the connection goes: the staging buffer, behind the partial record that is kept. Never empty.
func (s *Shard) ReadRoom(id TLSID) []byte {
	t := s.TLS(id)
	s.tls.room = id
	buf := s.Staging()
	n := 0
	if t.Receiver.Partial.Len() > 0 {
		n = s.peek(&t.Receiver.Partial, buf)
	}
	return buf[n:]
}

// peek copies what is in the queue to buf.
func (s *Shard) peek(q *Queue, buf []byte) int {
	n, c, off := 0, q.Head, int(q.HeadOff)
	for n < q.Len() {
		p := s.payload(c)[off:]
		n += copy(buf[n:q.Len()], p)
		c, off = *s.next(c), 0
	}
	return n
}

// maxKept is how much Keep takes: all that the proxy reads of a client before its handshake is over (60 KiB), and less than a
// staging buffer, so that there is room for a read behind it.
const maxKept = StagingSize - 1<<10

// Keep takes bytes that were read before the connection was taken over, from behind the Finished, as if they were a partial record.
// Open with n 0 then opens what is whole of it. ErrFull if they are too many or there is no memory.
func (s *Shard) Keep(id TLSID, p []byte) error {
	t := s.TLS(id)
	if t.Receiver.Partial.Len()+len(p) > maxKept {
		return ErrFull
	}
	if s.tls.room == id {
		s.tls.room = 0
	}
	if err := s.Append(&t.Receiver.Partial, p); err != nil {
		return err
	}
	t.Totals.Received += uint32(len(p))
	return nil
}

// Open takes n bytes that were just read into ReadRoom and opens the records that are whole. now is the loop's time, for the limits
// on rates. What is opened lies in a staging buffer of its own and is valid until the next Open of the shard.
//
// The error is a *TLSError, and Opened is about the records before it; or it is ErrFull, if a partial record cannot be kept, and
// what was read is lost. After an error nothing more is opened.
func (s *Shard) Open(id TLSID, n int, now time.Duration) (Opened, error) {
	t := s.TLS(id)
	kept := t.Receiver.Partial.Len()
	if kept > 0 && s.tls.room != id {
		if n > 0 {
			panic("wire: Open of what was not read into ReadRoom")
		}
		s.ReadRoom(id)
	}
	s.tls.room = 0
	if t.Flags.Has(TLSClosed) {
		return Opened{Closed: true}, nil
	}
	if t.Flags.Has(TLSBroken) {
		return Opened{}, errEnded
	}
	su := suiteOf(t.Suite)
	o := opener{
		s: s, r: s.begin(id, t, tlsIn), su: su, keys: &t.In, aead: s.tls.ciphers.get(id, tlsIn, su, &t.In), plain: s.plain(), now: now,
	}
	buf := s.Staging()[:kept+n]
	terr := o.records(buf)
	if err := o.keep(t, buf[kept:], buf[o.read:]); err != nil {
		o.r.Keys = TLSKeys{}
		t.Flags |= TLSBroken
		return Opened{}, err
	}
	o.r.Totals.Received += uint32(n)
	old := t.Receiver.Partial
	s.commit(t, o.r, o.made)
	if old.Head != t.Receiver.Partial.Head {
		s.Clear(&old)
	}
	if o.r.Updated != 0 {
		s.tls.ciphers.replace(id, tlsIn, o.aead)
	}
	got := Opened{Plain: o.plain[:o.made], Reply: t.replyDue(), Closed: t.Flags.Has(TLSClosed)}
	if terr != nil {
		return got, terr
	}
	return got, nil
}

// InRecord reports whether a record or a handshake message of the peer has begun and is not whole.
func (s *Shard) InRecord(id TLSID) bool {
	m := &s.TLS(id).Receiver
	return m.Partial.Len() > 0 || m.Head > 0
}

func (t *TLS) replyDue() bool {
	return t.Flags&(tlsReplyUpdate|tlsReplyWarn) != 0 && !t.Flags.Has(TLSEnded)
}

// opener is one Open. What it makes of the annex is in the redo record.
type opener struct {
	s     *Shard
	r     *redo
	su    *suite
	keys  *TLSKeys // in use now: the annex's, or those in the redo record
	aead  cipher.AEAD
	plain []byte
	now   time.Duration
	read  int // bytes of the records that are opened
	made  int // bytes of application data
}

// records opens the whole records of p, up to an error or the peer's end.
func (o *opener) records(p []byte) *TLSError {
	for !o.r.Flags.Has(TLSClosed) {
		n, err := o.record(p[o.read:])
		if err != nil {
			o.r.Flags |= TLSBroken
			return err
		}
		if n == 0 {
			return nil
		}
		o.read += n
	}
	return nil
}

// record opens the first record of p and answers its size, 0 if it is not whole yet.
func (o *opener) record(p []byte) (int, *TLSError) {
	if len(p) < headerLen {
		return 0, nil
	}
	n := headerLen + int(binary.BigEndian.Uint16(p[3:]))
	if err := o.su.checkHeader(p, n-headerLen); err != nil {
		return 0, err
	}
	if len(p) < n {
		return 0, nil
	}
	if o.r.Seq >= maxSeq {
		return 0, errBadRecord
	}
	typ, content, err := o.unprotect(p[:n])
	if err != nil {
		return 0, err
	}
	o.r.Seq++
	return n, o.content(typ, content)
}

// maxSeq is far from the 2^64-1 at which a sequence number would wrap.
const maxSeq = 1 << 63

// checkHeader refuses a record as soon as its header is here.
func (su *suite) checkHeader(p []byte, length int) *TLSError {
	least, most := tagSize+1, maxCiphers13
	switch {
	case !su.tls13():
		least, most = su.explicit+tagSize, maxCiphers12
		if p[0] < 20 || p[0] > typeApplication {
			return errUnexpected
		}
		if binary.BigEndian.Uint16(p[1:]) != version12 {
			return errVersion
		}
	case p[0] != typeApplication: // also change_cipher_spec: RFC 8446 section 5 allows it until the Finished only
		return errUnexpected
	}
	if length > most {
		return errOversize
	}
	if length < least {
		return errBadRecord
	}
	return nil
}

// unprotect decrypts a record into the plain staging buffer, behind the application data that is there.
func (o *opener) unprotect(p []byte) (typ uint8, content []byte, err *TLSError) {
	t := &o.s.tls
	o.su.nonce(&t.nonce, o.keys, o.r.Seq)
	extra, body := p[:headerLen], p[headerLen:]
	if !o.su.tls13() {
		copy(t.nonce[nonceSize-o.su.explicit:], body[:o.su.explicit])
		body = body[o.su.explicit:]
		extra = t.extraData(o.r.Seq, p[0], len(body)-tagSize)
	}
	content, e := o.aead.Open(o.plain[o.made:o.made], t.nonce[:], body, extra)
	if e != nil {
		return 0, nil, errBadRecord
	}
	if !o.su.tls13() {
		if len(content) > maxContent {
			return 0, nil, errOversize
		}
		return p[0], content, nil
	}
	return unpad(content)
}

// unpad takes type and padding off a TLS 1.3 record: RFC 8446 section 5.4.
func unpad(content []byte) (uint8, []byte, *TLSError) {
	if len(content) > maxContent+1 {
		return 0, nil, errOversize
	}
	for i := len(content) - 1; i >= 0; i-- {
		if content[i] != 0 {
			return content[i], content[:i], nil
		}
	}
	return 0, nil, errUnexpected
}

// extraData is the additional data of a TLS 1.2 record: RFC 5246 section 6.2.3.3.
func (t *tlsShard) extraData(seq uint64, typ uint8, length int) []byte {
	binary.BigEndian.PutUint64(t.extra[:], seq)
	t.extra[8] = typ
	binary.BigEndian.PutUint16(t.extra[9:], version12)
	binary.BigEndian.PutUint16(t.extra[11:], uint16(length))
	return t.extra[:]
}

// keep makes the queue of the partial record, rest, as it will be: beside the present one, which stays whole until the commit.
func (o *opener) keep(t *TLS, fresh, rest []byte) error {
	if o.r.Flags&(TLSClosed|TLSBroken) != 0 {
		o.r.Receiver.Partial = Queue{}
		return nil
	}
	if o.read == 0 && t.Receiver.Partial.Len() > 0 {
		return o.s.Append(&o.r.Receiver.Partial, fresh) // behind what the present queue counts
	}
	o.r.Receiver.Partial = Queue{}
	return o.s.Append(&o.r.Receiver.Partial, rest)
}
