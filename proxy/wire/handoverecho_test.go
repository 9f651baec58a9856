package wire_test

import (
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/proxy/wire"
)

// course is what a session has before it and behind it. It goes along with the session's state and descriptor.
type course struct {
	ID      string
	Seed    uint64
	Every   int      // bytes of application data between two hand-overs, on average
	Whole   bool     // the slot is handed over (ExportSlot), else the connection alone (ExportTLS)
	Asks    bool     // we ask for the peer's key updates; else it makes them when it wants
	Dial    string   // we are the client of who listens there; else we accept
	Moments []moment // of the hand-overs to come
	Seen    []sight  // of those that were
	Echoed  int      // bytes of application data
	Resumed bool     // was the handshake
	Cipher  string
}

// moment is when a session is handed over, once enough was echoed.
type moment string

const (
	anywhere  moment = "anywhere"
	midRecord moment = "in the middle of a record"
	unsent    moment = "with records that the socket did not take"
	ours      moment = "after our key update"
	theirs    moment = "after the peer's key update"
)

// sight is how a session was when it was handed over.
type sight struct {
	Moment                       moment
	At                           int // bytes echoed
	PID                          int
	Partial, Unsent, Half, State int // bytes
	InEpoch, OutEpoch            uint32
}

const (
	patience  = 60 * time.Second
	highWater = 128 << 10

	// cork is collected before a hand-over with unsent records, and then written at once: a socket on the loopback takes 64 KiB in one piece
	// even if its buffer is small. A peer that waits for its bytes before it sends others gets them after uncork.
	cork   = 96 << 10
	uncork = 250 * time.Millisecond
)

// echo sends back what its peer sends, in one of the processes that do so in turn. Its connection over TLS is in an arena of this process.
type echo struct {
	course
	fd      int
	arena   *wire.Arena
	s       *wire.Shard
	slot    wire.SlotID
	id      wire.TLSID
	rnd     *mrand.Rand
	due     int  // bytes until the next hand-over
	asked   bool // for the peer's key update
	hurry   bool // the peer waits
	short   bool // the socket took less than there was
	updated bool // the peer has changed its keys in what was opened last
	failed  error
}

func newEcho(c course, fd int) (*echo, error) {
	a, err := wire.New(wire.Options{Slots: 1, Shards: 1, MaxBytes: 4 << 20})
	if err != nil {
		return nil, err
	}
	e := &echo{course: c, fd: fd, arena: a, s: a.Shard(0), rnd: mrand.New(mrand.NewPCG(c.Seed, uint64(len(c.Seen))))}
	e.due = c.Every/2 + e.rnd.IntN(c.Every)
	return e, nil
}

// begin takes a connection over from its handshake.
func (e *echo) begin(p *wire.TLSParams, rest []byte) error {
	slot := e.newSlot()
	var err error
	if e.id, err = e.s.NewTLS(p); err != nil {
		return err
	}
	slot.ClientTLS = e.id
	if err := e.s.Keep(e.id, rest); err != nil {
		return err
	}
	return e.open(0)
}

func (e *echo) newSlot() *wire.Slot {
	id, slot, err := e.s.NewSlot()
	if err != nil {
		panic(err)
	}
	e.slot, slot.State = id, 1
	return slot
}

// resume takes a connection over from another process.
func (e *echo) resume(state []byte) (err error) {
	if e.Whole {
		if e.slot, err = e.s.ImportSlot(state); err == nil {
			e.id = e.s.Slot(e.slot).ClientTLS
		}
	} else {
		slot := e.newSlot()
		e.id, err = e.s.ImportTLS(state)
		slot.ClientTLS = e.id
	}
	if err != nil {
		return err
	}
	b, err := e.s.SealReply(e.id) // if it was due
	e.send(b, err)
	return e.failed
}

// end leaves the process without the session.
func (e *echo) end() {
	unix.Close(e.fd)
	e.s.FreeSlot(e.slot)
	e.arena.Close()
}

// unsent are the records that the socket did not take.
func (e *echo) unsent() *wire.Queue {
	if e.Whole {
		return &e.s.Slot(e.slot).ToClient
	}
	return &e.s.TLS(e.id).Unsent
}

// run echoes until the session is to be handed over, or the peer has ended.
func (e *echo) run() (over bool, err error) {
	for e.failed == nil {
		e.write()
		switch {
		case e.failed != nil:
		case e.handOverNow():
			return false, nil
		case e.s.TLS(e.id).Flags.Has(wire.TLSEnded) && e.unsent().Len() == 0:
			return true, unix.Shutdown(e.fd, unix.SHUT_WR)
		default:
			e.wait()
		}
	}
	return false, e.failed
}

func (e *echo) fail(doing string, err error) {
	if err != nil && err != unix.EAGAIN && err != unix.EINTR && e.failed == nil {
		e.failed = fmt.Errorf("%s: %w", doing, err)
	}
}

