package wire

import (
	"fmt"
	"sync/atomic"
)

// tlsStateSize is more than a connection takes as bytes, without its queues.
const tlsStateSize = 320

// tlsStateFlags are those that mean the same elsewhere. Their values are part of the format.
const tlsStateFlags = TLSClient | TLSHasCert | TLSHasExporter | TLSClosed | TLSBroken | TLSEnded | tlsReplyUpdate | tlsReplyWarn | tlsRefused

// ExportTLS makes bytes of a connection, for ImportTLS of another shard: keys, sequence numbers, the partial record, the handshake message
// that has begun, a reply that is due, and Unsent. Its annex stays, to be freed as always, but has ended: nothing is opened or
// sealed there any more, so that no nonce is used twice, whatever the caller does. ErrTLSEnded if it was exported before.
//
// It must not come between a read into ReadRoom and its Open, nor before all that was opened and sealed is queued or written: what lies
// in a staging buffer is not in the bytes. They hold keys: they belong in no file and no log, and who is done with them wipes them.
func (s *Shard) ExportTLS(id TLSID) ([]byte, error) {
	t := s.TLS(id)
	if t.Flags.Has(tlsExported) {
		return nil, fmt.Errorf("export TLS connection: %w", ErrTLSEnded)
	}
	b, err := s.tlsBytes(t)
	if err != nil {
		return nil, fmt.Errorf("export TLS connection: %w", err)
	}
	s.giveAway(id, t)
	return b, nil
}

func (s *Shard) tlsBytes(t *TLS) ([]byte, error) {
	c := stateCodec{s: s, b: make([]byte, 0, 2+t.stateSize())} // never grown, which would leave keys behind
	c.begin(kindTLS)
	c.annex(t)
	if c.err != nil {
		clear(c.b[:cap(c.b)])
	}
	return c.b, c.err
}

// CopyTLS is ExportTLS of a connection that goes on here. The bytes are for whoever comes when this process is no more, who opens and seals again
// all that this one has since, from what it has written down: the same bytes under the same nonces, or none.
func (s *Shard) CopyTLS(id TLSID) ([]byte, error) {
	t := s.TLS(id)
	if t.Flags.Has(tlsExported) {
		return nil, fmt.Errorf("copy TLS connection: %w", ErrTLSEnded)
	}
	b, err := s.tlsBytes(t)
	if err != nil {
		return nil, fmt.Errorf("copy TLS connection: %w", err)
	}
	return b, nil
}

// ImportTLS takes over what ExportTLS has given, into an annex of its own, and wipes b. On an error b is as it was: ErrFull, or that b is not
// what an export of this format can be.
func (s *Shard) ImportTLS(b []byte) (TLSID, error) {
	s.check()
	c := stateCodec{s: s, b: b, reading: true}
	c.begin(kindTLS)
	var id TLSID
	c.connection(&id)
	c.end()
	if c.err != nil {
		if id != 0 {
			s.FreeTLS(id)
		}
		return 0, fmt.Errorf("import TLS connection: %w", c.err)
	}
	clear(b)
	return id, nil
}

func (t *TLS) stateSize() int { return tlsStateSize + t.Receiver.Partial.Len() + t.Unsent.Len() }

// giveAway ends a connection that was exported. The order is for a process that comes after a SIGKILL: it finds either all keys or the end.
func (s *Shard) giveAway(id TLSID, t *TLS) {
	t.Flags |= TLSBroken | TLSEnded | tlsExported
	atomic.AddUint32(&t.Ops, 2) // past any redo record
	t.In, t.Out = TLSKeys{}, TLSKeys{}
	s.tls.forget(id)
	if s.tls.room == id {
		s.tls.room = 0
	}
	s.Clear(&t.Receiver.Partial)
	s.Clear(&t.Unsent)
}

// connection is an annex; reading takes a new one for it.
func (c *stateCodec) connection(id *TLSID) {
	if c.err != nil {
		return
	}
	if !c.reading {
		c.annex(c.s.TLS(*id))
		return
	}
	n, t, err := c.s.newAnnex()
	if err != nil {
		c.fail(err)
		return
	}
	*id = n
	c.annex(t)
}

