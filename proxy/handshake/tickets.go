package handshake

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"time"
)

const (
	ticketKeyAge  = 12 * time.Hour // then the next key is made
	ticketKeyKept = 3              // the one that seals, and two that still open: a ticket is good for 24 h at least
	ticketKeyLen  = 32
	ticketFormat  = 1 // of Export
)

// Tickets are the keys of session tickets, of all listeners. A new one is made every twelve hours, and the two before it still open what they have
// sealed. A successor that imports them resumes the sessions that we began. Any goroutine may use it.
type Tickets struct {
	now func() time.Time

	mu     sync.Mutex
	keys   []ticketKey // newest first
	keeper *tls.Config // seals and opens; nil: to be made
	shared Shared      // in the place of keys, which open only
	period int64       // of the shared keys that keeper has
}

type ticketKey struct {
	made time.Time
	key  [ticketKeyLen]byte
}

// NewTickets makes a first key.
func NewTickets() *Tickets { return newTickets(time.Now) }

func newTickets(now func() time.Time) *Tickets {
	t := &Tickets{now: now}
	t.current()
	return t
}

// askedMark is in the tickets of clients that were asked for a certificate.
const askedMark = "ircferry: asked for a certificate"

// use makes a configuration seal and open tickets with the keys that are current then. A session of a client that was not asked for a certificate
// is not resumed where clients are asked: one that has one would go without its fingerprint there, for as long as it has tickets. (crypto/tls
// itself does not resume one with a certificate where none is asked for.)
func (t *Tickets) use(c *tls.Config) {
	asks := c.ClientAuth != tls.NoClientCert
	c.WrapSession = func(cs tls.ConnectionState, s *tls.SessionState) ([]byte, error) {
		if asks {
			s.Extra = append(s.Extra, []byte(askedMark))
		}
		return t.current().EncryptTicket(cs, s)
	}
	c.UnwrapSession = func(id []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
		s, err := t.current().DecryptTicket(id, cs)
		if asks && s != nil && !asked(s) {
			return nil, nil
		}
		return s, err
	}
	// Never used, but without any each clone of c would make its own.
	c.SetSessionTicketKeys([][ticketKeyLen]byte{newTicketKey()})
}

func asked(s *tls.SessionState) bool {
	return slices.ContainsFunc(s.Extra, func(e []byte) bool { return string(e) == askedMark })
}

func newTicketKey() (k [ticketKeyLen]byte) {
	rand.Read(k[:]) // never fails: the runtime ends the process
	return k
}

// current answers who seals and opens now, with a new key if it is time for one.
func (t *Tickets) current() *tls.Config {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	if len(t.keys) == 0 || now.Sub(t.keys[0].made) >= ticketKeyAge {
		t.set(append([]ticketKey{{now, newTicketKey()}}, t.keys...), now)
	}
	if period := sharedPeriod(now); t.keeper == nil || len(t.shared.Secrets) > 0 && t.period != period {
		t.period = period
		t.keeper = t.makeKeeper()
	}
	return t.keeper
}

// makeKeeper is of the keys of now. t.mu is held.
func (t *Tickets) makeKeeper() *tls.Config {
	if len(t.shared.Secrets) > 0 {
		return t.sharedKeeper(t.period)
	}
	var raw [][ticketKeyLen]byte
	for _, k := range t.keys {
		raw = append(raw, k.key)
	}
	c := new(tls.Config)
	c.SetSessionTicketKeys(raw)
	clear(raw)
	return c
}

// set takes keys over, but for those that are too many or too old. t.mu is held.
func (t *Tickets) set(keys []ticketKey, now time.Time) {
	t.keys, t.keeper = nil, nil
	for _, k := range keys {
		if len(t.keys) < ticketKeyKept && now.Sub(k.made) < ticketKeyKept*ticketKeyAge {
			t.keys = append(t.keys, k)
		}
	}
}

// Export is the keys for a successor. They are secrets: whoever has them can read all connections of TLS 1.2 that they resumed.
func (t *Tickets) Export() []byte {
	t.current()
	t.mu.Lock()
	defer t.mu.Unlock()
	b := []byte{ticketFormat, byte(len(t.keys))}
	for _, k := range t.keys {
		b = binary.BigEndian.AppendUint64(b, uint64(k.made.Unix()))
		b = append(b, k.key[:]...)
	}
	return b
}

var errTickets = errors.New("import session ticket keys: not what Export gives")

// Import takes the keys of a predecessor in place of our own. An error changes nothing.
func (t *Tickets) Import(b []byte) error {
	const size = 8 + ticketKeyLen
	if len(b) < 2 || b[0] != ticketFormat || b[1] == 0 || b[1] > ticketKeyKept || len(b) != 2+int(b[1])*size {
		return errTickets
	}
	now := t.now()
	var keys []ticketKey
	for b = b[2:]; len(b) > 0; b = b[size:] {
		k := ticketKey{made: time.Unix(int64(binary.BigEndian.Uint64(b)), 0), key: [ticketKeyLen]byte(b[8:size])}
		if k.made.After(now) { // a clock that was set back must not keep a key for ever
			k.made = now
		}
		keys = append(keys, k)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(keys[0].made) >= ticketKeyAge {
		keys = append([]ticketKey{{now, newTicketKey()}}, keys...)
	}
	t.set(keys, now)
	return nil
}
