package proxy

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/ircferry/ircferry/proxy/handshake"
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

// shook counts a handshake's outcome.
func (t *tally) shook(res handshake.Result) {
	switch failed := (*handshake.Error)(nil); {
	case res.Err == nil && res.Facts.Resumed:
		t.handshakes.count("resumed")
	case res.Err == nil:
		t.handshakes.count("full")
	case errors.As(res.Err, &failed):
		t.handshakes.count(failed.Reason)
	default:
		t.handshakes.count("other")
	}
}