// annex is what follows.
//
//	2, 2    version and suite, as crypto/tls numbers them
//	2       flags: tlsStateFlags
//	8, 8    number of the next record in, and out
//	4*4     totals: received, opened, sealed, sent
//	1, 1, 4 handshake message that has begun: its type, bytes of its header that have come, bytes that are still to come
//	1, 1    useless records in a row, tokens spent
//	        keys in, and out: with TLS 1.3 4 bytes of epoch and the traffic secret (32 or 48), with TLS 1.2 key (16 or 32) and IV (4 or 12)
//	32      SHA-256 of the certificate, if TLSHasCert
//	32      exporter, if TLSHasExporter
//	4, n    partial record; nothing once TLSClosed or TLSBroken
//	4, n    records that the peer's socket did not take
//
// Left out are SpentAt, which is of this loop's clock (the tokens that the next one's says come back do), and what follows from
// the secrets.
func (c *stateCodec) annex(t *TLS) {
	c.u16(&t.Version)
	c.u16(&t.Suite)
	if c.err != nil {
		return
	}
	su, err := findSuite(t.Version, t.Suite)
	if err != nil {
		c.fail(err)
		return
	}
	flags := uint16(t.Flags & tlsStateFlags)
	c.u16(&flags)
	if TLSFlags(flags)&^tlsStateFlags != 0 {
		c.fail(errState("unknown flags"))
		return
	}
	t.Flags |= TLSFlags(flags)
	c.u64(&t.InSeq)
	c.u64(&t.OutSeq)
	for _, n := range [...]*uint32{&t.Totals.Received, &t.Totals.Opened, &t.Totals.Sealed, &t.Totals.Sent} {
		c.u32(n)
	}
	if t.Flags&(TLSClosed|TLSBroken) != 0 && !c.reading { // nobody will need it
		c.s.Clear(&t.Receiver.Partial)
		t.Receiver = TLSReceiver{}
	}
	c.message(&t.Receiver)
	c.keys(su, &t.In)
	c.keys(su, &t.Out)
	if t.Flags.Has(TLSHasCert) {
		c.bytes(t.CertFP[:])
	}
	if t.Flags.Has(TLSHasExporter) {
		c.bytes(t.Exporter[:])
	}
	c.queue(&t.Receiver.Partial)
	c.queue(&t.Unsent)
	if c.reading {
		t.Queued = t.Totals.Sent
	}
	if c.reading && c.err == nil {
		if err := t.nonsense(su); err != "" {
			c.fail(err)
		}
	}
}

func (c *stateCodec) message(m *TLSReceiver) {
	c.u8(&m.Message)
	c.u8(&m.Head)
	c.u32(&m.Left)
	c.u8(&m.Useless)
	c.u8(&m.Spent)
}

func (c *stateCodec) keys(su *suite, k *TLSKeys) {
	if !su.tls13() {
		c.bytes(k.Key[:su.keySize])
		c.bytes(k.IV[:nonceSize-su.explicit])
		return
	}
	c.u32(&k.Epoch)
	c.bytes(k.Secret[:su.secret])
	if c.reading && c.err == nil {
		su.derive(k)
	}
}

// nonsense says why a connection cannot have come to this state; "" if it can.
func (t *TLS) nonsense(su *suite) errState {
	f, m := t.Flags, &t.Receiver
	switch {
	case t.InSeq > maxSeq, t.OutSeq > maxSeq:
		return "sequence number beyond the end"
	case !su.tls13() && (t.InSeq == 0 || t.OutSeq == 0):
		return "sequence number of a Finished" // RFC 5246 section 7.4.9
	case t.In.missing(su), t.Out.missing(su):
		return "no keys"
	case t.In.Key == t.Out.Key:
		return "one key for both directions"
	case su.tls13() && f&(tlsReplyWarn|tlsRefused) != 0, !su.tls13() && f.Has(tlsReplyUpdate), f.Has(tlsReplyWarn) && !f.Has(tlsRefused):
		return "a reply that cannot be due"
	case f&(TLSClosed|TLSBroken) != 0 && *m != TLSReceiver{}:
		return "more to come after the end"
	case m.Useless > maxUseless, m.Spent > maxMessages:
		return "more than a limit allows"
	case m.Partial.Len() > maxKept:
		return "partial record too long"
	case !m.canBeIn(su, f):
		return "handshake message that cannot come"
	}
	return ""
}

// missing reports whether the keys are zeros, as of a connection that has ended.
func (k *TLSKeys) missing(su *suite) bool {
	if su.tls13() {
		return k.Secret == [48]byte{}
	}
	return k.Key == [32]byte{}
}

// canBeIn reports whether the message that has begun is one that may, and has come as far as it says.
func (m *TLSReceiver) canBeIn(su *suite, f TLSFlags) bool {
	if m.Head == 0 {
		return m.Message == 0 && m.Left == 0
	}
	o := opener{su: su, r: &redo{Flags: f}}
	if !o.expects(m.Message) {
		return false
	}
	if m.Head < 4 {
		return m.Left < 1<<(8*(m.Head-1))
	}
	return m.Head == 4 && m.Left > 0 && m.Left <= maxMessageLen && (m.Message != msgKeyUpdate || m.Left == 1) && m.Message != msgHelloRequest
}
