package leg

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/proxy/loop"
	"github.com/ircferry/ircferry/proxy/wire"
)

// silent fails if the peer gets something within a moment, or the end.
func silent(t *testing.T, c *net.TCPConn) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if n, err := c.Read(make([]byte, 1)); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d bytes, %v, want nothing", n, err)
	}
	c.SetDeadline(time.Now().Add(patience))
}

// end is what the peer reads last.
func end(c io.Reader) error {
	_, err := io.Copy(io.Discard, c)
	return err
}

// fill sends until something waits in the leg.
func (d *desk) fill(l *Leg) (sent []byte) {
	d.t.Helper()
	for l.Waiting(d.Loop) < 50_000 {
		p := pattern(50_001)
		sent = append(sent, p...)
		if err := l.Send(d.Loop, p); err != nil {
			d.t.Fatal(err)
		}
	}
	return sent
}

func TestAcceptedLeg(t *testing.T) {
	d := newDesk(t)
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.DialTCP("tcp", nil, ln.Addr().(*net.TCPAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	f, err := ln.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fd, _, errno := loop.Accept(int(f.Fd()))
	if errno != 0 {
		t.Fatal(errno)
	}
	l := New(d.slot, Client)
	if err := l.Take(d.Loop, -1, 1); err == nil || l.IsOpen() {
		t.Errorf("what cannot be watched: %v, open %v", err, l.IsOpen())
	}
	if err := l.Take(d.Loop, fd, 1); err != nil || l.FD() != fd || !l.IsOpen() || l.Side() != Client || l.More() || l.Connecting() {
		t.Fatalf("%v, %+v", err, l)
	}
	if err := l.Send(d.Loop, []byte("x")); err != nil || string(<-reading(c, 1)) != "x" {
		t.Error("it cannot be written to")
	}
	l.Close(d.Loop)
}

func TestConnectThatFails(t *testing.T) {
	d := newDesk(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	to := netip.MustParseAddrPort(ln.Addr().String())
	ln.Close()
	fd, errno := loop.Socket(to.Addr())
	if errno != 0 {
		t.Fatal(errno)
	}
	l := New(d.slot, Backend)
	if errno = l.Connect(d.Loop, fd, to, 1); errno == unix.EINPROGRESS {
		if !l.Connecting() {
			t.Error("it is decided")
		}
		errno = l.Decided(d.poll(fd, unix.POLLOUT))
		l.Close(d.Loop)
	}
	if errno != unix.ECONNREFUSED || l.Connecting() || l.IsOpen() {
		t.Errorf("%v, connecting %v, open %v", errno, l.Connecting(), l.IsOpen())
	}

	other := New(d.slot, Backend)
	fd, errno = loop.Socket(to.Addr())
	if errno != 0 {
		t.Fatal(errno)
	}
	if errno := other.Connect(d.Loop, fd, netip.MustParseAddrPort("[::1%nosuch0]:1"), 1); errno != unix.ENODEV || other.IsOpen() {
		t.Errorf("%v, open %v", errno, other.IsOpen())
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != unix.EBADF {
		t.Errorf("the descriptor stays: %v", err)
	}
}

// A leg that is closed, or whose direction is ended, takes nothing more and says so where somebody counts on it.
func TestNothingGoesBehindTheEnd(t *testing.T) {
	d := newDesk(t)
	l, c := d.leg(Backend)
	if l.SentEnd() || !l.End(d.Loop) || !l.SentEnd() || !l.End(d.Loop) {
		t.Error("the end did not go, once")
	}
	if n, err := l.Offer(d.Loop, []byte("x")); n != 0 || !errors.Is(err, ErrBroken) || errors.Is(err, unix.EPIPE) {
		t.Errorf("behind the end: %d, %v", n, err)
	}
	if err := end(c); err != nil || d.slot.BackendIn != 0 {
		t.Errorf("the peer's end: %v; counted %d", err, d.slot.BackendIn)
	}
	l.Close(d.Loop)
	if n, err := l.Offer(d.Loop, []byte("x")); n != 0 || !errors.Is(err, ErrBroken) {
		t.Errorf("closed: %d, %v", n, err)
	}
	if !l.End(d.Loop) || l.More() {
		t.Error("closed: there is an end to come, or more")
	}
	if err := l.Send(d.Loop, []byte("x")); err != nil || d.slot.BackendIn != 0 {
		t.Errorf("closed: %v, and %d bytes count", err, d.slot.BackendIn)
	}
	if err := l.Raw(d.Loop, []byte("x")); err != nil {
		t.Errorf("closed: %v, want it to be forgotten", err)
	}
	if done, err := l.Flush(d.Loop); !done || err != nil {
		t.Errorf("closed: flush %v, %v", done, err)
	}
	l.Close(d.Loop) // once more harms nobody
	l.Reset(d.Loop)
	if fd := l.GiveUp(d.Loop); fd != -1 {
		t.Errorf("gave up %d", fd)
	}
}

// How each way of closing looks to a peer of which something is unread.
func TestWaysToClose(t *testing.T) {
	for _, c := range []struct {
		name string
		side Side
		how  func(*desk, *Leg)
		want error
	}{
		{"a client's, unread", Client, func(d *desk, l *Leg) { l.Close(d.Loop) }, unix.ECONNRESET},
		{"a client's, read away", Client, func(d *desk, l *Leg) { l.ReadAway(d.Loop); l.Close(d.Loop) }, nil},
		{"a stream that is to be forgotten", Attached, func(d *desk, l *Leg) { l.Reset(d.Loop) }, unix.ECONNRESET},
		{"a stream that is to be forgotten, read away", Attached, func(d *desk, l *Leg) { l.ReadAway(d.Loop); l.Reset(d.Loop) }, unix.ECONNRESET},
		{"one that is closed by the caller", Backend, func(d *desk, l *Leg) {
			l.ReadAway(d.Loop)
			fd := l.GiveUp(d.Loop)
			if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
				d.t.Errorf("given up and closed: %v", err)
			}
			loop.Close(fd)
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDesk(t)
			l, peer := d.leg(c.side)
			peer.Write([]byte("unread"))
			d.poll(l.FD(), unix.POLLIN)
			c.how(d, l)
			if l.IsOpen() || !l.Gone() || l.FD() != -1 {
				t.Errorf("%+v", l)
			}
			if err := end(peer); !errors.Is(err, c.want) {
				t.Errorf("the peer sees %v, want %v", err, c.want)
			}
		})
	}
}

// An ircd sees an end in order, even if something is unread here.
func TestBackendIsEndedInOrder(t *testing.T) {
	d := newDesk(t)
	l, peer := d.leg(Backend)
	peer.Write([]byte("unread"))
	d.poll(l.FD(), unix.POLLIN)
	fd, err := unix.FcntlInt(uintptr(l.FD()), unix.F_DUPFD_CLOEXEC, 0) // or the reset may overtake the FIN
	if err != nil {
		t.Fatal(err)
	}
	defer loop.Close(fd)
	l.Close(d.Loop)
	if err := end(peer); err != nil {
		t.Errorf("the peer sees %v, want the end", err)
	}
}

// An edge says what there is to do.
func TestEvents(t *testing.T) {
	d := newDesk(t)
	l, _ := d.leg(Client)
	for _, c := range []struct {
		ev           loop.Events
		full         bool
		room         bool
		more, ending bool
	}{
		{loop.Readable, false, false, true, false},
		{loop.Readable, true, false, true, false},
		{loop.Writable, false, false, false, false},
		{loop.Writable, true, true, false, false},
		{loop.Readable | loop.Writable, true, true, true, false},
		{loop.Readable | loop.PeerEnded, false, false, true, true},
		{loop.Broken, false, false, true, true},
		{loop.HangUp, false, false, true, true},
	} {
		l.flags = watched
		if c.full {
			l.flags |= full
		}
		if room := l.Event(c.ev); room != c.room || l.More() != c.more || l.Ending() != c.ending || l.Full() != (c.full && !c.room) {
			t.Errorf("%+v: room %v, more %v, ending %v, full %v", c, room, l.More(), l.Ending(), l.Full())
		}
	}
}

// Behind a short read there may still be the end, if the kernel has it.
func TestShortReadBeforeTheEnd(t *testing.T) {
	for name, read := range map[string]func(*Leg, *desk) Got{
		"read":    func(l *Leg, d *desk) Got { return l.Read(d.Loop, wire.StagingSize) },
		"discard": func(l *Leg, d *desk) Got { return l.Discard(d.Loop) },
	} {
		d := newDesk(t)
		l, c := d.leg(Client)
		l.LookAgain()
		if got := read(l, d); got.Read != 0 || l.More() {
			t.Errorf("%s of nothing: %+v, more %v", name, got, l.More())
		}
		c.Write([]byte("x"))
		l.Event(d.poll(l.FD(), unix.POLLIN))
		if got := read(l, d); got.Read != 1 || l.More() {
			t.Errorf("%s: %+v, more %v", name, got, l.More())
		}
		c.Write([]byte("y"))
		c.CloseWrite()
		for !l.Ending() {
			l.Event(d.poll(l.FD(), unix.POLLIN))
		}
		if got := read(l, d); got.Read != 1 || got.End != NotYet || !l.More() {
			t.Errorf("%s before the end: %+v, more %v", name, got, l.More())
		}
		if got := read(l, d); got.End != FIN || l.More() {
			t.Errorf("%s of the end: %+v, more %v", name, got, l.More())
		}
	}
}

// What a closed leg had in the arena is given back.
func TestCloseGivesBack(t *testing.T) {
	d := newDesk(t)
	l, _, _ := d.secured(Client)
	d.fill(l)
	before := d.arena.Stats()
	l.Close(d.Loop)
	after := d.arena.Stats()
	if d.slot.ToClient.Len() != 0 || before.TLS != 1 || after.TLS != 0 {
		t.Errorf("%d bytes wait; %d annexes, and before %d", d.slot.ToClient.Len(), after.TLS, before.TLS)
	}
}

// What is read and forgotten still tells how it ended.
func TestDiscard(t *testing.T) {
	d := newDesk(t)
	l, c := d.leg(Client)
	l.LookAgain()
	if got := l.Discard(d.Loop); got.Read != 0 || got.End != NotYet || l.More() {
		t.Errorf("nothing there: %+v, more %v", got, l.More())
	}
	c.Write([]byte("x"))
	l.Event(d.poll(l.FD(), unix.POLLIN))
	if got := l.Discard(d.Loop); got.Read != 1 || got.Data != nil || got.Full || got.End != NotYet || l.More() {
		t.Errorf("a byte: %+v, more %v", got, l.More())
	}
	go c.Write(pattern(wire.StagingSize))
	l.LookAgain()
	for read := 0; read < wire.StagingSize; {
		got := l.Discard(d.Loop)
		if read += got.Read; got.Full != (got.Read == wire.StagingSize) {
			t.Errorf("%d bytes are all there was room for: %v", got.Read, got.Full)
		}
		if !l.More() && read < wire.StagingSize {
			l.Event(d.poll(l.FD(), unix.POLLIN))
		}
	}
	c.CloseWrite()
	l.Event(d.poll(l.FD(), unix.POLLIN))
	if got := l.Discard(d.Loop); got.End != FIN || l.More() {
		t.Errorf("a FIN: %+v, more %v", got, l.More())
	}
	c.SetLinger(0)
	c.Close()
	for d.poll(l.FD(), unix.POLLIN)&loop.HangUp == 0 {
	}
	l.LookAgain()
	if got := l.Discard(d.Loop); got.End != Lost && got.End != FIN || l.More() {
		t.Errorf("a reset: %+v, more %v", got, l.More())
	}
}

func TestResetIsTold(t *testing.T) {
	for name, read := range map[string]func(*Leg, *desk) Got{
		"read":    func(l *Leg, d *desk) Got { return l.Read(d.Loop, wire.StagingSize) },
		"discard": func(l *Leg, d *desk) Got { return l.Discard(d.Loop) },
	} {
		d := newDesk(t)
		l, c := d.leg(Client)
		c.SetLinger(0)
		c.Close()
		l.Event(d.poll(l.FD(), unix.POLLIN))
		if !l.More() || !l.Ending() || l.WasReset() {
			t.Errorf("%s: more %v, ending %v, reset %v", name, l.More(), l.Ending(), l.WasReset())
		}
		if got := read(l, d); got.End != Lost || got.Errno != unix.ECONNRESET || l.More() || l.WasReset() != (name == "read") {
			t.Errorf("%s: %+v, more %v, reset %v", name, got, l.More(), l.WasReset())
		}
	}
}

// Behind the end that was accepted, only an error is told.
func TestReadBehindTheEnd(t *testing.T) {
	d := newDesk(t)
	l, c := d.leg(Client)
	l.NoMore()
	c.Write([]byte("xy"))
	l.Event(d.poll(l.FD(), unix.POLLIN))
	for _, room := range []int{1, 2} {
		if got := l.Read(d.Loop, room); got.Read != 1 || got.Data != nil || got.End != NotYet || got.Full != (room == 1) {
			t.Errorf("a byte, with room for %d: %+v", room, got)
		}
	}
	c.CloseWrite()
	l.Event(d.poll(l.FD(), unix.POLLIN))
	if got := l.Read(d.Loop, wire.StagingSize); got.End != NotYet || l.More() {
		t.Errorf("a FIN: %+v, more %v", got, l.More())
	}
}

// What is sent goes behind what waits, also when the kernel has room again.
func TestOrderIsKeptWhenThereIsRoomAgain(t *testing.T) {
	d := newDesk(t)
	l, c := d.leg(Client)
	sent := d.fill(l)
	got := reading(c, len(sent)+1)
	d.poll(l.FD(), unix.POLLOUT)
	l.TryAgain()
	if err := l.Send(d.Loop, []byte("x")); err != nil {
		t.Fatal(err)
	}
	d.flush(l)
	if !bytes.Equal(<-got, append(sent, 'x')) {
		t.Error("the peer got something else")
	}
}

// What waits for a peer that is gone is forgotten with it.
func TestBrokenPeerLeavesNothing(t *testing.T) {
	d := newDesk(t)
	l, c := d.leg(Client)
	d.fill(l)
	c.SetLinger(0)
	c.Close()
	for d.poll(l.FD(), 0)&loop.HangUp == 0 {
	}
	l.TryAgain()
	if done, err := l.Flush(d.Loop); done || !errors.Is(err, ErrBroken) || l.Waiting(d.Loop) != 0 || !l.SentEnd() {
		t.Errorf("%v, %v; %d bytes wait, ended %v", done, err, l.Waiting(d.Loop), l.SentEnd())
	}
}

// A plaintext peer can be told something else instead of what waits; one with TLS nothing, since records would be missing.
func TestForget(t *testing.T) {
	d := newDesk(t)
	l, _ := d.leg(Client)
	l.Forget(d.Loop)
	d.fill(l)
	if l.Forget(d.Loop); l.Waiting(d.Loop) != 0 || l.Deaf() {
		t.Errorf("%d bytes wait, deaf %v", l.Waiting(d.Loop), l.Deaf())
	}
	e := newDesk(t)
	l, _, _ = e.secured(Client)
	if l.Forget(e.Loop); l.Deaf() {
		t.Error("deaf although nothing waited")
	}
	e.fill(l)
	if l.Forget(e.Loop); l.Waiting(e.Loop) != 0 || !l.Deaf() {
		t.Errorf("TLS: %d bytes wait, deaf %v", l.Waiting(e.Loop), l.Deaf())
	}
}
