package handshake

import (
	"crypto/cipher"
	"encoding/binary"
)

const tagLen = 16 // of all our AEADs

// opener opens the records of one direction, to see that they are what we take them for. Package wire has the record layer that
// connections go on with; this one is independent of it and knows no more than the handshake's end.
type opener struct {
	aead     cipher.AEAD
	iv       [12]byte
	explicit int // bytes of nonce in each record of GCM in TLS 1.2
	tls13    bool
	seq      uint64
	plain    []byte // of the last record
}

func (su *suite) opener(key, iv []byte) (*opener, error) {
	aead, err := su.aead(key)
	if err != nil {
		return nil, err
	}
	o := &opener{aead: aead, explicit: len(opener{}.iv) - su.salt, tls13: su.is13()}
	copy(o.iv[:], iv)
	return o, nil
}

// open opens one whole record with its header, and answers its type and content, which is valid until the next call. What does not
// open does not count.
func (o *opener) open(rec []byte) (kind byte, content []byte, ok bool) {
	body := rec[headerLen:]
	if len(body) < o.explicit+tagLen {
		return 0, nil, false
	}
	nonce := o.iv
	if o.explicit > 0 {
		copy(nonce[len(nonce)-o.explicit:], body)
	} else {
		binary.BigEndian.PutUint64(nonce[4:], binary.BigEndian.Uint64(nonce[4:])^o.seq)
	}
	var head [13]byte
	aad := rec[:headerLen]
	if !o.tls13 {
		binary.BigEndian.PutUint64(head[:], o.seq)
		copy(head[8:], rec[:3])
		binary.BigEndian.PutUint16(head[11:], uint16(len(body)-o.explicit-tagLen))
		aad = head[:]
	}
	plain, err := o.aead.Open(o.plain[:0], nonce[:], body[o.explicit:], aad)
	if err != nil {
		return 0, nil, false
	}
	o.plain = plain
	o.seq++
	if !o.tls13 {
		return rec[0], plain, true
	}
	for n := len(plain); n > 0; n-- { // the type lies before the padding
		if plain[n-1] != 0 {
			return plain[n-1], plain[:n-1], true
		}
	}
	return 0, nil, true
}

// wipe zeroes what was opened, and the IV. Nobody can zero the cipher.
func (o *opener) wipe() {
	clear(o.plain[:cap(o.plain)])
	*o = opener{}
}

// explicitNonce is what a record of GCM in TLS 1.2 carries.
func explicitNonce(rec []byte) uint64 { return binary.BigEndian.Uint64(rec[headerLen:]) }
