package wire

import (
	"bytes"
	"crypto/tls"
	"errors"
	mrand "math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"
)

// full makes an arena of three shards in which all sorts of sessions have come and gone, and answers what is in its queues.
func full(t *testing.T) (*Arena, map[SlotID][]byte) {
	t.Helper()
	unchecked(t)
	a := testArena(t, Options{Slots: 1000, Shards: 3, MaxBytes: 16 << 20})
	rnd, held := mrand.New(mrand.NewPCG(3, 1)), map[SlotID][]byte{}
	for i := range 600 {
		s := a.Shard(i % 3)
		id, slot, err := s.NewSlot()
		if err != nil {
			t.Fatal(err)
		}
		slot.State, slot.Session = 1, uint64(i)
		if i%2 == 0 {
			in, out := testTraffic(suite13, 1), testTraffic(suite13, 2)
			if slot.ClientTLS, err = s.NewTLS(&TLSParams{Version: tls.VersionTLS13, Suite: suite13, In: in, Out: out}); err != nil {
				t.Fatal(err)
			}
			if err := s.Keep(slot.ClientTLS, pattern(rnd.IntN(300))); err != nil {
				t.Fatal(err)
			}
		}
		if i%3 > 0 {
			p := pattern(1 + rnd.IntN(9000))
			if err := s.Append(&slot.ToClient, p); err != nil {
				t.Fatal(err)
			}
			n := rnd.IntN(len(p))
			s.Consume(&slot.ToClient, n)
			held[id] = p[n:]
		}
	}
	for id := SlotID(1); uint32(id) < a.slots.next; id++ {
		if slot := a.slot(id); slot.State != 0 && rnd.IntN(3) == 0 {
			a.Shard(int(slot.Session % 3)).FreeSlot(id)
			delete(held, id)
		}
	}
	return a, held
}

func bySession(s *Slot) int { return int(s.Session % 3) }

// second is a descriptor of the arena for another process.
func second(t *testing.T, a *Arena) int {
	t.Helper()
	fd, err := unix.FcntlInt(uintptr(a.Fd()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

// Who goes on with an arena has the same books as who has left it, writes nothing before Settle, and gives all of it back in the end.
func TestAdopt(t *testing.T) {
	a, held := full(t)
	copied := copyFile(t, a)
	defer unix.Close(copied)
	b, err := Attach(second(t, a), Options{MaxQueue: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := b.Adopt(bySession); err != nil {
		t.Fatal(err)
	}
	eachExtent(t, a.Fd(), func(off int64, p []byte) {
		was := make([]byte, len(p))
		if _, err := unix.Pread(copied, was, off); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(was, p) {
			t.Errorf("the file has changed from %d on", off)
		}
	})
	was, is := a.Stats(), b.Stats()
	if is.Slots != was.Slots || is.TLS != was.TLS || is.Chunks != was.Chunks || is.Max != was.Max || is.Slots == 0 || is.Chunks == 0 {
		t.Errorf("books %+v, were %+v", is, was)
	}
	b.Settle()
	if is := b.Stats(); is.Resident > was.Resident || is.Allocated > was.Allocated {
		t.Errorf("memory %+v, was %+v", is, was)
	}
	used := b.Stats().Slots
	for range 1000 - used { // all the rest, by any shard: none of them is in use
		id, slot, err := b.Shard(1).NewSlot()
		if err != nil {
			t.Fatal(err)
		}
		if slot.State != 0 || slot.ClientTLS != 0 {
			t.Fatalf("slot %d is in use", id)
		}
		if err := b.Shard(1).Append(&slot.ToBackend, pattern(100)); err != nil {
			t.Fatal(err)
		}
		slot.State, slot.Session = 2, 1
	}
	if _, _, err := b.Shard(2).NewSlot(); !errors.Is(err, ErrFull) {
		t.Errorf("one slot more: %v", err)
	}
	for id := SlotID(1); id <= 1000; id++ {
		slot := b.slot(id)
		s := b.Shard(bySession(slot))
		if got := bytes.Join(s.Pieces(&slot.ToClient, slot.ToClient.Len(), nil), nil); slot.State == 1 && !bytes.Equal(got, held[id]) {
			t.Errorf("slot %d has %d bytes, want %d", id, len(got), len(held[id]))
		}
		s.FreeSlot(id)
	}
	if is := b.Stats(); is.Slots != 0 || is.TLS != 0 || is.Chunks != 0 {
		t.Errorf("behind all of it: %+v", is)
	}
}

// What cannot be is refused, and never taken for free.
func TestAdoptRefuses(t *testing.T) {
	for name, spoil := range map[string]func(a *Arena, one, other *Slot){
		"a chunk twice":              func(a *Arena, one, other *Slot) { one.ToClient = other.ToClient },
		"a chunk that is not there":  func(a *Arena, one, other *Slot) { one.ToClient.Head = 1 << 20 },
		"no chunk":                   func(a *Arena, one, other *Slot) { one.ToClient.Head = 0 },
		"another end":                func(a *Arena, one, other *Slot) { one.ToClient.Tail++ },
		"more bytes than chunks":     func(a *Arena, one, other *Slot) { one.ToClient.Bytes += 1 << 20 },
		"an annex twice":             func(a *Arena, one, other *Slot) { one.ClientTLS, one.BackendTLS = 1, 1 },
		"an annex that is free":      func(a *Arena, one, other *Slot) { one.BackendTLS = TLSID(a.annexes.next - 1) },
		"a shard that is not there":  func(a *Arena, one, other *Slot) { one.Session = 2 },
		"a chunk of another's block": func(a *Arena, one, other *Slot) { one.Session = 1 },
	} {
		a := testArena(t, Options{Slots: 10, Shards: 2, MaxBytes: 4 << 20})
		var slots []*Slot
		for range 2 {
			_, slot, err := a.Shard(0).NewSlot()
			if err != nil {
				t.Fatal(err)
			}
			slot.State = 1
			if err := a.Shard(0).Append(&slot.ToClient, pattern(100)); err != nil {
				t.Fatal(err)
			}
			slots = append(slots, slot)
		}
		in, out := testTraffic(suite13, 1), testTraffic(suite13, 2)
		if _, err := a.Shard(0).NewTLS(&TLSParams{Version: tls.VersionTLS13, Suite: suite13, In: in, Out: out}); err != nil {
			t.Fatal(err)
		}
		spoil(a, slots[0], slots[1])
		b, err := Attach(second(t, a), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Adopt(func(s *Slot) int { return int(s.Session) }); err == nil {
			t.Errorf("%s: adopted", name)
		}
		b.Close()
	}
}

// An arena of another layout, or what is none, is not touched.
func TestAttachRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*header){
		"another version":  func(h *header) { h.Version++ },
		"another layout":   func(h *header) { h.LayoutHash++ },
		"another size":     func(h *header) { h.Size++ },
		"no shards":        func(h *header) { h.Shards = 0 },
		"too many in use":  func(h *header) { h.SlotsNext = uint32(h.Slots) + 2 },
		"blocks elsewhere": func(h *header) { h.ChunksOff += blockSize },
	} {
		a := testArena(t, Options{Slots: 10, Shards: 1, MaxBytes: 4 << 20})
		spoil(a.hdr)
		fd := second(t, a)
		if _, err := Attach(fd, Options{}); !errors.Is(err, ErrLayout) {
			t.Errorf("%s: %v", name, err)
		}
		unix.Close(fd)
	}
	fd, err := memfd()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if _, err := Attach(fd, Options{}); err == nil {
		t.Error("a file that may be cut was attached")
	}
}
