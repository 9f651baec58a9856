package proxy

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/ircferry/ircferry/proxy/handshake"
	"github.com/ircferry/ircferry/proxy/wire"
)

// words counts by words that are known only as they come: outcomes of handshakes, reasons why records were refused. All of them are fixed in
// proxy/handshake and proxy/wire. Any goroutine may use it.
type words struct{ counts sync.Map }

func (c *words) count(word string) {
	n, ok := c.counts.Load(word)
	if !ok {
		n, _ = c.counts.LoadOrStore(word, new(atomic.Uint64))
	}
	n.(*atomic.Uint64).Add(1)
}

func (c *words) each(f func(word string, n uint64)) {
	c.counts.Range(func(word, n any) bool {
		f(word.(string), n.(*atomic.Uint64).Load())
		return true
	})
}

// tlsWhy is a word for why TLS ended a session, in the one byte that a session has for it; 0: it did not.
type tlsWhy uint8

var tlsWords = slices.Concat([]string{""}, handshake.Reasons, wire.TLSReasons)

// whyTLS is 0 for a word that is not in the lists.
func whyTLS(word string) tlsWhy { return tlsWhy(max(slices.Index(tlsWords, word), 0)) }

func (y tlsWhy) String() string { return tlsWords[y] }

// shook counts a handshake's outcome.
func (s *session) shook(res *handshake.Result) {
	counts := &s.tally().handshakes
	switch failed := (*handshake.Error)(nil); {
	case res.Err == nil && res.Facts.Resumed:
		counts.count("resumed")
	case res.Err == nil:
		counts.count("full")
	case errors.As(res.Err, &failed):
		counts.count(failed.Reason)
		s.endsOfTLS(whyTLS(failed.Reason))
	default:
		counts.count("other")
	}
}

// refusedRecord counts why what the client has sent ends the session.
func (s *session) refusedRecord(err error) {
	reason := reasonOfTLS(err)
	s.tally().records.count(reason)
	s.endsOfTLS(whyTLS(reason))
}

func reasonOfTLS(err error) string {
	if te := (*wire.TLSError)(nil); errors.As(err, &te) {
		return te.Reason
	}
	return "internal"
}

// all and set are for a successor.
func (c *words) all() map[string]uint64 {
	all := map[string]uint64{}
	c.each(func(word string, n uint64) { all[word] = n })
	return all
}

func (c *words) set(all map[string]uint64) {
	for word, n := range all {
		v := new(atomic.Uint64)
		v.Store(n)
		c.counts.Store(word, v)
	}
}
