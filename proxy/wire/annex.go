package wire

import (
	"errors"
	"unsafe"
)

// annexSize is six cache lines. The first one has all that changes with each record.
const annexSize = 384

// TLSID names a TLS annex in the arena; 0 is none.
type TLSID uint32

// TLSFlags of an annex.
type TLSFlags uint16

const (
	TLSUsed        TLSFlags = 1 << iota // not free
	TLSClient                           // we are the client of this connection
	TLSHasCert                          // CertFP is that of a certificate that the peer has shown and proved
	TLSHasExporter                      // Exporter is known
	TLSClosed                           // the peer has sent close_notify: what comes behind it is forgotten
	TLSBroken                           // Open has answered an error: nothing more is opened
	TLSEnded                            // we have sent an alert that ends our direction: nothing more is sealed
	tlsReplyUpdate                      // a KeyUpdate of ours is due, because the peer asked for it
	tlsReplyWarn                        // a no_renegotiation warning is due
	tlsRefused                          // one renegotiation was refused already
	tlsExported                         // ExportTLS has given the connection away
)

// Has reports whether all of x are set.
func (f TLSFlags) Has(x TLSFlags) bool { return f&x == x }

// TLS is the wire state of one connection over TLS, after its handshake: an annex of a slot. The fields that are not about
// the peer belong to Open and Seal.
type TLS struct {
	Version uint16 // as crypto/tls numbers them
	Suite   uint16
	Flags   TLSFlags
	_       uint16
	Ops     uint32 // counts the changes to this annex, over all its uses: tells whether a redo record is about it and undone
	_       uint32

	InSeq    uint64 // of the next record that we open
	OutSeq   uint64 // of the next record that we seal
	Receiver TLSReceiver
	Totals   TLSTotals

	In, Out  TLSKeys
	CertFP   [32]byte // SHA-256 of the peer's certificate
	Exporter [32]byte // RFC 9266 channel binding
	Unsent   Queue    // records that the peer's socket did not take, for an owner that has no other place for them
	Queued   uint32   // Totals.Sent when records were last put into a queue, Unsent or the slot's: where in the stream its end is
	_        [24]byte
}

// TLSTotals count the bytes of all committed Opens and Seals, modulo 2^32. A successor compares them with what the kernel has
// given and taken: the difference lies in the staging buffers.
type TLSTotals struct {
	Received uint32 // ciphertext that was read, with the partial record
	Opened   uint32 // application data made of it
	Sealed   uint32 // application data that was sealed
	Sent     uint32 // ciphertext made of it, with replies and alerts
}

// TLSReceiver is what is left in the middle of what the peer is sending.
type TLSReceiver struct {
	Partial Queue  // ciphertext from the beginning of a record, not yet a whole one
	Message uint8  // type of a handshake message of which we have the beginning, if Head > 0
	Head    uint8  // bytes of its header that we have: 1 to 4
	Useless uint8  // records in a row that carried nothing
	Spent   uint8  // tokens that handshake messages took
	Left    uint32 // bytes of the message that are still to come; its length so far while Head < 4
	SpentAt uint32 // loop time in seconds up to which tokens came back
}

// TLSKeys are the keys of one direction.
type TLSKeys struct {
	IV     [12]byte // TLS 1.2 with GCM: 4 bytes, the salt
	Epoch  uint32   // key updates so far
	Key    [32]byte // 16 bytes of it for AES-128
	Secret [48]byte // TLS 1.3: the application traffic secret, 32 or 48 bytes; TLS 1.2: nothing
}

// TLSParams is a connection at the end of its handshake, as NewTLS takes it over.
type TLSParams struct {
	Version, Suite uint16     // as crypto/tls numbers them
	Client         bool       // we are the client
	In, Out        TLSTraffic // In is what we open, Out what we seal

	CertFP      [32]byte // SHA-256 of the peer's certificate
	HasCert     bool
	Exporter    [32]byte // tls-exporter channel binding (RFC 9266); it cannot be had later
	HasExporter bool
}

// TLSTraffic is one direction of a TLSParams.
type TLSTraffic struct {
	Secret  []byte // TLS 1.3: the application traffic secret
	Key, IV []byte // TLS 1.2: from the key block. IV has 4 bytes for GCM and 12 for ChaCha20
	Seq     uint64 // of the next record
}