// wait waits for the socket and reads.
func (e *echo) wait() {
	p := []unix.PollFd{{Fd: int32(e.fd)}}
	reads := !e.s.TLS(e.id).Flags.Has(wire.TLSClosed) && (e.unsent().Len() < highWater || e.asked)
	if reads { // the peer that is asked may not read before its answer is out
		p[0].Events |= unix.POLLIN
	}
	if e.unsent().Len() > 0 && !e.corked() {
		p[0].Events |= unix.POLLOUT
	}
	time := patience
	if e.corked() {
		time = uncork
	}
	n, err := unix.Poll(p, int(time.Milliseconds()))
	e.fail("poll", err)
	if e.hurry = n == 0 && e.corked(); n == 0 && !e.hurry && err == nil {
		e.fail("poll", os.ErrDeadlineExceeded)
	}
	if p[0].Revents&^unix.POLLOUT == 0 || !reads {
		return
	}
	most := 20_000
	if e.waitsFor(midRecord) {
		most = 50
	}
	room := e.s.ReadRoom(e.id)
	n, err = unix.Read(e.fd, room[:min(len(room), 1+e.rnd.IntN(most))])
	if e.fail("read", err); err == nil && n == 0 {
		e.fail("read", errors.New("the peer ends without close_notify"))
	}
	if n > 0 {
		e.fail("open", e.open(n))
	}
}

// open echoes n bytes that were read.
func (e *echo) open(n int) error {
	t := e.s.TLS(e.id)
	epoch := t.In.Epoch
	got, err := e.s.Open(e.id, n, 0)
	if err != nil {
		return err
	}
	e.updated = t.In.Epoch != epoch
	e.due -= len(got.Plain)
	e.Echoed += len(got.Plain)
	if e.Whole {
		e.lines(got.Plain, got.Closed)
	} else if len(got.Plain) > 0 {
		e.send(e.s.Seal(e.id, got.Plain))
	}
	if got.Closed {
		e.send(e.s.SealAlert(e.id, wire.AlertCloseNotify))
	}
	return e.failed
}

// lines echoes whole lines and keeps the half one, or echoes it if it is the last.
func (e *echo) lines(p []byte, last bool) {
	q := &e.s.Slot(e.slot).ToBackend
	e.fail("queue lines", e.s.AppendLines(q, p))
	n := q.Whole()
	if last {
		n = q.Len()
	}
	b := slices.Concat(e.s.Pieces(q, n, nil)...)
	e.s.Consume(q, n)
	for p := range slices.Chunk(b, wire.StagingSize) {
		e.send(e.s.Seal(e.id, p))
	}
}

// send queues records behind those that are there.
func (e *echo) send(records []byte, err error) {
	e.fail("seal", err)
	e.fail("queue records", e.s.Append(e.unsent(), records))
}

func (e *echo) corked() bool {
	return e.waitsFor(unsent) && !e.short && !e.hurry && e.unsent().Len() < cork
}

// waitsFor reports whether enough was echoed, and the session is now handed over when this comes.
func (e *echo) waitsFor(m moment) bool { return len(e.Moments) > 0 && e.Moments[0] == m && e.due <= 0 }

// write offers the socket once what there is.
func (e *echo) write() {
	if e.corked() {
		return
	}
	if ps := e.s.Iovecs(e.unsent(), nil); len(ps) > 0 {
		n, err := unix.Writev(e.fd, ps)
		e.fail("write", err)
		e.s.Consume(e.unsent(), max(n, 0))
		e.short = e.unsent().Len() > 0
	}
}

// handOverNow reports whether the moment has come, and helps it to come.
func (e *echo) handOverNow() bool {
	switch {
	case len(e.Moments) == 0:
		return false
	case e.Moments[0] == theirs && e.updated && (e.asked || !e.Asks):
		return true
	case e.due > 0:
		return false
	}
	switch e.Moments[0] {
	case midRecord:
		return e.s.TLS(e.id).Receiver.Partial.Len() > 0
	case unsent:
		return e.short
	case ours:
		e.send(e.s.SealKeyUpdate(e.id, false), nil)
	case theirs:
		if e.Asks && !e.asked {
			e.asked = true
			e.send(e.s.SealKeyUpdate(e.id, true), nil)
			e.write()
		}
		return false
	}
	return true
}

// handOver makes the state of the session; nothing of it can be used here afterwards.
func (e *echo) handOver() (course, []byte, error) {
	t, c := e.s.TLS(e.id), e.course
	seen := sight{Moment: c.Moments[0], At: c.Echoed, PID: os.Getpid(), Partial: t.Receiver.Partial.Len(), Unsent: e.unsent().Len(),
		Half: e.s.Slot(e.slot).ToBackend.Len(), InEpoch: t.In.Epoch, OutEpoch: t.Out.Epoch}
	var state []byte
	var err error
	if e.Whole {
		state, err = e.s.ExportSlot(e.slot)
	} else {
		state, err = e.s.ExportTLS(e.id)
	}
	seen.State = len(state)
	c.Moments, c.Seen = c.Moments[1:], append(c.Seen, seen)
	return c, state, err
}
