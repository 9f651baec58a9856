package leg

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/proxy/loop"
	"github.com/ircferry/ircferry/proxy/wire"
)

// End is how the peer's direction has ended.
type End uint8

const (
	NotYet  End = iota
	FIN         // in order: a FIN, or close_notify. With Err it came in the middle of a TLS record
	Lost        // by an error of the connection, which is dead: Errno
	Refused     // by a TLS record that is not good, an alert, or want of memory for a record: Err. Our own alert is on its way
)

// Got is what one Read has brought. Data comes before the end.
type Got struct {
	Data  []byte // opened, if the leg has TLS. Valid until the loop's next read
	Read  int    // bytes that the kernel gave
	End   End
	Errno unix.Errno
	Err   error
	Full  bool // as much as there was room for: there may be more
}

// Read reads once, at most most bytes. It is for a leg that has More. Who hears of an end and accepts it calls NoMore; after that nothing but an error
// is told.
func (l *Leg) Read(lp *Loop, most int) Got {
	id := l.TLS()
	if l.has(kept) {
		l.flags &^= kept
		return l.open(lp, id, 0)
	}
	secure := id != 0 && !l.Ended()
	buf := lp.Shard.Staging()
	if secure {
		buf = lp.Shard.ReadRoom(id)
	}
	buf = buf[:min(len(buf), most)]
	n, errno := loop.Read(int(l.fd), buf)
	lp.at("read")
	lp.Shard.Got(n)
	switch {
	case errno == unix.EAGAIN:
		l.flags &^= more
		return Got{}
	case errno != 0:
		l.flags = l.flags&^more | reset
		return Got{End: Lost, Errno: errno}
	case n == 0:
		return l.ended(lp, secure)
	}
	if n < len(buf) && !l.has(ending) {
		l.flags &^= more
	}
	if secure {
		got := l.open(lp, id, n)
		got.Full = n == len(buf) && got.End == NotYet
		return got
	}
	if l.Ended() {
		return Got{Read: n, Full: n == len(buf)} // behind a close_notify: forgotten
	}
	return Got{Data: buf[:n], Read: n, Full: n == len(buf)}
}

// ended is a FIN of the peer.
func (l *Leg) ended(lp *Loop, secure bool) Got {
	l.flags &^= more
	if l.Ended() {
		return Got{} // behind its close_notify
	}
	got := Got{End: FIN}
	if secure && lp.Shard.InRecord(l.TLS()) {
		got.Err = wire.ErrTruncated
	}
	return got
}

// open opens n bytes that were read, answers what TLS wants answered, and tells the end of the peer's direction if it is here.
func (l *Leg) open(lp *Loop, id wire.TLSID, n int) Got {
	o, err := lp.Shard.Open(id, n, lp.Now())
	if o.Reply {
		reply, rerr := lp.Shard.SealReply(id)
		if rerr == nil {
			rerr = l.put(lp, reply)
		}
		if err == nil && rerr != nil && !errors.Is(rerr, ErrBroken) {
			err = rerr
		}
	}
	got := Got{Data: o.Plain, Read: n}
	switch {
	case err != nil:
		got.End, got.Err = Refused, err
		if te := (*wire.TLSError)(nil); errors.As(err, &te) && te.Alert != 0 {
			l.alert(lp, te.Alert)
		}
		l.flags = l.flags&^more | reset
	case o.Closed:
		got.End = FIN
		if l.side == Backend {
			l.flags &^= more
		}
	}
	return got
}

// Discard reads what is there and forgets it. It answers how the peer's direction has ended, if it has; the FIN behind a close_notify counts.
func (l *Leg) Discard(lp *Loop) Got {
	buf := lp.Shard.Staging()
	n, errno := loop.Read(int(l.fd), buf)
	switch {
	case errno == unix.EAGAIN:
		l.flags &^= more
		return Got{}
	case errno != 0:
		l.flags &^= more
		return Got{End: Lost, Errno: errno}
	case n == 0:
		l.flags &^= more
		return Got{End: FIN}
	}
	if n < len(buf) && !l.has(ending) {
		l.flags &^= more
	}
	return Got{Read: n, Full: n == len(buf)}
}

// Secure gives the leg the TLS state that its handshake ended with. rest is what came behind the Finished: it is opened first.
func (l *Leg) Secure(lp *Loop, p *wire.TLSParams, rest []byte) error {
	id, err := lp.Shard.NewTLS(p)
	if err != nil {
		return err
	}
	l.setTLS(id)
	l.flags |= kept | more // also an end that was seen meanwhile is found again
	return lp.Shard.Keep(id, rest)
}
