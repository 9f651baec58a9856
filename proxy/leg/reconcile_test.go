package leg

import (
	"errors"
	"io"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/proxy/loop"
)

// duplicates is a keeper.
type duplicates struct {
	t    testing.TB
	held map[uint64]int
	busy bool
}

func (k *duplicates) Keep(tag uint64, fd int) error {
	if k.busy {
		return ErrKeeperBusy
	}
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		k.t.Fatal(err)
	}
	k.held[tag] = own
	return nil
}

func (k *duplicates) Drop(tags ...uint64) error {
	for _, tag := range tags {
		loop.Close(k.held[tag])
		delete(k.held, tag)
	}
	return nil
}

// deskWithKeeper is a desk with a keeper.
func deskWithKeeper(t testing.TB) (*desk, *duplicates) {
	d := newDesk(t)
	d.slot.State = 1
	k := &duplicates{t: t, held: map[uint64]int{}}
	d.Keeper = k
	d.Shard.Journal()
	return d, k
}

// A peer sees the end at once, in order or not, although the keeper has the connection still; it is taken back at the end of the turn.
func TestEndsInSpiteOfDuplicates(t *testing.T) {
	for name, c := range map[string]struct {
		how  func(*desk, *Leg)
		want error
	}{
		"closed": {func(d *desk, l *Leg) { l.Close(d.Loop) }, nil},
		"reset":  {func(d *desk, l *Leg) { l.Reset(d.Loop) }, unix.ECONNRESET},
	} {
		d, k := deskWithKeeper(t)
		l, peer := d.leg(Backend)
		if len(k.held) != 1 {
			t.Fatalf("%s: %d descriptors are kept", name, len(k.held))
		}
		c.how(d, l)
		peer.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.ReadAll(peer); !errors.Is(err, c.want) {
			t.Errorf("%s: the peer sees %v, want %v", name, err, c.want)
		}
		if len(k.held) != 1 {
			t.Errorf("%s: taken back in the midst of a turn", name)
		}
		if d.TurnOver(); len(k.held) != 0 {
			t.Errorf("%s: not taken back", name)
		}
	}
}

// The kernel counts what was read and what it has taken, without FINs; who has dialled finds one byte more, which is what the baseline is for.
func TestKernelsCounts(t *testing.T) {
	d, _ := deskWithKeeper(t)
	l, peer := d.leg(Backend)
	is := func(when string, want loop.Kernel) {
		t.Helper()
		var got loop.Kernel
		for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
			if got = loop.Counts(l.FD()); got == want {
				return
			}
		}
		t.Errorf("%s: %+v, want %+v", when, got, want)
	}
	is("connected", loop.Kernel{Out: 1})
	loop.Write(l.FD(), []byte("12345"))
	is("written", loop.Kernel{Out: 6})
	peer.Write([]byte("123"))
	d.poll(l.FD(), unix.POLLIN)
	is("not read", loop.Kernel{Out: 6})
	loop.Read(l.FD(), make([]byte, 2))
	is("read in part", loop.Kernel{In: 2, Out: 6})
	peer.CloseWrite()
	d.poll(l.FD(), unix.POLLRDHUP)
	is("the peer has ended", loop.Kernel{In: 2, Out: 6})
	loop.Read(l.FD(), make([]byte, 2))
	is("read to the end", loop.Kernel{In: 3, Out: 6})
	loop.Read(l.FD(), make([]byte, 2))
	is("the end was read", loop.Kernel{In: 3, Out: 6})
	l.Begin(d.Loop, 0)
	if b := d.slot.Base; b.BackendIn != 3 || b.BackendOut != 6 {
		t.Errorf("baseline %+v", b)
	}
}

// A stream that the keeper has no room for is not connected.
func TestKeeperIsBusy(t *testing.T) {
	d, k := deskWithKeeper(t)
	k.busy = true
	fd, errno := loop.Socket(loopback.Addr())
	if errno != 0 {
		t.Fatal(errno)
	}
	l := New(d.slot, Backend)
	if errno := l.Connect(d.Loop, fd, loopback, 1); errno != unix.EBUSY || l.IsOpen() {
		t.Errorf("%v, open %v", errno, l.IsOpen())
	}
}
