package handshake

import (
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"time"
)

// Shared are secrets that several proxies have, so that a client which has shaken hands with one resumes its session at any of them. Nothing is
// sent from one to another: each makes the keys of a time by itself.
type Shared struct {
	Label   string   // of the cluster: the same secrets give other keys in another
	Secrets [][]byte // the first one seals, all open
}

// sharedPeriod is the time that a clock reading falls into. Clocks may differ by a whole period: keys of the one that comes next open, too.
func sharedPeriod(now time.Time) int64 { return now.Unix() / int64(ticketKeyAge/time.Second) }

// Share makes the keys of tickets those of secrets, from now on; without secrets they are our own again. Tickets that were sealed by our own keys are
// opened as before.
func (t *Tickets) Share(s Shared) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.shared, t.keeper = s, nil
}

// sharedKeeper seals with the first secret's key of now, and opens with those of all secrets, of the period that comes and of two that have been, and
// with our own. t.mu is held.
func (t *Tickets) sharedKeeper(period int64) *tls.Config {
	var keys [][ticketKeyLen]byte
	for i, secret := range t.shared.Secrets {
		for _, p := range []int64{period, period - 1, period - 2, period + 1} {
			k := t.shared.key(secret, p)
			if i > 0 && p == period {
				keys = append(keys[:1], append([][ticketKeyLen]byte{k}, keys[1:]...)...) // likely, and tried early
				continue
			}
			keys = append(keys, k)
		}
	}
	for _, k := range t.keys {
		keys = append(keys, k.key)
	}
	c := new(tls.Config)
	c.SetSessionTicketKeys(keys)
	clear(keys)
	return c
}

func (s Shared) key(secret []byte, period int64) (k [ticketKeyLen]byte) {
	b, err := hkdf.Key(sha256.New, secret, []byte(s.Label), fmt.Sprintf("ircferry tls ticket key %d", period), ticketKeyLen)
	if err != nil {
		panic(err) // the length is a constant that can be
	}
	copy(k[:], b)
	clear(b)
	return k
}
