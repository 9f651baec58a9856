package wire

import (
	"crypto/cipher"
	"encoding/binary"
)

// updateAfter is after how many records we go over to our next keys: a quarter of what RFC 8446 section 5.5 allows for full
// records with AES-GCM.
const updateAfter = 1 << 22

// Seal makes records of up to 16 KiB of p, at most StagingSize bytes, behind a reply that is due. The result lies in a staging
// buffer of its own and is valid until the next call that seals in the shard; it must be written or queued, all of it and in
// order. With no bytes and no reply there is no record. ErrTLSEnded after an alert that ended our direction.
func (s *Shard) Seal(id TLSID, p []byte) ([]byte, error) {
	if len(p) > StagingSize {
		panic("wire: Seal of more than a staging buffer")
	}
	t := s.TLS(id)
	if t.Flags.Has(TLSEnded) || t.OutSeq > maxSeq {
		return nil, ErrTLSEnded
	}
	if len(p) == 0 && !t.replyDue() {
		return nil, nil
	}
	w := s.sealer(id, t)
	w.reply()
	for n := 0; n < len(p); {
		if w.su.tls13() && w.r.Seq >= s.tls.updates {
			w.keyUpdate()
		}
		piece := p[n:min(n+maxContent, len(p))]
		w.record(typeApplication, piece)
		n += len(piece)
	}
	w.r.Totals.Sealed += uint32(len(p))
	return w.commit(), nil
}

// SealReply makes what Opened.Reply has announced: nothing if nothing is due.
func (s *Shard) SealReply(id TLSID) ([]byte, error) { return s.Seal(id, nil) }

// SealAlert makes an alert: close_notify (0) as a warning, all others are fatal. Nothing can be sealed after it.
func (s *Shard) SealAlert(id TLSID, alert uint8) ([]byte, error) {
	t := s.TLS(id)
	if t.Flags.Has(TLSEnded) || t.OutSeq > maxSeq {
		return nil, ErrTLSEnded
	}
	w := s.sealer(id, t)
	w.r.Flags |= TLSEnded
	level := uint8(levelFatal)
	if alert == AlertCloseNotify {
		level = levelWarning
	}
	w.alert(level, alert)
	return w.commit(), nil
}

// sealer is one Seal. What it makes of the annex is in the redo record.
type sealer struct {
	s    *Shard
	t    *TLS
	r    *redo
	su   *suite
	keys *TLSKeys // in use now: the annex's, or those in the redo record
	aead cipher.AEAD
	out  []byte
	n    int // bytes of out
}

func (s *Shard) sealer(id TLSID, t *TLS) sealer {
	su := suiteOf(t.Suite)
	return sealer{s: s, t: t, r: s.begin(id, t, tlsOut), su: su, keys: &t.Out, aead: s.tls.ciphers.get(id, tlsOut, su, &t.Out), out: s.sealed()}
}

func (w *sealer) commit() []byte {
	w.s.commit(w.t, w.r, w.n)
	if w.r.Updated != 0 {
		w.s.tls.ciphers.replace(w.r.TLS, tlsOut, w.aead)
	}
	return w.out[:w.n]
}

// reply makes what is due because of the peer.
func (w *sealer) reply() {
	if w.r.Flags.Has(tlsReplyWarn) {
		w.alert(levelWarning, alertNoRenegotiation)
	}
	if w.r.Flags.Has(tlsReplyUpdate) {
		w.keyUpdate()
	}
	w.r.Flags &^= tlsReplyWarn | tlsReplyUpdate
}

func (w *sealer) alert(level, alert uint8) {
	w.record(typeAlert, append(w.s.tls.message[:0], level, alert))
}

// keyUpdate tells the peer that our next keys are in use from the next record on. It never asks for the peer's: clients have been
// seen to stumble over that when they had ended their direction.
func (w *sealer) keyUpdate() {
	const updateNotRequested = 0
	w.record(typeHandshake, append(w.s.tls.message[:0], msgKeyUpdate, 0, 0, 1, updateNotRequested))
	w.su.update(&w.r.Keys, w.keys)
	w.keys, w.aead = &w.r.Keys, w.su.aead(&w.r.Keys)
	w.r.Updated, w.r.Seq = 1, 0
}

// record protects one piece: RFC 8446 section 5.2, RFC 5246 section 6.2.3.3.
func (w *sealer) record(typ uint8, p []byte) {
	t := &w.s.tls
	w.su.nonce(&t.nonce, w.keys, w.r.Seq)
	b := w.out[w.n:]
	body := b[headerLen+w.su.explicit:]
	var sealed []byte
	if w.su.tls13() {
		putHeader(b, typeApplication, len(p)+1+tagSize)
		k := copy(body, p)
		body[k] = typ
		sealed = w.aead.Seal(body[:0], t.nonce[:], body[:k+1], b[:headerLen])
	} else {
		putHeader(b, typ, w.su.explicit+len(p)+tagSize)
		if w.su.explicit > 0 {
			binary.BigEndian.PutUint64(b[headerLen:], w.r.Seq)
		}
		sealed = w.aead.Seal(body[:0], t.nonce[:], p, t.extraData(w.r.Seq, typ, len(p)))
	}
	w.r.Seq++
	w.n += headerLen + w.su.explicit + len(sealed)
}

func putHeader(b []byte, typ uint8, length int) {
	b[0] = typ
	binary.BigEndian.PutUint16(b[1:], version12)
	binary.BigEndian.PutUint16(b[3:], uint16(length))
}
