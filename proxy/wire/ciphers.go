package wire

import "crypto/cipher"

// maxCiphers is how many cipher objects a shard keeps, about 700 bytes of heap each with GCM: enough for 512 connections that
// are active at the same time. Making one costs 1 to 2 microseconds.
const maxCiphers = 1024

// direction of a TLS connection.
type direction uint8

const (
	tlsIn direction = iota
	tlsOut
)

// ciphers keeps the cipher objects of the directions that were used last, as the clock algorithm sees it.
type ciphers struct {
	where   []uint16 // by annex and direction: index into entries plus 1, 0 for none
	entries []cipherEntry
	hand    int
}

type cipherEntry struct {
	aead cipher.AEAD
	of   uint32 // annex and direction
	used bool   // since the hand came by
}

func cipherOf(id TLSID, d direction) uint32 { return uint32(id)<<1 | uint32(d) }

// get answers the cipher of a direction, made anew if it is not kept.
func (c *ciphers) get(id TLSID, d direction, su *suite, k *TLSKeys) cipher.AEAD {
	of := cipherOf(id, d)
	if int(of) < len(c.where) {
		if i := c.where[of]; i > 0 {
			e := &c.entries[i-1]
			e.used = true
			return e.aead
		}
	}
	aead := su.aead(k)
	c.put(of, aead)
	return aead
}

// replace puts the cipher of a direction in the place of the one before a key update.
func (c *ciphers) replace(id TLSID, d direction, aead cipher.AEAD) {
	c.forget(id, d)
	c.put(cipherOf(id, d), aead)
}

func (c *ciphers) put(of uint32, aead cipher.AEAD) {
	for int(of) >= len(c.where) {
		c.where = append(c.where, make([]uint16, max(4*annexBatch, len(c.where)))...)
	}
	i := c.place()
	c.entries[i] = cipherEntry{aead: aead, of: of, used: true}
	c.where[of] = uint16(i + 1)
}

// place answers an entry to use: a new one, or the first that was not used since the hand came by.
func (c *ciphers) place() int {
	if len(c.entries) < maxCiphers {
		c.entries = append(c.entries, cipherEntry{})
		return len(c.entries) - 1
	}
	for {
		c.hand = (c.hand + 1) % maxCiphers
		e := &c.entries[c.hand]
		if !e.used {
			c.where[e.of] = 0
			return c.hand
		}
		e.used = false
	}
}

// forget drops the cipher of a direction; the last entry takes its place.
func (c *ciphers) forget(id TLSID, d direction) {
	of := cipherOf(id, d)
	if int(of) >= len(c.where) || c.where[of] == 0 {
		return
	}
	i, last := c.where[of]-1, len(c.entries)-1
	c.entries[i] = c.entries[last]
	c.where[c.entries[i].of] = i + 1
	c.where[of] = 0
	c.entries[last] = cipherEntry{}
	c.entries = c.entries[:last]
}

// TrimCiphers drops the cipher objects of directions that carried nothing since the last call but one. The event loop calls it
// every few seconds, so that an idle connection costs its wire state and no more.
func (s *Shard) TrimCiphers() {
	s.check()
	s.tls.ciphers.trim()
}

func (c *ciphers) trim() {
	kept := c.entries[:0]
	for _, e := range c.entries {
		if !e.used {
			c.where[e.of] = 0
			continue
		}
		e.used = false
		kept = append(kept, e)
		c.where[e.of] = uint16(len(kept))
	}
	clear(c.entries[len(kept):])
	c.entries, c.hand = kept, 0
}
