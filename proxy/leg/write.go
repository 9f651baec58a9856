package leg

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/proxy/loop"
	"github.com/ircferry/ircferry/proxy/wire"
)

// ErrBroken says that the peer takes nothing any more; the error that it is in has the kernel's errno. The leg is Deaf then, what waited is
// forgotten, and the next Read tells what the peer may have said before. Every other error of a leg is one of the arena.
var ErrBroken = errors.New("connection is broken")

// errEnded is ErrBroken for TLS that can seal no more.
var errEnded = fmt.Errorf("%w: %w", ErrBroken, wire.ErrTLSEnded)

// Send sends all of p: what the kernel does not take now waits in the leg's queue. On a deaf or closed leg p is forgotten.
func (l *Leg) Send(lp *Loop, p []byte) error {
	if l.fd < 0 || l.has(deaf) {
		return nil
	}
	id := l.TLS()
	if id == 0 {
		l.count(len(p))
		return l.put(lp, p)
	}
	if n := lp.wasSealed(l, len(p)); n > 0 {
		l.count(n)
		p = p[n:]
	}
	for len(p) > 0 {
		n := min(len(p), wire.StagingSize)
		records, err := lp.Shard.Seal(id, p[:n])
		if err != nil {
			return l.sealFailed()
		}
		l.count(n)
		if err := l.put(lp, records); err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// Offer sends as much of p as may go now and answers how much that was: what the kernel takes or, with TLS, what was sealed until the kernel took
// no more. What is sealed counts as sent: it goes out, or the stream ends.
func (l *Leg) Offer(lp *Loop, p []byte) (int, error) {
	if l.fd < 0 || l.SentEnd() {
		return 0, ErrBroken
	}
	id := l.TLS()
	if id == 0 {
		n, errno := l.write(lp, p)
		l.count(n)
		return n, l.wrote(lp, n, len(p), errno)
	}
	done := lp.wasSealed(l, len(p))
	l.count(done)
	for done < len(p) && !l.has(full) {
		n := min(len(p)-done, wire.StagingSize)
		records, err := lp.Shard.Seal(id, p[done:done+n])
		if err != nil {
			return done, l.sealFailed()
		}
		done += n
		l.count(n)
		if err := l.put(lp, records); err != nil {
			return done, err
		}
	}
	return done, nil
}

// OfferQueue is Offer for the first most bytes of a queue, which it takes them out of.
func (l *Leg) OfferQueue(lp *Loop, q *wire.Queue, most int) error {
	ps := lp.Shard.Pieces(q, most, lp.pieces[:0])
	if l.TLS() != 0 {
		n, err := l.Offer(lp, ps[0])
		lp.Shard.Consume(q, n)
		return err
	}
	n, offered, errno := l.writev(lp, ps)
	lp.Shard.Consume(q, n)
	l.count(n)
	return l.wrote(lp, n, offered, errno)
}

// Tell writes p whole, on a stream so new that its buffer must have room for it, or answers false: then the connection is of no use.
func (l *Leg) Tell(lp *Loop, p []byte) bool {
	if l.TLS() != 0 {
		n, err := l.Offer(lp, p)
		return err == nil && n == len(p) && l.Waiting(lp) == 0
	}
	n, _ := loop.Write(int(l.fd), p)
	return n == len(p)
}

// Raw sends bytes as they are on the wire: those of a handshake.
func (l *Leg) Raw(lp *Loop, p []byte) error { return l.put(lp, p) }

// Flush writes what waits in the leg's queue as far as the kernel takes it. It answers whether nothing waits any more.
func (l *Leg) Flush(lp *Loop) (bool, error) {
	q := l.pending(lp)
	if q == nil {
		return true, nil
	}
	for q.Len() > 0 && !l.has(full) && l.fd >= 0 && !l.has(deaf) {
		n, offered, errno := l.writev(lp, lp.Shard.Iovecs(q, lp.pieces[:0]))
		lp.Shard.Consume(q, n)
		if err := l.wrote(lp, n, offered, errno); err != nil {
			return false, err
		}
	}
	return q.Len() == 0, nil
}

// Forget drops what waits. On a leg with TLS nothing can be sent after it.
func (l *Leg) Forget(lp *Loop) {
	if q := l.pending(lp); q != nil && q.Len() > 0 {
		lp.Shard.Clear(q)
		if l.TLS() != 0 {
			l.flags |= deaf
		}
	}
}

// put sends bytes as they are on the wire, behind those that wait.
func (l *Leg) put(lp *Loop, p []byte) error {
	if len(p) == 0 || l.fd < 0 || l.has(deaf) {
		return nil
	}
	q, id := l.pending(lp), l.TLS()
	if q == nil || q.Len() == 0 && !l.has(full) && (id != 0 || l.Direct(lp)) {
		n, errno := l.write(lp, p)
		if err := l.wrote(lp, n, len(p), errno); err != nil || n == len(p) {
			return err
		}
		p = p[n:]
	}
	if err := l.enqueue(lp, q, p); err != nil {
		return err
	}
	_, err := l.Flush(lp)
	return err
}

func (l *Leg) enqueue(lp *Loop, q *wire.Queue, p []byte) error {
	if id := l.TLS(); id != 0 {
		return lp.Shard.AppendRecords(q, id, p)
	}
	return lp.Shard.Append(q, p)
}

// Direct reports whether plaintext may be written before it is queued: where it is, bytes that the kernel has taken are known behind a crash by what they
// are of. Beside the work on what was read they must be in the queue.
func (l *Leg) Direct(lp *Loop) bool { return !lp.Shard.Journals() || lp.Shard.Working(l.Slot) }

// wrote notes what became of a write: the rest goes when the kernel says that there is room.
func (l *Leg) wrote(lp *Loop, n, offered int, errno unix.Errno) error {
	if errno != 0 && errno != unix.EAGAIN {
		return l.failed(lp, errno)
	}
	if n == offered {
		return nil
	}
	l.flags |= full
	if !l.has(watched) {
		if err := lp.Rewatch(int(l.fd), l.key, true); err != nil {
			return l.failed(lp, unix.ENOMEM) // it would wait for ever
		}
		l.flags |= watched
	}
	return nil
}

// failed notes that the peer takes nothing any more.
func (l *Leg) failed(lp *Loop, errno unix.Errno) error {
	l.flags |= deaf | more | ending
	if q := l.pending(lp); q != nil {
		lp.Shard.Clear(q)
	}
	return fmt.Errorf("%w: %w", ErrBroken, errno)
}

// sealFailed: what could not be sealed was never on the wire, so the peer sees an end that is not in order.
func (l *Leg) sealFailed() error {
	l.flags |= deaf | more | ending
	return errEnded
}

// write and writev give the kernel what it has not yet.

func (l *Leg) write(lp *Loop, p []byte) (int, unix.Errno) {
	var had, n int
	var errno unix.Errno
	if lp.redo != nil {
		had = lp.redo.had(l, len(p))
	}
	if had < len(p) {
		n, errno = loop.Write(int(l.fd), p[had:])
	}
	lp.at("written")
	return had + n, errno
}

func (l *Leg) writev(lp *Loop, ps [][]byte) (n, offered int, errno unix.Errno) {
	for _, p := range ps {
		offered += len(p)
	}
	if lp.redo != nil {
		for _, p := range ps {
			var k int
			if k, errno = l.write(lp, p); k < len(p) {
				return n + k, offered, errno
			}
			n += k
		}
		return n, offered, errno
	}
	n, errno = loop.Writev(int(l.fd), ps, &lp.room)
	lp.at("written")
	return n, offered, errno
}