// ErrTLSEnded says that nothing can be sealed any more: an alert that ends our direction was, or the sequence numbers are used up.
var ErrTLSEnded = errors.New("TLS connection has ended")

// NewTLS takes a connection over into an annex of its own and zeroes the secrets of p. The caller puts the id into its slot; then
// FreeSlot frees it. ErrFull if there is no annex to be had, another error if p makes no sense.
func (s *Shard) NewTLS(p *TLSParams) (TLSID, error) {
	s.check()
	defer p.Wipe()
	su, err := findSuite(p.Version, p.Suite)
	if err != nil {
		return 0, err
	}
	for _, d := range [...]*TLSTraffic{&p.In, &p.Out} {
		if err := su.check(d); err != nil {
			return 0, err
		}
	}
	id, t, err := s.newAnnex()
	if err != nil {
		return 0, err
	}
	*t = TLS{
		Version: p.Version, Suite: p.Suite, Flags: p.flags(), Ops: t.Ops,
		InSeq: p.In.Seq, OutSeq: p.Out.Seq, CertFP: p.CertFP, Exporter: p.Exporter,
	}
	su.traffic(&t.In, &p.In)
	su.traffic(&t.Out, &p.Out)
	return id, nil
}

// newAnnex takes an annex of zeros but for Flags and Ops.
func (s *Shard) newAnnex() (TLSID, *TLS, error) {
	if len(s.annexes) == 0 {
		if err := s.a.take(&s.a.annexes, &s.annexes); err != nil {
			return 0, nil, err
		}
	}
	id := TLSID(s.annexes[len(s.annexes)-1])
	s.annexes = s.annexes[:len(s.annexes)-1]
	s.annexesUsed.Add(1)
	t := s.a.annex(id)
	*t = TLS{Flags: TLSUsed, Ops: t.Ops + 2} // past any redo record of a former use
	return id, t, nil
}

func (p *TLSParams) flags() TLSFlags {
	f := TLSUsed
	for _, b := range [...]struct {
		on   bool
		flag TLSFlags
	}{{p.Client, TLSClient}, {p.HasCert, TLSHasCert}, {p.HasExporter, TLSHasExporter}} {
		if b.on {
			f |= b.flag
		}
	}
	return f
}

// Wipe zeroes the secrets of a connection that nobody takes over. Any goroutine that has p may call it.
func (p *TLSParams) Wipe() {
	for _, t := range [...]*TLSTraffic{&p.In, &p.Out} {
		clear(t.Secret)
		clear(t.Key)
		clear(t.IV)
	}
	clear(p.Exporter[:])
}

// FreeTLS frees an annex and zeroes what it held, at Worked if its session's bytes are worked. What Open and Seal gave of it is not valid any more.
func (s *Shard) FreeTLS(id TLSID) {
	if was := &s.journal().Image.Slot; s.working != nil && (was.ClientTLS == id || was.BackendTLS == id) {
		s.laterTLS = append(s.laterTLS, id)
		return
	}
	s.freeTLS(id)
}

func (s *Shard) freeTLS(id TLSID) {
	t := s.TLS(id)
	s.Clear(&t.Receiver.Partial)
	s.Clear(&t.Unsent)
	*t = TLS{Ops: t.Ops + 2}
	s.tls.forget(id)
	if s.tls.room == id {
		s.tls.room = 0
	}
	s.annexes = append(s.annexes, uint32(id))
	s.annexesUsed.Add(-1)
	s.a.give(&s.a.annexes, &s.annexes)
}

// TLS is the annex of an id that NewTLS has answered. The caller reads it only.
func (s *Shard) TLS(id TLSID) *TLS {
	s.check()
	if id == 0 || uint32(id) > s.a.annexes.highest {
		panic("wire: no such TLS annex")
	}
	t := s.a.annex(id)
	if !t.Flags.Has(TLSUsed) {
		panic("wire: TLS annex is not in use")
	}
	return t
}

func (a *Arena) annex(id TLSID) *TLS {
	return (*TLS)(unsafe.Add(a.base, uintptr(a.annexes.off)+uintptr(id)*annexSize))
}
