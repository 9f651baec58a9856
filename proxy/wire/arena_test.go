package wire

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	CheckOwner(true)
	os.Exit(m.Run())
}

func testArena(t testing.TB, o Options) *Arena {
	t.Helper()
	a, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

func pattern(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte('a' + i%26)
	}
	return p
}

func queued(s *Shard, q *Queue) []byte { return bytes.Join(s.Iovecs(q, nil), nil) }

func TestHeaderTellsASuccessorWhatLiesWhere(t *testing.T) {
	a := testArena(t, Options{Slots: 100, Shards: 2, MaxBytes: 1 << 20})
	buf := make([]byte, headerSize)
	if _, err := unix.Pread(a.Fd(), buf, 0); err != nil {
		t.Fatal(err)
	}
	h := (*header)(unsafe.Pointer(&buf[0]))
	if h.Magic != Magic || h.Version != LayoutVersion || h.LayoutHash != LayoutHash() || h.Shards != 2 || h.Slots != 100 {
		t.Errorf("header %+v", h)
	}
	var st unix.Stat_t
	if err := unix.Fstat(a.Fd(), &st); err != nil || uint64(st.Size) != h.Size {
		t.Errorf("size %d, header says %d: %v", st.Size, h.Size, err)
	}

	s := a.Shard(1)
	id, slot, err := s.NewSlot()
	if err != nil {
		t.Fatal(err)
	}
	slot.Session = 0x1122334455667788
	if err := s.Append(&slot.ToClient, []byte("held")); err != nil {
		t.Fatal(err)
	}
	copy(s.Staging(), "staged")
	*s.Staged() = Staged{Slot: id, Generation: slot.Generation, To: 6, Dir: ToBackend}

	raw := make([]byte, SlotSize)
	if _, err := unix.Pread(a.Fd(), raw, int64(h.SlotsOff)+int64(id)*SlotSize); err != nil {
		t.Fatal(err)
	}
	got := (*Slot)(unsafe.Pointer(&raw[0]))
	if *got != *slot {
		t.Errorf("slot in the file %+v\nwant %+v", got, slot)
	}
	text := make([]byte, 4)
	if _, err := unix.Pread(a.Fd(), text, int64(h.ChunksOff)+int64(got.ToClient.Head-1)*ChunkSize+chunkHeader); err != nil || string(text) != "held" {
		t.Errorf("chunk in the file %q: %v", text, err)
	}
	if _, err := unix.Pread(a.Fd(), text, int64(h.AreasOff)+shardAreaSize+redoSize); err != nil || string(text) != "stag" {
		t.Errorf("staging in the file %q: %v", text, err)
	}
}

func TestNobodyCutsTheFile(t *testing.T) {
	a := testArena(t, Options{Slots: 1, Shards: 1, MaxBytes: 1 << 20})
	if err := unix.Ftruncate(a.Fd(), 0); !errors.Is(err, unix.EPERM) {
		t.Errorf("ftruncate of a sealed arena: %v, want EPERM", err)
	}
	flags, err := unix.FcntlInt(uintptr(a.Fd()), unix.F_GETFD, 0)
	if err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("descriptor flags %x: %v, want close-on-exec", flags, err)
	}
}

// Keys and what people say must not come into a core dump.
func TestMappingIsNotDumped(t *testing.T) {
	testArena(t, Options{Slots: 10, Shards: 1, MaxBytes: 1 << 20})
	maps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Skipf("no smaps here: %v", err)
	}
	_, mine, ok := strings.Cut(string(maps), "/memfd:ircferry-wire")
	_, flags, ok2 := strings.Cut(mine, "VmFlags:")
	flags, _, _ = strings.Cut(flags, "\n")
	if !ok || !ok2 || !slices.Contains(strings.Fields(flags), "dd") {
		t.Errorf("flags of the mapping:%s, want dd among them", flags)
	}
}

func TestSlotsAreZeroAndChangeGeneration(t *testing.T) {
	a := testArena(t, Options{Slots: 10, Shards: 1, MaxBytes: 1 << 20})
	s := a.Shard(0)
	id, slot, err := s.NewSlot()
	if err != nil {
		t.Fatal(err)
	}
	gen := slot.Generation
	slot.State, slot.Session = 3, 77
	copy(slot.Remote.Addr[:], "secret")
	if err := s.Append(&slot.ToBackend, pattern(5000)); err != nil {
		t.Fatal(err)
	}
	s.FreeSlot(id)
	if want := (Slot{Generation: gen}); *s.Slot(id) != want {
		t.Errorf("freed slot %+v", *s.Slot(id))
	}
	id2, slot2, err := s.NewSlot()
	if err != nil {
		t.Fatal(err)
	}
	if id2 != id || slot2.Generation == gen || slot2.Generation == 0 {
		t.Errorf("slot %d generation %d after slot %d generation %d", id2, slot2.Generation, id, gen)
	}
	if st := a.Stats(); st.Slots != 1 || st.Chunks != 0 {
		t.Errorf("stats %+v, want 1 slot and no chunk", st)
	}
}
